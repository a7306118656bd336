//! The index files that depmod writes: modules.dep, modules.softdep, modules.alias, modules.builtin.
//!
//! The parsers take any text and leave out lines that make no sense. They never read a module's own file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use super::{Error, alias};

/// Modules to load before and after another where they exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SoftDependencies {
    /// Before.
    pub pre: Vec<String>,
    /// After.
    pub post: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    path: String,
    dependencies: Vec<String>,
}

/// All that is known about the modules of a kernel release.
#[derive(Debug, Default)]
pub struct Index {
    modules: HashMap<String, Entry>,
    builtin: HashSet<String>,
    soft: HashMap<String, SoftDependencies>,
    /// Patterns by the part before their first colon (`pci`, `usb`, …), which saves trying all for each device.
    aliases: BTreeMap<String, Vec<(String, String)>>,
    /// Patterns whose part before the colon is itself a pattern (`acpi*:…`).
    wide_aliases: Vec<(String, String)>,
}

/// A module's name: dashes and underscores are the same.
pub(super) fn normalize(name: &str) -> String {
    name.replace('-', "_")
}

/// The module's name in a path such as `kernel/fs/ext4/ext4.ko.xz`.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, _) = file.split_once(".ko")?;
    (!name.is_empty()).then(|| normalize(name))
}

impl Index {
    /// Reads the files in `directory`. modules.dep has to be there; the others may be missing.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let read = |name: &str, needed: bool| {
            let path = directory.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !needed => Ok(String::new()),
                Err(source) => Err(Error::ReadIndex { path, source }),
            }
        };
        Ok(Self::parse(
            &read("modules.dep", true)?,
            &read("modules.softdep", false)?,
            &read("modules.alias", false)?,
            &read("modules.builtin", false)?,
        ))
    }

    /// Parses the texts of modules.dep, modules.softdep, modules.alias and modules.builtin.
    pub fn parse(dep: &str, softdep: &str, alias: &str, builtin: &str) -> Self {
        let mut index = Self {
            modules: dep.lines().filter_map(parse_dependency).collect(),
            builtin: builtin.lines().filter_map(|line| module_name(line.trim())).collect(),
            ..Self::default()
        };
        for (name, soft) in softdep.lines().filter_map(parse_soft_dependency) {
            let entry = index.soft.entry(name).or_default();
            entry.pre.extend(soft.pre);
            entry.post.extend(soft.post);
        }
        for line in alias.lines() {
            index.add_alias(line);
        }
        index
    }

    fn add_alias(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        if let (Some("alias"), Some(pattern), Some(module)) = (words.next(), words.next(), words.next()) {
            let entry = (pattern.to_owned(), normalize(module));
            match bus(pattern) {
                bus if bus.contains(['*', '?', '[']) => self.wide_aliases.push(entry),
                bus => self.aliases.entry(normalize(bus)).or_default().push(entry),
            }
        }
    }

    /// Whether the kernel has it built in.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&normalize(name))
    }

    /// The module's file, relative to the directory of the index.
    pub fn path(&self, name: &str) -> Option<&str> {
        self.modules.get(&normalize(name)).map(|entry| entry.path.as_str())
    }

    /// The modules it needs, in the order of modules.dep reversed, which is the order of loading.
    pub fn dependencies(&self, name: &str) -> Vec<String> {
        let needs = self.modules.get(&normalize(name)).map(|entry| entry.dependencies.as_slice());
        needs.unwrap_or_default().iter().rev().cloned().collect()
    }

    /// The modules that are loaded with it where they exist. A name may be an alias.
    pub fn soft_dependencies(&self, name: &str) -> SoftDependencies {
        self.soft.get(&normalize(name)).cloned().unwrap_or_default()
    }

    /// The modules with an alias that matches `modalias`, in the order of modules.alias, each once.
    pub fn matching(&self, modalias: &str) -> Vec<String> {
        let narrow = self.aliases.get(&normalize(bus(modalias))).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<String> = Vec::new();
        for (pattern, module) in narrow.iter().chain(&self.wide_aliases) {
            if !found.contains(module) && alias::matches(pattern, modalias) {
                found.push(module.clone());
            }
        }
        found
    }

    /// How many modules there are.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }
}

/// The part of an alias before its first colon.
fn bus(alias: &str) -> &str {
    alias.split_once(':').map_or(alias, |(bus, _)| bus)
}

/// `kernel/fs/a.ko.xz: kernel/lib/b.ko.xz kernel/lib/c.ko.xz`
fn parse_dependency(line: &str) -> Option<(String, Entry)> {
    let (path, needs) = line.split_once(':')?;
    let path = path.trim();
    let entry = Entry {
        path: path.to_owned(),
        dependencies: needs.split_ascii_whitespace().filter_map(module_name).collect(),
    };
    Some((module_name(path)?, entry))
}

/// `softdep name pre: a b post: c`
fn parse_soft_dependency(line: &str) -> Option<(String, SoftDependencies)> {
    let mut words = line.split_ascii_whitespace();
    if words.next() != Some("softdep") {
        return None;
    }
    let name = normalize(words.next()?);
    let mut soft = SoftDependencies::default();
    let mut list: Option<&mut Vec<String>> = None;
    for word in words {
        match word {
            "pre:" => list = Some(&mut soft.pre),
            "post:" => list = Some(&mut soft.post),
            // Other lists ("platform:") do not concern loading.
            other if other.ends_with(':') => list = None,
            other => {
                if let Some(list) = list.as_deref_mut() {
                    list.push(normalize(other));
                }
            }
        }
    }
    Some((name, soft))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_dependencies_with_any_suffix() {
        let index = Index::parse(
            "kernel/a-b.ko.xz: kernel/c.ko kernel/d.ko.zst\nkernel/c.ko:\nnonsense\n: x\n",
            "",
            "",
            "",
        );
        assert_eq!(index.len(), 2);
        assert_eq!(index.path("a-b"), Some("kernel/a-b.ko.xz"));
        assert_eq!(index.path("a_b"), index.path("a-b"));
        assert_eq!(index.dependencies("a_b"), ["d", "c"]);
        assert_eq!(index.dependencies("missing"), [""; 0]);
    }

    #[test]
    fn reads_soft_dependencies() {
        let softdep = "# comment\nsoftdep ext4 pre: crc32c\nsoftdep x-y post: z platform: p pre: a-a b\nsoftdep x_y pre: c";
        let index = Index::parse("", softdep, "", "");
        assert_eq!(index.soft_dependencies("ext4").pre, ["crc32c"]);
        let soft = index.soft_dependencies("x_y");
        assert_eq!((soft.pre, soft.post), (vec!["a_a".into(), "b".into(), "c".into()], vec!["z".into()]));
    }

    #[test]
    fn finds_modules_by_alias() {
        let alias = "# Aliases\nalias pci:v00001AF4d* virtio_pci\nalias acpi*:PNP0C0C:* button\n\
                     alias pci:v*d*sv* generic-pci\nalias crc32c crc32c_generic\nalias short\n";
        let index = Index::parse("", "", alias, "kernel/drivers/char/tpm/tpm-crb.ko\n");
        assert_eq!(index.matching("pci:v00001AF4d00001001sv1"), ["virtio_pci", "generic_pci"]);
        assert_eq!(index.matching("acpi:PNP0C0C:"), ["button"]);
        assert_eq!(index.matching("crc32c"), ["crc32c_generic"]);
        assert!(index.matching("usb:v1").is_empty());
        assert!(index.is_builtin("tpm_crb"));
    }

    proptest! {
        #[test]
        fn takes_any_text(text in "(\\PC|[ \n:.]|softdep |alias |pre: |.ko){0,80}", name in "\\PC{0,20}") {
            let index = Index::parse(&text, &text, &text, &text);
            index.matching(&name);
            index.dependencies(&name);
            index.soft_dependencies(&name);
        }
    }
}
