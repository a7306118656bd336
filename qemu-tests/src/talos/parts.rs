//! The programs that nodes are made of, as `make talos` leaves them.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The go.mod by which the Kubernetes programs of nodes are built.
const KUBERNETES_MODULE: &str = include_str!("../../talos/kubernetes/go.mod");
/// The go.mod by which Talos is built.
const TALOS_MODULE: &str = include_str!("../../talos/talos/go.mod");
/// Plugins of the container network interface.
pub const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];
/// All that a node of board `ns` needs.
const PROGRAMS: [&str; 8] = [
    "machined",
    "talosctl",
    "containerd",
    "containerd-shim-runc-v2",
    "runc",
    "runc.real",
    "kubernetes",
    "pause",
];

/// The folder of programs.
#[derive(Debug, Clone)]
pub struct Parts {
    folder: PathBuf,
}

/// A folder of the build's results: `out` is above this program, be it `out/bloomery` or a test below `target`. The path of
/// the sources stands in no program.
fn built(name: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().map(|above| above.join("out").join(name)).find(|folder| folder.is_dir())
}

impl Parts {
    /// This build's, or those in the folder that `BLOOMERY_TALOS` names.
    ///
    /// # Errors
    /// A program is missing.
    pub fn find() -> Result<Self> {
        let named = std::env::var_os("BLOOMERY_TALOS").map(PathBuf::from);
        let found = named.or_else(|| built("talos/bin")).filter(|folder| folder.join(PROGRAMS[0]).is_file());
        let Some(found) = found else {
            bail!("failed to find Talos; make it with `make talos`, or name its folder in BLOOMERY_TALOS");
        };
        let folder =
            found.canonicalize().with_context(|| format!("failed to resolve {}", found.display()))?;
        let missing: Vec<&str> =
            PROGRAMS.into_iter().chain(CNI_PLUGINS).filter(|name| !folder.join(name).is_file()).collect();
        if !missing.is_empty() {
            bail!(
                "failed to find {} in {}; make them with `make talos`",
                missing.join(", "),
                folder.display()
            );
        }
        Ok(Self { folder })
    }

    /// The program `name`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What machines of board `vm` boot and install, as `make talos-media` leaves it.
#[derive(Debug, Clone)]
pub struct Media {
    folder: PathBuf,
}

impl Media {
    /// This build's, or those in the folder that `BLOOMERY_TALOS_MEDIA` names.
    ///
    /// # Errors
    /// They have not been made.
    pub fn find() -> Result<Self> {
        let folder =
            std::env::var_os("BLOOMERY_TALOS_MEDIA").map(PathBuf::from).or_else(|| built("talos/media"));
        let Some(folder) = folder else {
            bail!(
                "failed to find the media; make them with `make talos-media`, or name their folder in BLOOMERY_TALOS_MEDIA"
            );
        };
        let media = Self { folder };
        for path in [media.kernel(), media.initramfs(), media.command_line_file(), media.installer()] {
            if !path.exists() {
                bail!("failed to find {}; make it with `make talos-media`", path.display());
            }
        }
        Ok(media)
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Its initramfs.
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs.xz")
    }

    /// The root of the installer's image.
    pub fn installer(&self) -> PathBuf {
        self.folder.join("installer")
    }

    /// What the kernel is told, but for the address of its configuration.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn command_line(&self) -> Result<String> {
        let path = self.command_line_file();
        let text = std::fs::read_to_string(&path);
        Ok(text.with_context(|| format!("failed to read {}", path.display()))?.trim().to_owned())
    }

    fn command_line_file(&self) -> PathBuf {
        self.folder.join("cmdline")
    }
}

/// Version of Kubernetes that nodes run, with its `v`.
///
/// # Errors
/// The go.mod does not say.
pub fn kubernetes_version() -> Result<&'static str> {
    required(KUBERNETES_MODULE, "k8s.io/kubernetes").context("failed to read the version of Kubernetes")
}

/// Version of Talos, with its `v`.
///
/// # Errors
/// The go.mod does not say.
pub fn talos_version() -> Result<&'static str> {
    required(TALOS_MODULE, "github.com/siderolabs/talos").context("failed to read the version of Talos")
}

/// The version that a go.mod requires of `module`.
fn required(text: &'static str, module: &str) -> Option<&'static str> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next() == Some(module))
            .then(|| words.next())
            .flatten()
            .filter(|version| version.starts_with('v'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn versions_are_those_of_the_modules() {
        assert!(kubernetes_version().expect("a version").starts_with("v1."));
        assert!(talos_version().expect("a version").starts_with("v1."));
        assert_eq!(required("require (\n\ta/b v1.2.3 // indirect\n)\n", "a/b"), Some("v1.2.3"));
        assert_eq!(required("require a/b v1.2.3\n", "a/b"), Some("v1.2.3"));
        assert_eq!(required("replace (\n\ta/b => a/c v1.2.3\n)\n", "a/b"), None);
    }

    /// Objects of the Go build cache serve both only while the versions are the same.
    #[test]
    fn nodes_run_the_modules_of_the_planes_own_kubernetes() {
        let modules = |text: &'static str| -> BTreeMap<&str, &str> {
            let lines = text.lines().filter(|line| line.starts_with('\t'));
            lines
                .filter_map(|line| line.trim().split_once(' '))
                .filter(|(_, rest)| rest.starts_with('v') || rest.starts_with("=> k8s.io/"))
                .collect()
        };
        let plane = modules(include_str!("../../../image/controlplane/go.mod"));
        let node = modules(KUBERNETES_MODULE);
        assert!(node.len() > 50);
        for (module, version) in node {
            let version = version.trim_end_matches(" // indirect");
            if let Some(planes) = plane.get(module) {
                assert_eq!(version, planes.trim_end_matches(" // indirect"), "{module}");
            }
        }
    }
}
