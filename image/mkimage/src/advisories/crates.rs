//! Crates: the versions of `Cargo.lock` against the ranges that `RustSec` calls safe.

use anyhow::{Context, Result, bail};
use semver::{Version, VersionReq};
use serde::Deserialize;

use super::Hit;
use super::list::List;

/// `RustSec`'s word for what can be attacked; all others are informational.
const VULNERABILITY: &str = "vulnerability";
/// In the column of safe versions: there is none.
const NONE: &str = "-";

#[derive(Debug, Deserialize)]
struct Lockfile {
    package: Vec<Package>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    version: String,
}

/// All crates of a `Cargo.lock`.
pub(super) fn locked(text: &str) -> Result<Vec<Package>> {
    let file: Lockfile = toml::from_str(text).context("failed to understand Cargo.lock")?;
    Ok(file.package)
}

/// The advisories that concern them.
pub(super) fn check(locked: &[Package], list: &List) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    for row in &list.rows {
        let [name, advisory, kind, safe] = row.columns.as_slice() else {
            bail!("crates.tsv:{}: not four columns", row.line)
        };
        for package in locked.iter().filter(|package| package.name == *name) {
            let affected = !is_safe(&package.version, safe)
                .with_context(|| format!("crates.tsv:{}: {advisory}", row.line))?;
            if affected {
                hits.push(Hit {
                    advisory: advisory.clone(),
                    package: name.clone(),
                    version: package.version.clone(),
                    title: kind.clone(),
                    informational: kind != VULNERABILITY,
                });
            }
        }
    }
    Ok(hits)
}

fn is_safe(version: &str, safe: &str) -> Result<bool> {
    if safe == NONE {
        return Ok(false);
    }
    let version = Version::parse(version).with_context(|| format!("{version} is no version"))?;
    for range in safe.split("; ") {
        let range = VersionReq::parse(range).with_context(|| format!("{range} is no range of versions"))?;
        if range.matches(&version) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_outside_of_the_safe_ranges_are_affected() {
        let safe = ">= 0.23.5; >= 0.22.4, < 0.23.0; ^0.19";
        for (version, expected) in [
            ("0.23.4", false),
            ("0.23.5", true),
            ("0.22.4", true),
            ("0.22.3", false),
            ("0.19.7", true),
            ("1.0.0", true),
        ] {
            assert_eq!(is_safe(version, safe).unwrap(), expected, "{version}");
        }
        assert!(!is_safe("9.9.9", NONE).unwrap());
        assert!(is_safe("1", safe).is_err());
        assert!(is_safe("1.0.0", "newer").is_err());
    }

    #[test]
    fn a_denied_crate_is_found_by_name_and_version() {
        let locked = locked("version = 4\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n").unwrap();
        let list = |row: &str| List::parse(&format!("# date: 2026-01-01\n{row}\n")).unwrap();
        let hits = check(&locked, &list("a\tX-1\tvulnerability\t>= 1.2.4")).unwrap();
        assert_eq!(hits.len(), 1);
        assert_eq!((hits[0].advisory.as_str(), hits[0].informational), ("X-1", false));
        assert!(check(&locked, &list("a\tX-1\tunmaintained\t-")).unwrap()[0].informational);
        assert!(check(&locked, &list("a\tX-1\tvulnerability\t>= 1.2.3")).unwrap().is_empty());
        assert!(check(&locked, &list("b\tX-1\tvulnerability\t-")).unwrap().is_empty());
        assert!(check(&locked, &list("a\tX-1\tvulnerability")).is_err());
    }
}
