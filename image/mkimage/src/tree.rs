//! Directory trees as sorted lists, and copies with fixed modes. It must never follow a symbolic
//! link out of the tree, and never let the build machine's umask or directory order through.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Mode of directories and programs in everything we build.
pub const MODE_EXECUTABLE: u32 = 0o755;
/// Mode of all other files.
pub const MODE_DATA: u32 = 0o644;

/// What an entry of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    /// A symbolic link and where it points.
    Symlink(PathBuf),
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below the root of the walk.
    pub relative: PathBuf,
    pub kind: Kind,
}

/// Everything below `root`, parents before children, sorted by path.
pub fn walk(root: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        let full = root.join(&dir);
        for item in fs::read_dir(&full).with_context(|| format!("failed to list {}", full.display()))? {
            let item = item.with_context(|| format!("failed to list {}", full.display()))?;
            let relative = dir.join(item.file_name());
            let meta = fs::symlink_metadata(item.path())
                .with_context(|| format!("failed to inspect {}", item.path().display()))?;
            let kind = if meta.is_dir() {
                pending.push(relative.clone());
                Kind::Directory
            } else if meta.is_symlink() {
                Kind::Symlink(fs::read_link(item.path())?)
            } else if meta.is_file() {
                Kind::File { executable: meta.permissions().mode() & 0o100 != 0 }
            } else {
                bail!("{} is neither file, directory nor link", item.path().display());
            };
            entries.push(Entry { relative, kind });
        }
    }
    entries.sort_by(|a, b| a.relative.cmp(&b.relative));
    Ok(entries)
}

/// Makes a directory and its parents with our mode.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()))?;
    set_mode(path, MODE_EXECUTABLE)
}

/// Removes whatever is at `path`, then makes an empty directory there.
pub fn make_empty_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("failed to remove {}", path.display()));
        }
        _ => {}
    }
    make_dir(path)
}

/// Sets the permission bits of a file or directory.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("failed to set the mode of {}", path.display()))
}

/// Writes a file with the given mode, making its directory.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    make_parent(path)?;
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))?;
    set_mode(path, mode)
}

/// Copies one file's content and gives the copy the given mode.
pub fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    make_parent(to)?;
    fs::copy(from, to).with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))?;
    set_mode(to, mode)
}

/// Makes a symbolic link, and its directory when that is missing.
pub fn link(target: &str, at: &Path) -> Result<()> {
    make_parent(at)?;
    symlink(target, at).with_context(|| format!("failed to link {} to {target}", at.display()))
}

/// Copies a whole tree into `to`, merging with what is there; modes are ours, links stay links.
pub fn copy_all(from: &Path, to: &Path) -> Result<()> {
    for entry in walk(from)? {
        let target = to.join(&entry.relative);
        match entry.kind {
            Kind::Directory => make_dir(&target)?,
            Kind::Symlink(points_to) => link(&points_to.to_string_lossy(), &target)?,
            Kind::File { executable } => {
                let mode = if executable { MODE_EXECUTABLE } else { MODE_DATA };
                copy(&from.join(&entry.relative), &target, mode)?;
            }
        }
    }
    Ok(())
}

/// Follows symbolic links as a process with its root at `root` would, up to the real file.
///
/// # Errors
/// The path leaves the root, is missing, or has more links than the kernel allows.
pub fn resolve_in(root: &Path, path: &Path) -> Result<PathBuf> {
    /// As many as the kernel follows (`MAXSYMLINKS`).
    const MAX_LINKS: usize = 40;
    let mut pending: Vec<_> = parts(path)?.into_iter().rev().collect();
    let mut resolved = PathBuf::new();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        let full = root.join(&next);
        let meta =
            fs::symlink_metadata(&full).with_context(|| format!("failed to find {}", full.display()))?;
        if !meta.is_symlink() {
            resolved = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            bail!("too many links on the way to {}", path.display());
        }
        let target = fs::read_link(&full)?;
        if target.is_absolute() {
            resolved = PathBuf::new();
        }
        pending.extend(parts(&target)?.into_iter().rev());
    }
    Ok(root.join(resolved))
}

fn parts(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => names.push("..".to_owned()),
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::Prefix(_) => bail!("{} is no Unix path", path.display()),
        }
    }
    Ok(names)
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => make_dir_chain(parent),
        _ => Ok(()),
    }
}

/// Like `make_dir`, but gives our mode to each directory it has to make.
fn make_dir_chain(path: &Path) -> Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        make_dir(dir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walk_is_sorted_and_keeps_links() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("b/two"), b"2", MODE_DATA).unwrap();
        write(&dir.path().join("a"), b"1", MODE_EXECUTABLE).unwrap();
        link("a", &dir.path().join("z")).unwrap();
        let names: Vec<_> =
            walk(dir.path()).unwrap().iter().map(|entry| entry.relative.display().to_string()).collect();
        assert_eq!(names, ["a", "b", "b/two", "z"]);
        let entries = walk(dir.path()).unwrap();
        assert_eq!(entries[0].kind, Kind::File { executable: true });
        assert_eq!(entries[3].kind, Kind::Symlink("a".into()));
    }

    #[test]
    fn resolves_links_inside_the_root_only() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("usr/lib/real.so.2.1"), b"elf", MODE_DATA).unwrap();
        link("usr/lib", &dir.path().join("lib")).unwrap();
        link("/lib/real.so.2.1", &dir.path().join("usr/lib/abs.so")).unwrap();
        link("../../../../etc/passwd", &dir.path().join("usr/lib/out")).unwrap();
        link("loop", &dir.path().join("loop")).unwrap();
        let real = dir.path().join("usr/lib/real.so.2.1");
        assert_eq!(resolve_in(dir.path(), Path::new("/lib/abs.so")).unwrap(), real);
        assert!(resolve_in(dir.path(), Path::new("usr/lib/out")).is_err(), "the root has no etc/passwd");
        assert!(resolve_in(dir.path(), Path::new("loop")).is_err());
    }
}
