//! The modules that a set of drivers needs, by the lists that `depmod` writes. It must never guess: what none of them
//! states is listed in `modules.toml`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bloomery_sys::modules::Index;

/// The modules of `names` with everything they need, as paths; and the names that are neither a module nor built in.
/// Every module that answers to an alias is taken: which one fits is decided by the machine it runs on.
pub fn closure<'a>(
    index: &Index,
    names: impl IntoIterator<Item = &'a str>,
) -> (BTreeSet<PathBuf>, Vec<String>) {
    let (mut pending, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        if index.path(name).is_some() {
            pending.push(name.to_owned());
        } else if !index.is_builtin(name) {
            // As the kernel calls it.
            missing.push(name.replace('-', "_"));
        }
    }
    let mut paths = BTreeSet::new();
    while let Some(name) = pending.pop() {
        let Some(path) = index.path(&name) else { continue };
        if !paths.insert(path.into()) {
            continue;
        }
        pending.extend(index.dependencies(&name));
        let soft = index.soft_dependencies(&name);
        for target in soft.pre.into_iter().chain(soft.post) {
            match index.path(&target) {
                Some(_) => pending.push(target),
                None => pending.extend(index.matching(&target)),
            }
        }
    }
    (paths, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/jbd2/jbd2.ko.xz:
kernel/lib/crc16.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz: kernel/arch/x86/crypto/simd.ko.xz
kernel/arch/x86/crypto/simd.ko.xz:
kernel/drivers/ring-a.ko.xz:
kernel/drivers/ring-b.ko.xz:
";
    const SOFTDEP: &str = "# comment\nsoftdep ext4 pre: crypto-crc32c\nsoftdep ring_a pre: ring-b post: nowhere\n\
                           softdep ring_b pre: ring_a\n";
    const ALIAS: &str = "alias crypto-crc32c crc32c_intel\nalias crypto-crc32c crc32c_generic\n\
                         alias pci:v00008086* ring_a\n";

    fn index() -> Index {
        Index::parse(DEP, SOFTDEP, ALIAS, "kernel/drivers/virtio/virtio_pci.ko\n")
    }

    fn names(paths: &BTreeSet<PathBuf>) -> Vec<String> {
        let name = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.split('.').next().unwrap().replace('-', "_")
        };
        let mut names: Vec<_> = paths.iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn follows_hard_soft_and_aliased_dependencies() {
        let (paths, missing) = closure(&index(), ["ext4"]);
        assert_eq!(names(&paths), ["crc16", "crc32c_generic", "crc32c_intel", "ext4", "jbd2", "simd"]);
        assert!(missing.is_empty());
    }

    #[test]
    fn soft_dependency_cycles_end() {
        let (paths, _) = closure(&index(), ["ring-a"]);
        assert_eq!(names(&paths), ["ring_a", "ring_b"]);
    }

    #[test]
    fn built_in_is_fine_and_unknown_is_reported() {
        let (paths, missing) = closure(&index(), ["virtio-pci", "no-such-driver"]);
        assert!(paths.is_empty());
        assert_eq!(missing, ["no_such_driver"]);
    }
}
