//! Copies a file of the assets directory into a part file.
//!
//! Never follows a link and never leaves the directory: the kernel refuses both when the file is opened.

use std::fs::{File, Metadata};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::Error;
use super::place::{Place, Stamp};

/// Opens a regular file below the directory.
fn open(assets: &Path, relative: &Path) -> Result<(File, Metadata), Error> {
    let path = assets.join(relative);
    let failed = |operation| Error::file(operation, &path);
    let directory = File::open(assets).map_err(Error::file("open", assets))?;
    let descriptor = rustix::fs::openat2(
        &directory,
        relative,
        // A pipe must not hold up whoever opens it.
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(std::io::Error::from)
    .map_err(failed("open"))?;
    let file = File::from(descriptor);
    let metadata = file.metadata().map_err(failed("inspect"))?;
    if !metadata.is_file() {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no regular file");
        return Err(failed("use")(source));
    }
    Ok((file, metadata))
}

/// The marks of a file of the directory, by which a change of it is seen.
pub(super) fn stamp(assets: &Path, relative: &Path) -> Result<Stamp, Error> {
    open(assets, relative).map(|(_, metadata)| Stamp::of(&metadata))
}

/// Copies the file to the part of its place. `accept` says whether its size will do.
pub(super) fn copy(
    assets: &Path,
    relative: &Path,
    place: &Place,
    accept: impl FnOnce(u64) -> Result<(), Error>,
) -> Result<Stamp, Error> {
    let (mut source, metadata) = open(assets, relative)?;
    if metadata.len() == 0 {
        let empty = std::io::Error::new(std::io::ErrorKind::InvalidData, "it is empty");
        return Err(Error::file("use", assets.join(relative))(empty));
    }
    accept(metadata.len())?;
    let path = place.part();
    let mut target = File::create(&path).map_err(Error::file("create", &path))?;
    std::io::copy(&mut source, &mut target).map_err(Error::file("copy to", &path))?;
    Ok(Stamp::of(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn regular_files_below_the_directory_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let assets = root.path().join("assets");
        std::fs::create_dir_all(assets.join("talos")).unwrap();
        std::fs::write(root.path().join("secret"), "s").unwrap();
        std::fs::write(assets.join("talos/k"), "kernel").unwrap();
        symlink("../secret", assets.join("out")).unwrap();
        symlink("talos/k", assets.join("in")).unwrap();
        symlink("..", assets.join("up")).unwrap();
        let pipe = assets.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open(&assets, Path::new("talos/k")).is_ok());
        for path in ["out", "in", "up/secret", "../secret", "talos", "pipe", "none", ""] {
            assert!(open(&assets, Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_change_of_the_file_changes_its_marks() {
        let assets = tempfile::tempdir().unwrap();
        let path = assets.path().join("k");
        std::fs::write(&path, "one").unwrap();
        let before = stamp(assets.path(), Path::new("k")).unwrap();
        assert_eq!(stamp(assets.path(), Path::new("k")).unwrap(), before);
        std::fs::write(&path, "other").unwrap();
        assert_ne!(stamp(assets.path(), Path::new("k")).unwrap(), before);
    }
}
