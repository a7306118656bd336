//! Knows which module needs which: `modules.dep`, `modules.softdep` and `modules.alias` as one
//! graph. It must never guess: what none of these files states is listed in `modules.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The dependency graph of one kernel's modules.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    modules: BTreeMap<String, Module>,
    soft: BTreeMap<String, Vec<String>>,
    aliases: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
}

#[derive(Debug)]
struct Module {
    path: PathBuf,
    needs: Vec<String>,
}

impl ModuleIndex {
    /// Reads the lists of a modules directory.
    pub fn load(dir: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
        };
        let (dep, softdep) = (read("modules.dep")?, read("modules.softdep")?);
        Ok(Self::parse(&dep, &softdep, &read("modules.alias")?, &read("modules.builtin")?))
    }

    fn parse(dep: &str, softdep: &str, alias: &str, builtin: &str) -> Self {
        let mut index = Self::default();
        for (path, needs) in dep.lines().filter_map(|line| line.split_once(':')) {
            let needs = needs.split_whitespace().map(name_of).collect();
            index.modules.insert(name_of(path), Module { path: path.into(), needs });
        }
        for line in softdep.lines() {
            let mut words = line.split_whitespace();
            if let (Some("softdep"), Some(module)) = (words.next(), words.next()) {
                let targets = words.filter(|word| !matches!(*word, "pre:" | "post:")).map(str::to_owned);
                index.soft.entry(canonical(module)).or_default().extend(targets);
            }
        }
        for line in alias.lines() {
            let mut words = line.split_whitespace();
            // Patterns match devices; only plain names are ever asked for by a module.
            if let (Some("alias"), Some(name), Some(module)) = (words.next(), words.next(), words.next())
                && !name.contains(['*', '?', '['])
            {
                index.aliases.entry(canonical(name)).or_default().push(canonical(module));
            }
        }
        index.builtin = builtin.lines().map(name_of).collect();
        index
    }

    /// The modules of `names` with everything they need, as paths; and the names that are neither
    /// a module nor built in. Every module that answers to an alias is taken: which one fits is
    /// decided by the machine it runs on.
    pub fn closure<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> (BTreeSet<PathBuf>, Vec<String>) {
        let mut pending = Vec::new();
        let mut missing = Vec::new();
        for name in names {
            let name = canonical(name);
            if self.modules.contains_key(&name) {
                pending.push(name);
            } else if !self.builtin.contains(&name) {
                missing.push(name);
            }
        }
        let mut seen = BTreeSet::new();
        let mut paths = BTreeSet::new();
        while let Some(name) = pending.pop() {
            let Some(module) = self.modules.get(&name) else { continue };
            if !seen.insert(name.clone()) {
                continue;
            }
            paths.insert(module.path.clone());
            pending.extend(module.needs.iter().cloned());
            for target in self.soft.get(&name).into_iter().flatten() {
                pending.extend(self.answering(target));
            }
        }
        (paths, missing)
    }

    /// The module of that name, or all that have it as an alias.
    fn answering(&self, target: &str) -> Vec<String> {
        let name = canonical(target);
        if self.modules.contains_key(&name) {
            return vec![name];
        }
        self.aliases.get(&name).cloned().unwrap_or_default()
    }
}

/// `kernel/fs/ext4/ext4.ko.xz` → `ext4`.
fn name_of(path: &str) -> String {
    let file = path.trim().rsplit('/').next().unwrap_or_default();
    canonical(file.split_once(".ko").map_or(file, |(name, _)| name))
}

/// The kernel takes `-` and `_` in module names for the same.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
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

    fn index() -> ModuleIndex {
        ModuleIndex::parse(DEP, SOFTDEP, ALIAS, "kernel/drivers/virtio/virtio_pci.ko\n")
    }

    fn names(paths: &BTreeSet<PathBuf>) -> Vec<String> {
        let mut names: Vec<_> = paths.iter().map(|path| name_of(&path.to_string_lossy())).collect();
        names.sort();
        names
    }

    #[test]
    fn follows_hard_soft_and_aliased_dependencies() {
        let (paths, missing) = index().closure(["ext4"]);
        assert_eq!(names(&paths), ["crc16", "crc32c_generic", "crc32c_intel", "ext4", "jbd2", "simd"]);
        assert!(missing.is_empty());
    }

    #[test]
    fn soft_dependency_cycles_end() {
        let (paths, _) = index().closure(["ring-a"]);
        assert_eq!(names(&paths), ["ring_a", "ring_b"]);
    }

    #[test]
    fn built_in_is_fine_and_unknown_is_reported() {
        let (paths, missing) = index().closure(["virtio-pci", "no-such-driver"]);
        assert!(paths.is_empty());
        assert_eq!(missing, ["no_such_driver"]);
    }
}
