//! Makes initramfs archives: sorted newc cpios with fixed owners, times and inode numbers, each in
//! one zstd frame. An initramfs is two of them in a row, which the kernel unpacks one over the
//! other: drivers, packed once per kernel, and the program. It must never depend on directory
//! order, owner or time of the files it packs.

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
/// For drivers, which change with the kernel only: the best ratio that stays below the 128 MiB
/// window the kernel unpacks with.
pub const DRIVERS_LEVEL: i32 = 19;
/// For programs, which change all day: a tenth of the time for 10 % more bytes.
pub const PROGRAM_LEVEL: i32 = 12;
/// Time of every entry: nothing looks at it, and a fixed one keeps builds of other days equal.
const MTIME: u32 = 0;

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
    /// Mount points and the console.
    pub fn base() -> Self {
        let mut entries: BTreeMap<_, _> =
            MOUNT_POINTS.into_iter().map(|dir| (dir.to_owned(), Content::Directory)).collect();
        let (major, minor) = CONSOLE;
        entries.insert("dev/console".to_owned(), Content::CharDevice { major, minor });
        Self { entries }
    }

    /// A program as `/init`, to go behind the base.
    pub fn program(init: &Path) -> Self {
        let program = Content::File { source: init.to_owned(), mode: MODE_EXECUTABLE };
        Self { entries: BTreeMap::from([("init".to_owned(), program)]) }
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

    pub fn archive(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (number, (name, content)) in (1u32..).zip(&self.entries) {
            let builder = newc::Builder::new(name).ino(number).mtime(MTIME);
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

    /// The archive, compressed at a zstd level.
    pub fn pack(&self, level: i32) -> Result<Vec<u8>> {
        zstd::encode_all(self.archive()?.as_slice(), level).context("failed to compress")
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
        let mut initramfs = Initramfs::base();
        initramfs.add_tree(dir.path()).unwrap();
        initramfs.archive().unwrap()
    }

    fn read(mut rest: &[u8]) -> BTreeMap<String, (u32, u32, u32, String)> {
        let mut seen = BTreeMap::new();
        let mut order = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            let entry = reader.entry();
            if entry.is_trailer() {
                assert!(order.is_sorted(), "parents come first: {order:?}");
                return seen;
            }
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, MTIME));
            let (name, mode) = (entry.name().to_owned(), entry.mode());
            let (major, minor) = (entry.rdev_major(), entry.rdev_minor());
            let mut data = String::new();
            reader.read_to_string(&mut data).unwrap();
            order.push(name.clone());
            seen.insert(name, (mode, major, minor, data));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn same_content_gives_the_same_bits() {
        let (one, two) = (fixture(&["a.ko", "b.ko"]), fixture(&["b.ko", "a.ko"]));
        let odd = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(two.path().join("lib/modules/b.ko"), odd).unwrap();
        assert_eq!(archive_of(&one), archive_of(&two));
    }

    #[test]
    fn holds_console_and_links_as_the_kernel_wants_them() {
        let seen = read(&archive_of(&fixture(&["a.ko"])));
        assert_eq!(seen["dev/console"], (0o020_600, 5, 1, String::new()));
        assert_eq!(seen["lib/modules/a.ko"], (0o100_644, 0, 0, "a.ko".into()));
        assert_eq!(seen["lib/link"], (0o120_777, 0, 0, "modules/a.ko".into()));
        assert_eq!(seen["sysroot"].0, 0o040_755);
    }

    #[test]
    fn program_is_executable_and_packs_to_the_same_bits() {
        let dir = fixture(&["a.ko"]);
        let program = Initramfs::program(&dir.path().join("lib/modules/a.ko"));
        assert_eq!(read(&program.archive().unwrap())["init"], (0o100_755, 0, 0, "a.ko".into()));
        let packed = program.pack(PROGRAM_LEVEL).unwrap();
        assert_eq!(packed, program.pack(PROGRAM_LEVEL).unwrap());
        assert_eq!(zstd::decode_all(packed.as_slice()).unwrap(), program.archive().unwrap());
    }
}
