//! What the kernel says of the memory of processes (`proc_pid_smaps_rollup(5)`).

use std::collections::BTreeMap;

use anyhow::Context as _;

const KIB_PER_MIB: f64 = 1024.0;

/// Memory of one process, MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Memory {
    /// Pages in memory; those shared with others count in full.
    pub(crate) rss: f64,
    /// Pages in memory; those shared by n processes count as 1/n.
    pub(crate) pss: f64,
    /// Pages that no file backs.
    pub(crate) anonymous: f64,
}

impl Memory {
    /// From the text of `/proc/PID/smaps_rollup`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = value.and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
            kib.map(|kib| kib / KIB_PER_MIB).with_context(|| format!("failed to find {name} in smaps_rollup"))
        };
        Ok(Self { rss: field("Rss")?, pss: field("Pss")?, anonymous: field("Anonymous")? })
    }
}

/// Memory of several processes, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(Vec<(String, Memory)>);

impl Processes {
    /// Adds a process.
    pub(crate) fn add(&mut self, name: &str, memory: Memory) {
        self.0.push((name.to_owned(), memory));
    }

    /// The first process of that name.
    pub(crate) fn get(&self, name: &str) -> anyhow::Result<Memory> {
        let found = self.0.iter().find(|(of, _)| of == name).map(|(_, memory)| *memory);
        found.with_context(|| format!("failed to find the process {name}: it does not run"))
    }

    /// Sum of the proportional sizes: what all of them take together.
    pub(crate) fn pss(&self) -> f64 {
        self.0.iter().map(|(_, memory)| memory.pss).sum()
    }

    /// Proportional sizes by name; processes of one name are added up.
    pub(crate) fn parts(&self) -> BTreeMap<String, f64> {
        let mut parts = BTreeMap::new();
        for (name, memory) in &self.0 {
            *parts.entry(name.clone()).or_default() += memory.pss;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_text() {
        let text = "558a41\nRss:       2048 kB\nPss:       1024 kB\nPss_Anon:  256 kB\nAnonymous: 512 kB\n";
        assert_eq!(Memory::parse(text).unwrap(), Memory { rss: 2.0, pss: 1.0, anonymous: 0.5 });
        assert!(Memory::parse("Rss: 1 kB\n").is_err());
        let own = Memory::parse(&std::fs::read_to_string("/proc/self/smaps_rollup").unwrap()).unwrap();
        assert!(own.pss > 0.0 && own.pss <= own.rss);
    }

    #[test]
    fn adds_up_and_misses_what_does_not_run() {
        let memory = |pss| Memory { rss: 2.0 * pss, pss, anonymous: 0.0 };
        let mut processes = Processes::default();
        for (name, pss) in [("etcd", 3.0), ("a", 1.0), ("a", 2.0)] {
            processes.add(name, memory(pss));
        }
        assert!((processes.pss() - 6.0).abs() < f64::EPSILON);
        assert_eq!(processes.parts(), [("a".to_owned(), 3.0), ("etcd".to_owned(), 3.0)].into());
        assert!(processes.get("init").is_err());
    }
}
