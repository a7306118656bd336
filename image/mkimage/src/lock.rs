//! Reads and writes `components.lock`, the exact packages the last build used. It must never
//! drop a record that is still wanted, and its text depends on its content alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::components::{Components, DebianPackage};

/// First lines of the file.
const HEADER: &str = "\
# Written by mkimage: the exact Debian packages behind components.toml. A package that has left
# its suite (security updates do that) is replaced by the suite's current one at the next build,
# which says so and records it here: commit the change. With --locked the build stops instead, and
# it always stops when a version has another checksum than it has here.
";

/// One package as it was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// The name in `components.toml`; differs from `package` for metapackages.
    pub component: String,
    pub package: String,
    pub suite: String,
    pub version: String,
    /// Lower-case hexadecimal SHA-256 of the `.deb` file.
    pub sha256: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Records, in the order of `components.toml`.
    #[serde(default, rename = "package")]
    pub packages: Vec<Locked>,
}

impl Lock {
    /// Reads the file; a missing one is an empty lock.
    pub fn load(path: &Path) -> Result<Self> {
        match fs::read_to_string(path) {
            Ok(text) => {
                toml::from_str(&text).with_context(|| format!("failed to understand {}", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// The record for a wanted package, if it is for the same suite.
    pub fn find(&self, wanted: &DebianPackage) -> Option<&Locked> {
        self.packages.iter().find(|locked| locked.component == wanted.package && locked.suite == wanted.suite)
    }

    /// Writes the file when its text changes; returns whether it did.
    pub fn save(&self, path: &Path) -> Result<bool> {
        let text = format!("{HEADER}\n{}", toml::to_string(self).context("failed to write the lock")?);
        if fs::read_to_string(path).is_ok_and(|known| known == text) {
            return Ok(false);
        }
        fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(true)
    }
}

/// What the archive offers, as far as the choice needs it.
pub trait Archive {
    /// All packages of this name in a suite, newest first.
    fn offers(&self, package: &str, suite: &str) -> Result<Vec<Offer>>;
}

/// One package in an archive's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub package: String,
    pub version: String,
    /// Lower-case hexadecimal SHA-256 of the `.deb` file.
    pub sha256: String,
    /// Raw `Depends` field.
    pub depends: String,
}

/// Why a record differs from the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There was no record.
    Added(Locked),
    /// The locked package has left the suite.
    Replaced { old: Locked, new: Locked },
}

/// What becomes of a locked package that has left its suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The suite's current one takes its place.
    Replace,
    /// The build stops.
    Stop,
}

/// Chooses the exact package for every component: the locked one while `available` has it or the
/// archive offers it, else as `gone` says.
///
/// # Errors
/// The archive offers no such package at all, or the locked version with another checksum: then
/// the archive, a mirror or the lock was tampered with, and no package of it may be taken.
pub fn choose(
    components: &Components,
    lock: &Lock,
    gone: Gone,
    available: impl Fn(&Locked) -> bool,
    archive: &dyn Archive,
) -> Result<(Lock, Vec<Change>)> {
    let mut chosen = Lock::default();
    let mut changes = Vec::new();
    for wanted in &components.debian {
        let known = lock.find(wanted);
        let keep = match known {
            Some(locked) => available(locked) || is_offered(locked, archive)?,
            None => false,
        };
        let record = match known {
            Some(locked) if keep => locked.clone(),
            Some(old) if gone == Gone::Stop => bail!(
                "{} {} of components.lock has left {}: run `make packages-update`, look at the change and commit it",
                old.package,
                old.version,
                old.suite
            ),
            _ => {
                let new = current(wanted, archive)?;
                changes.push(match known {
                    Some(old) => Change::Replaced { old: old.clone(), new: new.clone() },
                    None => Change::Added(new.clone()),
                });
                new
            }
        };
        chosen.packages.push(record);
    }
    Ok((chosen, changes))
}

fn is_offered(locked: &Locked, archive: &dyn Archive) -> Result<bool> {
    let offers = archive.offers(&locked.package, &locked.suite)?;
    let mut same_version = offers.iter().filter(|offer| offer.version == locked.version).peekable();
    let Some(first) = same_version.peek() else { return Ok(false) };
    let offered = first.sha256.clone();
    if same_version.any(|offer| offer.sha256 == locked.sha256) {
        return Ok(true);
    }
    bail!(
        "{} {} of {} has another checksum than in components.lock: {} there, {offered} offered. \
         An archive never changes a version: do not use this mirror before you know why. \
         To take it all the same, run `make packages-update`",
        locked.package,
        locked.version,
        locked.suite,
        locked.sha256
    )
}

fn current(wanted: &DebianPackage, archive: &dyn Archive) -> Result<Locked> {
    let newest = |package: &str| -> Result<Offer> {
        archive
            .offers(package, &wanted.suite)?
            .into_iter()
            .next()
            .with_context(|| format!("suite {} has no package {package}", wanted.suite))
    };
    let mut offer = newest(&wanted.package)?;
    if wanted.metapackage {
        let real = real_package(&wanted.package, &offer.depends).with_context(|| {
            format!("metapackage {} depends on no package of its series: {}", wanted.package, offer.depends)
        })?;
        offer = newest(&real)?;
    }
    Ok(Locked {
        component: wanted.package.clone(),
        package: offer.package,
        suite: wanted.suite.clone(),
        version: offer.version,
        sha256: offer.sha256,
    })
}

/// `linux-image-6.12-amd64` with `Depends: linux-image-6.12.9+deb12-amd64 (= …)` → the latter: the
/// dependency that shares the name up to its last dash, and the flavour after it.
fn real_package(metapackage: &str, depends: &str) -> Option<String> {
    let (series, flavour) = metapackage.rsplit_once('-')?;
    depends
        .split(',')
        .filter_map(|dependency| dependency.split_whitespace().next())
        .find(|name| {
            name.strip_prefix(series).and_then(|rest| rest.strip_suffix(flavour)).is_some_and(|middle| {
                middle.starts_with(['.', '+']) && middle.ends_with('-') && middle.matches('-').count() == 1
            })
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::components::Use;

    #[derive(Default)]
    struct Fixture(BTreeMap<(String, String), Vec<Offer>>);

    impl Fixture {
        fn with(mut self, suite: &str, package: &str, version: &str, depends: &str) -> Self {
            let offer = Offer {
                package: package.into(),
                version: version.into(),
                sha256: format!("sha of {package} {version}"),
                depends: depends.into(),
            };
            self.0.entry((package.into(), suite.into())).or_default().push(offer);
            self
        }
    }

    impl Archive for Fixture {
        fn offers(&self, package: &str, suite: &str) -> Result<Vec<Offer>> {
            Ok(self.0.get(&(package.to_owned(), suite.to_owned())).cloned().unwrap_or_default())
        }
    }

    fn components(package: &str, metapackage: bool) -> Components {
        Components {
            debian: vec![DebianPackage {
                package: package.into(),
                metapackage,
                suite: "security".into(),
                section: "main".into(),
                source: "s".into(),
                licence: "MIT".into(),
                used_for: Use::Kernel,
            }],
            go_modules: vec![],
        }
    }

    fn locked(component: &str, package: &str, version: &str) -> Lock {
        Lock {
            packages: vec![Locked {
                component: component.into(),
                package: package.into(),
                suite: "security".into(),
                version: version.into(),
                sha256: format!("sha of {package} {version}"),
            }],
        }
    }

    #[test]
    fn keeps_a_locked_version_that_is_still_offered() {
        let archive = Fixture::default().with("security", "a", "2", "").with("security", "a", "1", "");
        let lock = locked("a", "a", "1");
        let (chosen, changes) =
            choose(&components("a", false), &lock, Gone::Replace, |_| false, &archive).unwrap();
        assert_eq!(chosen, lock);
        assert_eq!(changes, []);
    }

    #[test]
    fn takes_the_current_one_when_the_locked_version_has_gone() {
        let archive = Fixture::default().with("security", "a", "3", "").with("security", "a", "2", "");
        let lock = locked("a", "a", "1");
        let (chosen, changes) =
            choose(&components("a", false), &lock, Gone::Replace, |_| false, &archive).unwrap();
        assert_eq!(chosen.packages[0].version, "3");
        let expected = Change::Replaced { old: lock.packages[0].clone(), new: chosen.packages[0].clone() };
        assert_eq!(changes, [expected]);
    }

    #[test]
    fn same_version_with_another_checksum_stops_the_build() {
        let archive = Fixture::default().with("security", "a", "2", "").with("security", "a", "1", "");
        let mut lock = locked("a", "a", "1");
        lock.packages[0].sha256 = "something else".into();
        for gone in [Gone::Replace, Gone::Stop] {
            let error = choose(&components("a", false), &lock, gone, |_| false, &archive).unwrap_err();
            let text = error.to_string();
            for part in ["a 1 of security", "something else", "sha of a 1", "make packages-update"] {
                assert!(text.contains(part), "{text}");
            }
        }
        // A file of the recorded checksum is at hand: what the archive has now does not matter.
        choose(&components("a", false), &lock, Gone::Stop, |_| true, &archive).unwrap();
    }

    #[test]
    fn locked_builds_take_no_other_version() {
        let archive = Fixture::default().with("security", "a", "2", "");
        let lock = locked("a", "a", "1");
        let error = choose(&components("a", false), &lock, Gone::Stop, |_| false, &archive).unwrap_err();
        assert!(error.to_string().starts_with("a 1 of components.lock has left security"), "{error}");
        // Nothing is locked yet: that is no change.
        choose(&components("a", false), &Lock::default(), Gone::Stop, |_| false, &archive).unwrap();
    }

    #[test]
    fn cached_packages_need_no_archive() {
        struct Offline;
        impl Archive for Offline {
            fn offers(&self, _: &str, _: &str) -> Result<Vec<Offer>> {
                anyhow::bail!("no network")
            }
        }
        let lock = locked("a", "a", "1");
        let (chosen, _) = choose(&components("a", false), &lock, Gone::Replace, |_| true, &Offline).unwrap();
        assert_eq!(chosen, lock);
        assert!(choose(&components("a", false), &lock, Gone::Replace, |_| false, &Offline).is_err());
    }

    #[test]
    fn metapackage_leads_to_the_kernel_of_its_series() {
        let name = "linux-image-6.12-amd64";
        let archive = Fixture::default()
            .with("security", name, "6.12.9-1", "linux-image-6.12.9+deb12-amd64 (= 6.12.9-1)")
            .with("security", "linux-image-6.12.9+deb12-amd64", "6.12.9-1", "kmod, linux-base");
        let old = locked(name, "linux-image-6.12.8+deb12-amd64", "6.12.8-1");
        let (chosen, changes) =
            choose(&components(name, true), &old, Gone::Replace, |_| false, &archive).unwrap();
        assert_eq!(chosen.packages[0].package, "linux-image-6.12.9+deb12-amd64");
        assert_eq!(chosen.packages[0].component, name);
        assert_eq!(changes.len(), 1);
    }

    #[test]
    fn metapackage_of_one_flavour_ignores_the_others() {
        let depends = "linux-image-6.12.9+deb12-cloud-amd64 (= 1), linux-image-6.12.9+deb12-amd64 (= 1)";
        let real = real_package("linux-image-6.12-amd64", depends);
        assert_eq!(real.as_deref(), Some("linux-image-6.12.9+deb12-amd64"));
        assert_eq!(real_package("linux-image-6.12-amd64", "linux-image-6.120.1-amd64"), None);
    }

    #[test]
    fn unknown_package_names_package_and_suite() {
        let error =
            choose(&components("a", false), &Lock::default(), Gone::Replace, |_| false, &Fixture::default());
        assert_eq!(error.unwrap_err().to_string(), "suite security has no package a");
    }

    #[test]
    fn file_survives_a_round_trip_and_is_left_alone_when_equal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("components.lock");
        assert_eq!(Lock::load(&path).unwrap(), Lock::default());
        let lock = locked("a", "b", "1:2~3+x");
        assert!(lock.save(&path).unwrap());
        assert_eq!(Lock::load(&path).unwrap(), lock);
        assert!(!lock.save(&path).unwrap());
    }
}
