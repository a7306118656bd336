//! Stage `packages`: the exact Debian packages, fetched, cached by checksum and unpacked. It must
//! never use a file whose checksum is not the recorded one, and needs no network when the cache
//! has everything.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::{Mirrors, PrivateApt};
use crate::components::{Components, Use};
use crate::lock::{self, Change, Gone, Lock, Locked};
use crate::stage::{progress, sha256_file};
use crate::tool::{self, DPKG_DEB};
use crate::tree;

#[derive(Debug, Clone)]
pub struct Unpacked {
    pub locked: Locked,
    pub used_for: Use,
    /// Directory that holds its files.
    pub dir: PathBuf,
}

/// All packages of a build.
#[derive(Debug, Clone)]
pub struct Packages {
    all: Vec<Unpacked>,
}

/// Which packages to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The locked ones while they can be had.
    Locked,
    /// The locked ones and no others.
    LockedOnly,
    /// The suites' current ones.
    Update,
}

impl Packages {
    /// Fetches and unpacks what is missing, and records in `taken` what was taken. Only an update changes `recorded`,
    /// the list that the repository keeps.
    pub fn prepare(
        components: &Components,
        recorded: &Path,
        taken: &Path,
        cache: &Path,
        mirrors: &Mirrors,
        policy: Policy,
    ) -> Result<Self> {
        let debs = cache.join("debs");
        tree::make_dir(&debs)?;
        let known = Lock::load(recorded)?;
        let apt = PrivateApt::new(cache.join("apt"), components, mirrors);
        let basis = if policy == Policy::Update { Lock::default() } else { known.clone() };
        let gone = if policy == Policy::LockedOnly { Gone::Stop } else { Gone::Replace };
        let is_cached = |locked: &Locked| debs.join(format!("{}.deb", locked.sha256)).is_file();
        let (chosen, changes) = lock::choose(components, &basis, gone, is_cached, &apt)?;
        report(&changes, &known);

        let mut all = Vec::new();
        for (locked, wanted) in chosen.packages.iter().zip(&components.debian) {
            let deb = cached(locked, &debs, &apt)?;
            let dir = cache.join("unpacked").join(&locked.sha256);
            unpack(&deb, &dir).with_context(|| format!("failed to unpack {}", locked.package))?;
            all.push(Unpacked { locked: locked.clone(), used_for: wanted.used_for, dir });
        }
        chosen.save(taken)?;
        if policy == Policy::Update && chosen.save(recorded)? {
            progress("packages", &format!("recorded in {}", recorded.display()));
        } else if policy != Policy::Update && chosen != known {
            progress(
                "packages",
                "WARNING: not those of components.lock: run make packages-update to record them",
            );
        }
        Ok(Self { all })
    }

    /// Packages of one use, in the order of `components.toml`.
    pub fn of(&self, used_for: Use) -> impl Iterator<Item = &Unpacked> {
        self.all.iter().filter(move |package| package.used_for == used_for)
    }

    pub fn all(&self) -> &[Unpacked] {
        &self.all
    }

    /// The only package of a use.
    pub fn only(&self, used_for: Use) -> Result<&Unpacked> {
        self.of(used_for).next().with_context(|| format!("components.toml lists no package for {used_for:?}"))
    }

    /// Checksums of the packages of the given uses, for stage keys.
    pub fn key(&self, uses: &[Use]) -> String {
        let chosen = self.all.iter().filter(|package| uses.contains(&package.used_for));
        chosen.map(|package| package.locked.sha256.as_str()).collect::<Vec<_>>().join(" ")
    }
}

fn report(changes: &[Change], known: &Lock) {
    for change in changes {
        let text = match change {
            Change::Replaced { old, new } => format!(
                "WARNING: {} {} has left {}; taking the current {} {}",
                old.package, old.version, old.suite, new.package, new.version
            ),
            Change::Added(new) => match known.packages.iter().find(|old| old.component == new.component) {
                Some(old) if old == new => continue,
                Some(old) if old.package == new.package && old.version == new.version => format!(
                    "WARNING: {} {} has another checksum now: {} -> {}",
                    new.package, new.version, old.sha256, new.sha256
                ),
                Some(old) => format!("{}: {} -> {}", new.component, old.version, new.version),
                None => format!("{} {} from {}", new.package, new.version, new.suite),
            },
        };
        progress("packages", &text);
    }
}

fn cached(locked: &Locked, debs: &Path, apt: &PrivateApt) -> Result<PathBuf> {
    let path = debs.join(format!("{}.deb", locked.sha256));
    if path.is_file() {
        return Ok(path);
    }
    progress("packages", &format!("fetching {} {}", locked.package, locked.version));
    apt.download(locked, debs)
}

/// Unpacks once; the directory appears under its name only when it is complete.
fn unpack(deb: &Path, dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let expected = dir.file_name().context("package directory without a name")?;
    let sha256 = sha256_file(deb)?;
    if expected != sha256.as_str() {
        // A damaged cache heals itself at the next run.
        fs::remove_file(deb).with_context(|| format!("failed to remove {}", deb.display()))?;
        anyhow::bail!("cached {} is damaged and was removed; run again", deb.display());
    }
    let parent = dir.parent().context("package directory without a parent")?;
    tree::make_dir(parent)?;
    let scratch = tempfile::tempdir_in(parent).context("failed to make a directory to unpack into")?;
    DPKG_DEB.run(["-x", tool::text(deb)?, tool::text(scratch.path())?])?;
    let unpacked = scratch.keep();
    tree::set_mode(&unpacked, tree::MODE_EXECUTABLE)?;
    fs::rename(&unpacked, dir).with_context(|| format!("failed to move {} into place", dir.display()))
}
