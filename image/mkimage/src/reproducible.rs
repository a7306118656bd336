//! Proves that a build depends on its inputs alone: builds a second time from nothing, elsewhere,
//! and compares. It must never call two builds equal that share a stage's result.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::build::{self, Until};
use crate::packages::Packages;
use crate::settings::Settings;
use crate::stage::{progress, sha256_file};

/// Builds into `settings.out` (as far as it is out of date) and again into a scratch directory.
///
/// # Errors
/// A result differs; the text names it with both checksums.
pub fn verify(settings: &Settings, packages: &Packages) -> Result<()> {
    build::run(settings, packages, Until::Disk)?;
    let scratch = tempfile::Builder::new()
        .prefix("second-build-")
        .tempdir_in(&settings.out)
        .context("failed to make a directory for the second build")?;
    progress("verify", "building a second time, from nothing");
    let second = settings.into_dir(scratch.path());
    build::run(&second, packages, Until::Disk)?;
    let mut different = Vec::new();
    for (one, two) in results(settings).iter().zip(results(&second)) {
        compare(one, &two, &mut different)?;
    }
    fs::remove_dir_all(scratch.path()).context("failed to remove the second build")?;
    if different.is_empty() {
        return Ok(());
    }
    bail!("two builds of the same inputs differ: {}", different.join("; "))
}

fn results(settings: &Settings) -> [std::path::PathBuf; 4] {
    [settings.initramfs(), settings.agent_initramfs(), settings.squashfs(), settings.disk()]
}

fn compare(one: &Path, two: &Path, different: &mut Vec<String>) -> Result<()> {
    let name = one.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (first, second) = (sha256_file(one)?, sha256_file(two)?);
    if first == second {
        progress("verify", &format!("{name} is the same: {first}"));
    } else {
        different.push(format!("{name} ({first} and {second})"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_a_difference() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::write(&one, [0, 1]).unwrap();
        fs::write(&two, [0, 1]).unwrap();
        let mut different = Vec::new();
        compare(&one, &two, &mut different).unwrap();
        assert!(different.is_empty());
        fs::write(&two, [0, 3]).unwrap();
        compare(&one, &two, &mut different).unwrap();
        assert_eq!(different.len(), 1);
        assert!(different[0].starts_with("one ("), "{different:?}");
    }
}
