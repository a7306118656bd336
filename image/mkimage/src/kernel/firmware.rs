//! Picks the firmware files that the chosen drivers name out of the firmware packages. It must
//! never take a file no chosen driver asks for: whole packages are many times the size.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::packages::Unpacked;
use crate::stage::progress;
use crate::tool::{self, MODINFO};
use crate::tree;

/// Where firmware lies in packages, before and after the merge of `/lib` into `/usr/lib`.
const FIRMWARE_DIRS: [&str; 2] = ["usr/lib/firmware", "lib/firmware"];
/// Where the kernel looks for it, below the target root.
const TARGET_DIR: &str = "lib/firmware";

/// Firmware names in the given modules, paths below `base`.
pub fn names(base: &Path, modules: &BTreeSet<PathBuf>) -> Result<BTreeSet<String>> {
    if modules.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut command = MODINFO.command()?;
    command.args(["-F", "firmware"]).args(modules.iter().map(|module| base.join(module)));
    let text = tool::output("modinfo", command)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Copies the named files into `root/lib/firmware`. Drivers name files of many generations; those
/// that no package has are left out. Returns how many were found.
pub fn install<'a>(
    names: &BTreeSet<String>,
    packages: impl Iterator<Item = &'a Unpacked>,
    root: &Path,
) -> Result<usize> {
    let mut found = 0;
    for package in packages {
        let mut of_package = 0;
        for name in names {
            let Some(file) = find(&package.dir, name) else { continue };
            tree::copy(&file, &root.join(TARGET_DIR).join(name), tree::MODE_DATA)?;
            of_package += 1;
        }
        if of_package == 0 {
            let name = &package.locked.package;
            progress("kernel", &format!("WARNING: no driver asks for anything in {name}"));
        }
        found += of_package;
    }
    Ok(found)
}

/// A link stands for the file it points to: the name is what the driver asks for.
fn find(package: &Path, name: &str) -> Option<PathBuf> {
    FIRMWARE_DIRS
        .iter()
        .filter_map(|dir| tree::resolve_in(package, &Path::new(dir).join(name)).ok())
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::Use;
    use crate::lock::Locked;

    #[test]
    fn takes_named_files_through_links_and_nothing_else() {
        let (package, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let firmware = package.path().join("usr/lib/firmware");
        tree::write(&firmware.join("ice/ddp-1.3.pkg"), b"ddp", 0o644).unwrap();
        tree::write(&firmware.join("ice/unused.pkg"), b"no", 0o644).unwrap();
        tree::link("ddp-1.3.pkg", &firmware.join("ice/ice.pkg")).unwrap();
        let unpacked = Unpacked {
            locked: Locked {
                component: "f".into(),
                package: "f".into(),
                suite: "s".into(),
                version: "1".into(),
                sha256: "0".into(),
            },
            used_for: Use::Firmware,
            dir: package.path().into(),
        };
        let wanted = BTreeSet::from(["ice/ice.pkg".to_owned(), "ice/older.pkg".to_owned()]);
        let found = install(&wanted, [&unpacked].into_iter(), root.path()).unwrap();
        assert_eq!(found, 1);
        let files: Vec<_> = tree::walk(root.path()).unwrap();
        let names: Vec<_> = files
            .iter()
            .filter(|entry| matches!(entry.kind, tree::Kind::File { .. }))
            .map(|entry| entry.relative.display().to_string())
            .collect();
        assert_eq!(names, ["lib/firmware/ice/ice.pkg"]);
    }
}
