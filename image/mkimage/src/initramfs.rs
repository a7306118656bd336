//! Makes initramfs archives: a sorted newc cpio with fixed owners, times and inode numbers, in one
//! zstd frame. It must never depend on directory order, owner or time of the files it packs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc;

use crate::tree::{self, Kind, MODE_DATA, MODE_EXECUTABLE};

/// File type bits of a mode (`inode(7)`).
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;
/// `/dev/console`, which the kernel opens for `/init` before anything can mount devtmpfs.
const CONSOLE: (u32, u32) = (5, 1);
/// Directories that `/init` mounts on.
const MOUNT_POINTS: [&str; 5] = ["dev", "proc", "run", "sys", "sysroot"];
/// Best ratio that stays below the 128 MiB window the kernel unpacks with.
const ZSTD_LEVEL: i32 = 19;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Directory,
    Symlink(String),
    File { source: PathBuf, mode: u32 },
    CharDevice { major: u32, minor: u32 },
}

/// The files of one archive, by path without a leading slash.
#[derive(Debug, Clone)]
pub struct Initramfs {
    entries: BTreeMap<String, Content>,
}

impl Initramfs {
    /// An archive with mount points, the console and `init` as `/init`.
    pub fn with_init(init: &Path) -> Self {
        let mut archive = Self { entries: BTreeMap::new() };
        for dir in MOUNT_POINTS {
            archive.entries.insert(dir.to_owned(), Content::Directory);
        }
        let (major, minor) = CONSOLE;
        archive.entries.insert("dev/console".to_owned(), Content::CharDevice { major, minor });
        let program = Content::File { source: init.to_owned(), mode: MODE_EXECUTABLE };
        archive.entries.insert("init".to_owned(), program);
        archive
    }

    /// Adds everything below a directory.
    pub fn add_tree(&mut self, root: &Path) -> Result<()> {
        for entry in tree::walk(root)? {
            let name = tool_name(&entry.relative)?;
            let content = match entry.kind {
                Kind::Directory => Content::Directory,
                Kind::Symlink(target) => Content::Symlink(tool_name(&target)?),
                Kind::File { executable } => Content::File {
                    source: root.join(&entry.relative),
                    mode: if executable { MODE_EXECUTABLE } else { MODE_DATA },
                },
            };
            self.entries.insert(name, content);
        }
        Ok(())
    }

    /// The uncompressed archive. `epoch` is the time of every entry, in seconds.
    ///
    /// # Errors
    /// A packed file cannot be read, or is too large for the format.
    pub fn archive(&self, epoch: u32) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (number, (name, content)) in (1u32..).zip(&self.entries) {
            let builder = newc::Builder::new(name).ino(number).mtime(epoch);
            let (builder, data) = match content {
                Content::Directory => (builder.mode(S_IFDIR | MODE_EXECUTABLE).nlink(2), Vec::new()),
                Content::Symlink(target) => (builder.mode(S_IFLNK | 0o777), target.clone().into_bytes()),
                Content::CharDevice { major, minor } => {
                    (builder.mode(S_IFCHR | 0o600).rdev_major(*major).rdev_minor(*minor), Vec::new())
                }
                Content::File { source, mode } => {
                    let data =
                        fs::read(source).with_context(|| format!("failed to read {}", source.display()))?;
                    (builder.mode(S_IFREG | mode), data)
                }
            };
            let size = u32::try_from(data.len()).with_context(|| format!("{name} is too large for cpio"))?;
            let mut writer = builder.write(&mut bytes, size);
            writer.write_all(&data).with_context(|| format!("failed to pack {name}"))?;
            writer.finish().with_context(|| format!("failed to pack {name}"))?;
        }
        newc::trailer(&mut bytes).context("failed to end the archive")?;
        Ok(bytes)
    }

    /// Writes the compressed archive to `path`.
    pub fn write(&self, path: &Path, epoch: u32) -> Result<()> {
        let archive = self.archive(epoch)?;
        let packed = zstd::encode_all(archive.as_slice(), ZSTD_LEVEL).context("failed to compress")?;
        tree::write(path, &packed, MODE_DATA)
    }
}

fn tool_name(path: &Path) -> Result<String> {
    crate::tool::text(path).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fixture(order: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in order {
            tree::write(&dir.path().join("lib/modules").join(name), name.as_bytes(), MODE_DATA).unwrap();
        }
        tree::link("modules/a.ko", &dir.path().join("lib/link")).unwrap();
        dir
    }

    fn archive_of(dir: &tempfile::TempDir) -> Vec<u8> {
        let mut initramfs = Initramfs::with_init(&dir.path().join("lib/modules/a.ko"));
        initramfs.add_tree(dir.path()).unwrap();
        initramfs.archive(1_700_000_000).unwrap()
    }

    #[test]
    fn same_content_gives_the_same_bits() {
        let (one, two) = (fixture(&["a.ko", "b.ko"]), fixture(&["b.ko", "a.ko"]));
        let odd = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(two.path().join("lib/modules/b.ko"), odd).unwrap();
        assert_eq!(archive_of(&one), archive_of(&two));
    }

    #[test]
    fn holds_console_init_and_links_as_the_kernel_wants_them() {
        let dir = fixture(&["a.ko"]);
        let bytes = archive_of(&dir);
        let mut rest = bytes.as_slice();
        let mut seen = BTreeMap::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                break;
            }
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 1_700_000_000));
            let key = (entry.name().to_owned(), entry.mode(), entry.rdev_major(), entry.rdev_minor());
            let mut data = String::new();
            reader.read_to_string(&mut data).unwrap();
            seen.insert(key.0.clone(), (key.1, key.2, key.3, data));
            rest = reader.finish().unwrap();
        }
        assert_eq!(seen["dev/console"], (0o020_600, 5, 1, String::new()));
        assert_eq!(seen["init"], (0o100_755, 0, 0, "a.ko".into()));
        assert_eq!(seen["lib/link"], (0o120_777, 0, 0, "modules/a.ko".into()));
        let names: Vec<_> = seen.keys().collect();
        let dev = names.iter().position(|name| *name == "dev");
        assert!(dev < names.iter().position(|name| *name == "dev/console"), "parents come first");
    }
}
