//! What nodes pull, as an OCI image layout: layers from folders of programs, documents by `oci-spec`.
//!
//! All Kubernetes programs are one binary; their images differ in the entry point alone.

use super::parts::{Media, Parts, kubernetes_version, talos_version};
use anyhow::{Context, Result, bail};
use oci_spec::image::{
    ConfigBuilder, Descriptor, DescriptorBuilder, Digest, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, RootFsBuilder, SCHEMA_VERSION,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
    str::FromStr as _,
};

/// Host of the images that are the lab's own.
pub const LAB: &str = "lab.bloomery";
/// An image with a shell and a web server, for pods of tests.
pub const TOOLBOX: &str = "toolbox:1";
/// Talos's installer, without its registry.
pub const INSTALLER: &str = "siderolabs/installer";
/// Says in the index which image a manifest is (OCI image specification, annotations).
pub const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// The tags that this Talos asks for; inside are this build's programs.
const ETCD_TAG: &str = "v3.6.12";
const PAUSE_TAG: &str = "3.10.1";
/// The programs of the one binary, where Talos calls them.
const KUBERNETES: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"];
/// What kubelet and kube-proxy call, from this host with its libraries.
const HOST_PROGRAMS: [(&str, &str); 3] = [("mount", "mount"), ("umount", "mount"), ("nft", "nftables")];
const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Writes the layout to `folder`, which must not exist; with `media` it has the installer, for machines with disks.
///
/// # Errors
/// A program of this host is missing, or the folder cannot be written.
pub fn write(parts: &Parts, media: Option<&Media>, folder: &Path) -> Result<()> {
    let mut layout = Layout::new(folder)?;
    let version = kubernetes_version()?;
    let tools = layout.layer(tools)?;
    let kubernetes = layout.layer(|tar| {
        tar.program(&parts.program("kubernetes"), "usr/local/bin/kubernetes")?;
        KUBERNETES.iter().try_for_each(|name| tar.link("kubernetes", &format!("usr/local/bin/{name}")))
    })?;
    let pause = layout.layer(|tar| tar.program(&parts.program("pause"), "pause"))?;
    let toolbox = layout.layer(|tar| {
        tar.program(&host_program("busybox", "busybox-static")?, "bin/busybox")?;
        ["sh", "httpd", "wget", "sleep"]
            .iter()
            .try_for_each(|name| tar.link("busybox", &format!("bin/{name}")))
    })?;
    for name in KUBERNETES {
        let reference = match name {
            "etcd" => format!("etcd:{ETCD_TAG}"),
            "kubelet" => format!("siderolabs/kubelet:{version}"),
            _ => format!("{name}:{version}"),
        };
        let layers = [tools.clone(), kubernetes.clone()];
        layout.image(&reference, &layers, &format!("/usr/local/bin/{name}"))?;
    }
    layout.image(&format!("pause:{PAUSE_TAG}"), &[pause], "/pause")?;
    layout.image(TOOLBOX, &[toolbox], "/bin/sh")?;
    if let Some(media) = media {
        let installer = layout.layer(|tar| tar.tree(&media.installer(), Path::new("")))?;
        layout.image(&format!("{INSTALLER}:{}", talos_version()?), &[installer], "/bin/installer")?;
    }
    layout.finish()
}

/// A layout that is being written.
struct Layout {
    folder: PathBuf,
    manifests: Vec<Descriptor>,
}

impl Layout {
    fn new(folder: &Path) -> Result<Self> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("failed to make {}", blobs.display()))?;
        Ok(Self { folder: folder.to_owned(), manifests: Vec::new() })
    }

    /// A layer of what `content` puts into it.
    fn layer(&mut self, content: impl FnOnce(&mut Tar<'_>) -> Result<()>) -> Result<Descriptor> {
        let path = self.folder.join("layer");
        let file = fs::File::create(&path).with_context(|| format!("failed to make {}", path.display()))?;
        let mut sum = Summed { file: io::BufWriter::new(file), hash: Sha256::new(), size: 0 };
        let mut tar = Tar { builder: tar::Builder::new(&mut sum), folders: Vec::new() };
        content(&mut tar)?;
        tar.builder.finish().context("failed to end a layer")?;
        drop(tar);
        sum.file.flush().context("failed to write a layer")?;
        let digest = hex(&sum.hash.finalize());
        fs::rename(&path, self.blob(&digest)).context("failed to place a layer")?;
        descriptor(MediaType::ImageLayer, &digest, sum.size)
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest)
    }

    fn document(&self, kind: MediaType, value: &impl Serialize) -> Result<Descriptor> {
        let text = serde_json::to_vec(value).context("failed to write a document of an image")?;
        let digest = hex(&Sha256::digest(&text));
        fs::write(self.blob(&digest), &text).context("failed to write a document of an image")?;
        descriptor(kind, &digest, text.len() as u64)
    }

    fn image(&mut self, reference: &str, layers: &[Descriptor], entry: &str) -> Result<()> {
        let failed = || format!("failed to describe the image {reference}");
        let run = ConfigBuilder::default()
            .entrypoint(vec![entry.to_owned()])
            .env(vec![PATH.to_owned()])
            .build()
            .with_context(failed)?;
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
        let root = RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().with_context(failed)?;
        let config = ImageConfigurationBuilder::default()
            .architecture("amd64")
            .os("linux")
            .config(run)
            .rootfs(root)
            .history(Vec::new())
            .build()
            .with_context(failed)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(self.document(MediaType::ImageConfig, &config)?)
            .layers(layers.to_vec())
            .build()
            .with_context(failed)?;
        let mut descriptor = self.document(MediaType::ImageManifest, &manifest)?;
        let annotations = HashMap::from([(REFERENCE.to_owned(), reference.to_owned())]);
        descriptor.set_annotations(Some(annotations));
        self.manifests.push(descriptor);
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(self.manifests)
            .build()
            .context("failed to describe the images")?;
        index.to_file(self.folder.join("index.json")).context("failed to write the index of images")?;
        let layout = OciLayoutBuilder::default().image_layout_version("1.0.0").build();
        let layout = layout.context("failed to describe the layout")?;
        layout.to_file(self.folder.join("oci-layout")).context("failed to write the layout")
    }
}

fn descriptor(kind: MediaType, digest: &str, size: u64) -> Result<Descriptor> {
    let digest = Digest::from_str(&format!("sha256:{digest}")).context("failed to name a digest")?;
    DescriptorBuilder::default()
        .media_type(kind)
        .digest(digest)
        .size(size)
        .build()
        .context("failed to describe a blob")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |text, byte| text + &format!("{byte:02x}"))
}

/// A file whose digest is counted as it is written.
struct Summed {
    file: io::BufWriter<fs::File>,
    hash: Sha256,
    size: u64,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A layer that is being filled: root owns all, and no file has a time.
struct Tar<'a> {
    builder: tar::Builder<&'a mut Summed>,
    folders: Vec<PathBuf>,
}

impl Tar<'_> {
    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        header
    }

    /// The folders above `name`, once.
    fn folders(&mut self, name: &str) -> Result<()> {
        let mut above: Vec<&Path> = Path::new(name).ancestors().skip(1).collect();
        above.pop();
        for folder in above.into_iter().rev() {
            if !self.folders.iter().any(|made| made == folder) {
                self.folder(&folder.display().to_string())?;
            }
        }
        Ok(())
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        self.folders.push(PathBuf::from(name));
        let mut header = Self::header(tar::EntryType::Directory, 0o755, 0);
        let added = self.builder.append_data(&mut header, format!("{name}/"), io::empty());
        added.with_context(|| format!("failed to add {name} to a layer"))
    }

    fn program(&mut self, file: &Path, name: &str) -> Result<()> {
        self.folders(name)?;
        let open = fs::File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
        let size = open.metadata().with_context(|| format!("failed to read {}", file.display()))?.len();
        let mut header = Self::header(tar::EntryType::Regular, 0o755, size);
        let added = self.builder.append_data(&mut header, name, open);
        added.with_context(|| format!("failed to add {name} to a layer"))
    }

    fn text(&mut self, name: &str, text: &str) -> Result<()> {
        self.folders(name)?;
        let mut header = Self::header(tar::EntryType::Regular, 0o644, text.len() as u64);
        let added = self.builder.append_data(&mut header, name, text.as_bytes());
        added.with_context(|| format!("failed to add {name} to a layer"))
    }

    /// All that is below `root/below`, in the order of the names.
    fn tree(&mut self, root: &Path, below: &Path) -> Result<()> {
        let folder = root.join(below);
        let failed = || format!("failed to read {}", folder.display());
        let entries = fs::read_dir(&folder).with_context(failed)?;
        let mut entries = entries.collect::<io::Result<Vec<_>>>().with_context(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, inner) = (entry.path(), below.join(entry.file_name()));
            let name = inner.display().to_string();
            let kind = entry.file_type().with_context(failed)?;
            if kind.is_dir() {
                self.folder(&name)?;
                self.tree(root, &inner)?;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).with_context(failed)?;
                self.link(&target.display().to_string(), &name)?;
            } else {
                self.program(&path, &name)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, target: &str, name: &str) -> Result<()> {
        self.folders(name)?;
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0);
        let added = self.builder.append_link(&mut header, name, target);
        added.with_context(|| format!("failed to add {name} to a layer"))
    }
}

/// What kubelet and kube-proxy call and expect beside themselves.
fn tools(tar: &mut Tar<'_>) -> Result<()> {
    for folder in ["run", "tmp", "etc", "usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var"] {
        tar.folder(folder)?;
    }
    for folder in ["bin", "sbin", "lib", "lib64"] {
        tar.link(&format!("usr/{folder}"), folder)?;
        tar.folders.push(PathBuf::from(folder));
    }
    // containerd's socket is in /run.
    tar.link("/run", "var/run")?;
    tar.text("etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\n")?;
    tar.text("etc/group", "root:x:0:\n")?;
    let mut libraries: Vec<PathBuf> = Vec::new();
    for (name, package) in HOST_PROGRAMS {
        let program = host_program(name, package)?;
        for library in loaded(&program)? {
            if !libraries.contains(&library) {
                libraries.push(library);
            }
        }
        tar.program(&program, &format!("usr/bin/{name}"))?;
    }
    for library in libraries {
        let name = library.strip_prefix("/").unwrap_or(&library);
        let name = if name.starts_with("usr") { name.to_owned() } else { Path::new("usr").join(name) };
        tar.program(&library, &name.display().to_string())?;
    }
    Ok(())
}

fn host_program(name: &str, package: &str) -> Result<PathBuf> {
    let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    found.with_context(|| format!("failed to find {name} (Debian package {package})"))
}

/// The libraries that the loader loads for a program, itself included.
fn loaded(program: &Path) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("ldd").arg(program).output().context("failed to start ldd (Debian libc-bin)")?;
    if !output.status.success() {
        bail!("failed to list the libraries of {}", program.display());
    }
    Ok(libraries(&String::from_utf8_lossy(&output.stdout)))
}

/// The paths in ldd's list.
fn libraries(list: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    list.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::{ImageIndex, ImageManifest};

    #[test]
    fn paths_of_libraries_are_read_from_lddls_list() {
        let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let want = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(list), want);
    }

    #[test]
    fn a_tree_goes_into_a_layer_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("usr/bin")).expect("a folder");
        fs::create_dir(root.join("tmp")).expect("a folder");
        fs::write(root.join("usr/bin/b"), "b").expect("a write");
        std::os::unix::fs::symlink("b", root.join("usr/bin/a")).expect("a link");
        let mut layout = Layout::new(&folder.path().join("layout")).expect("a layout");
        let layer = layout.layer(|tar| tar.tree(&root, Path::new(""))).expect("a layer");
        let bytes = fs::read(layout.blob(layer.digest().digest())).expect("a layer");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("entries");
        let names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
            .collect();
        assert_eq!(names, ["tmp/", "usr/", "usr/bin/", "usr/bin/a", "usr/bin/b"]);
    }

    #[test]
    fn an_image_is_its_manifest_its_configuration_and_layers_named_by_their_sums() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut layout = Layout::new(folder.path()).expect("a layout");
        let program = folder.path().join("program");
        fs::write(&program, "#!/bin/true").expect("a write");
        let fill = |tar: &mut Tar<'_>| {
            tar.program(&program, "usr/bin/program")?;
            tar.link("program", "usr/bin/other")
        };
        let layer = layout.layer(fill).expect("a layer");
        let again = layout.layer(fill).expect("a layer");
        assert_eq!(layer.digest(), again.digest(), "the same content has the same sum");
        layout.image("program:1", &[layer], "/usr/bin/program").expect("an image");
        layout.finish().expect("an index");
        let index = ImageIndex::from_file(folder.path().join("index.json")).expect("an index");
        let entry = &index.manifests()[0];
        assert_eq!(entry.annotations().as_ref().expect("annotations")[REFERENCE], "program:1");
        let blob = |digest: &Digest| folder.path().join("blobs/sha256").join(digest.digest());
        let manifest = ImageManifest::from_file(blob(entry.digest())).expect("a manifest");
        let bytes = fs::read(blob(manifest.layers()[0].digest())).expect("a layer");
        assert_eq!(bytes.len() as u64, manifest.layers()[0].size());
        assert_eq!(hex(&Sha256::digest(&bytes)), manifest.layers()[0].digest().digest());
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names = archive
            .entries()
            .expect("entries")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string());
        let names: Vec<String> = names.collect();
        assert_eq!(names, ["usr/", "usr/bin/", "usr/bin/program", "usr/bin/other"]);
    }
}
