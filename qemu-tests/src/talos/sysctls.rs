//! Settings of the host that kubelet changes, because they belong to no namespace: noted before, put back after.

use anyhow::{Context, Result};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What kubelet sets at its start (its `setupKernelTunables`).
const CHANGED: [&str; 5] = [
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
];
/// Where they are noted: a lab that was killed leaves the note to the next one.
const NOTE: &str = "host-sysctls.json";

/// The host's own settings; put back when this is dropped.
#[derive(Debug)]
pub struct Sysctls {
    root: PathBuf,
    note: PathBuf,
    own: BTreeMap<String, String>,
}

impl Sysctls {
    /// Notes the host's settings in the lab's folder, or takes over the note of an earlier lab.
    ///
    /// # Errors
    /// The note cannot be written or read.
    pub fn note(folder: &Path) -> Result<Self> {
        Self::note_at(Path::new("/proc/sys"), folder)
    }

    fn note_at(root: &Path, folder: &Path) -> Result<Self> {
        let note = folder.join(NOTE);
        let own = if note.exists() {
            let text = fs::read(&note).context("failed to read the host's settings")?;
            serde_json::from_slice(&text).context("failed to parse the host's settings")?
        } else {
            let read = |name: &str| Some((name.to_owned(), fs::read_to_string(root.join(name)).ok()?));
            CHANGED.into_iter().filter_map(read).collect()
        };
        let text = serde_json::to_vec(&own).context("failed to note the host's settings")?;
        fs::write(&note, text).context("failed to note the host's settings")?;
        Ok(Self { root: root.to_owned(), note, own })
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        let put_back = |(name, value): (&String, &String)| {
            let path = self.root.join(name);
            let is_changed = fs::read_to_string(&path).is_ok_and(|now| now != *value);
            !is_changed || fs::write(&path, value).is_ok()
        };
        // The note stays when it is still needed.
        let failed = self.own.iter().map(put_back).filter(|done| !done).count();
        if failed == 0 {
            let _ = fs::remove_file(&self.note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_put_back_even_after_a_lab_that_was_killed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("sys");
        for name in CHANGED {
            fs::create_dir_all(root.join(name).parent().expect("a folder")).expect("a folder");
            fs::write(root.join(name), "0\n").expect("a write");
        }
        let panic = root.join("kernel/panic");
        let killed = Sysctls::note_at(&root, folder.path()).expect("a note");
        std::mem::forget(killed);
        fs::write(&panic, "10\n").expect("a write");
        let next = Sysctls::note_at(&root, folder.path()).expect("the earlier note");
        fs::write(&panic, "20\n").expect("a write");
        drop(next);
        assert_eq!(fs::read_to_string(&panic).expect("a setting"), "0\n");
        assert!(!folder.path().join(NOTE).exists());
    }
}
