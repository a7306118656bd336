//! Incremental stages: a stage runs only when the hash of its inputs or one of its outputs
//! changed since it last succeeded. It must never take a time stamp for a change of content on
//! the input side, and never keep the record of a stage that failed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::tree;

/// Width of the stage's name in progress lines.
const NAME_WIDTH: usize = 10;

/// Collects what a stage depends on into one hash.
#[derive(Clone)]
pub struct Inputs(Sha256);

impl Inputs {
    /// Starts with the stage's recipe; a changed recipe must carry a new text here.
    pub fn new(recipe: &str) -> Self {
        Self(Sha256::new()).text("recipe", recipe)
    }

    /// Adds a named value.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Self {
        for part in [name, value] {
            self.0.update(part.len().to_le_bytes());
            self.0.update(part.as_bytes());
        }
        self
    }

    /// Adds the content of a file.
    pub fn file(self, path: &Path) -> Result<Self> {
        let digest = sha256_file(path)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(self.text(&name, &digest))
    }

    /// Adds names, links, executable bits and contents of everything below a directory.
    pub fn tree(mut self, root: &Path) -> Result<Self> {
        for entry in tree::walk(root)? {
            let name = entry.relative.to_string_lossy().into_owned();
            self = match &entry.kind {
                tree::Kind::Directory => self.text(&name, "directory"),
                tree::Kind::Symlink(target) => self.text(&name, &target.to_string_lossy()),
                tree::Kind::File { executable } => {
                    self.text(&name, if *executable { "x" } else { "-" }).file(&root.join(&entry.relative))?
                }
            };
        }
        Ok(self)
    }

    /// The hash, lower-case hexadecimal.
    pub fn key(&self) -> String {
        HEXLOWER.encode(&self.0.clone().finalize())
    }
}

/// Lower-case hexadecimal SHA-256 of a file.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut hasher).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(HEXLOWER.encode(&hasher.finalize()))
}

/// Where the records of finished stages lie.
#[derive(Debug, Clone)]
pub struct Stages {
    dir: PathBuf,
}

impl Stages {
    /// Records live in `dir`, which is made when needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Runs `work` unless the record of an earlier run matches `inputs` and `outputs` are as that
    /// run left them. Returns the key of the inputs, for stages that build on this one.
    pub fn run(
        &self,
        name: &str,
        inputs: &Inputs,
        outputs: &[&Path],
        work: impl FnOnce() -> Result<()>,
    ) -> Result<String> {
        let key = inputs.key();
        let record = self.dir.join(name);
        if let (Ok(known), Ok(now)) = (fs::read_to_string(&record), describe(&key, outputs))
            && known == now
        {
            progress(name, "unchanged");
            return Ok(key);
        }
        remove_if_there(&record)?;
        let start = Instant::now();
        progress(name, "…");
        work().with_context(|| format!("failed in stage {name}"))?;
        let described = describe(&key, outputs).with_context(|| format!("failed in stage {name}"))?;
        fs::create_dir_all(&self.dir).with_context(|| format!("failed to make {}", self.dir.display()))?;
        fs::write(&record, described).with_context(|| format!("failed to write {}", record.display()))?;
        progress(name, &format!("done in {:.1} s{}", start.elapsed().as_secs_f32(), sizes(outputs)));
        Ok(key)
    }
}

/// One line on standard error: who, which stage, what.
pub fn progress(stage: &str, what: &str) {
    eprintln!("mkimage: {stage:<NAME_WIDTH$} {what}");
}

/// The record of a stage: its key, and size and time of change of each output.
fn describe(key: &str, outputs: &[&Path]) -> Result<String> {
    let mut text = format!("{key}\n");
    for path in outputs {
        let meta =
            fs::symlink_metadata(path).with_context(|| format!("missing output {}", path.display()))?;
        let size = if meta.is_dir() { 0 } else { meta.size() };
        writeln!(text, "{} {size} {}.{:09}", path.display(), meta.mtime(), meta.mtime_nsec())?;
    }
    Ok(text)
}

fn sizes(outputs: &[&Path]) -> String {
    let mut text = String::new();
    for path in outputs {
        if let Ok(meta) = fs::metadata(path)
            && meta.is_file()
        {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let _ = write!(text, ", {name} {}", megabytes(meta.size()));
        }
    }
    text
}

/// A size for people, in units of 10^6 bytes.
pub fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

/// Removes a file; its absence is fine.
pub fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn counted(stages: &Stages, inputs: &Inputs, output: &Path, runs: &Cell<u32>) {
        stages
            .run("demo", inputs, &[output], || {
                runs.set(runs.get() + 1);
                fs::write(output, "made")?;
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn runs_again_only_when_input_or_output_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in"), dir.path().join("out"));
        let stages = Stages::new(dir.path().join("stamps"));
        let runs = Cell::new(0);
        fs::write(&input, "one").unwrap();
        let inputs = || Inputs::new("demo 1").file(&input).unwrap();
        counted(&stages, &inputs(), &output, &runs);
        counted(&stages, &inputs(), &output, &runs);
        assert_eq!(runs.get(), 1, "nothing changed");
        fs::write(&input, "two").unwrap();
        counted(&stages, &inputs(), &output, &runs);
        assert_eq!(runs.get(), 2, "the input changed");
        fs::remove_file(&output).unwrap();
        counted(&stages, &inputs(), &output, &runs);
        assert_eq!(runs.get(), 3, "the output is gone");
        fs::write(&output, "somebody else's").unwrap();
        counted(&stages, &inputs(), &output, &runs);
        assert_eq!(runs.get(), 4, "the output is not ours any more");
    }

    #[test]
    fn keeps_no_record_of_a_failed_run() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        let stages = Stages::new(dir.path().join("stamps"));
        let inputs = Inputs::new("demo 1");
        let runs = Cell::new(0);
        counted(&stages, &inputs, &output, &runs);
        let other = Inputs::new("demo 2");
        let failed = stages.run("demo", &other, &[&output], || anyhow::bail!("no space"));
        assert!(format!("{:#}", failed.unwrap_err()).contains("stage demo: no space"));
        counted(&stages, &inputs, &output, &runs);
        assert_eq!(runs.get(), 2, "a failed run in between leaves nothing to trust");
    }

    #[test]
    fn key_tells_neighbouring_fields_apart() {
        let one = Inputs::new("r").text("ab", "c");
        let two = Inputs::new("r").text("a", "bc");
        assert_ne!(one.key(), two.key());
    }
}
