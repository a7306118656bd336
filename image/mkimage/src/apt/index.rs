//! Reads apt's `Packages` indices for the few packages the build wants. It must never read an
//! index that apt has not verified: only files apt itself names come here.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::lock::Offer;
use crate::tool::DPKG;

/// Offers by suite and package.
#[derive(Debug, Default)]
pub struct Indices {
    offers: BTreeMap<(String, String), Vec<Offer>>,
}

impl Indices {
    /// Reads the indices (suite and file) and keeps packages whose name starts with one of
    /// `prefixes`.
    pub fn load(files: &[(String, PathBuf)], prefixes: &[String]) -> Result<Self> {
        let mut indices = Self::default();
        for (suite, file) in files {
            let text = fs::read_to_string(file)
                .with_context(|| format!("failed to read the index {}", file.display()))?;
            indices.add(suite, &text, prefixes);
        }
        Ok(indices)
    }

    fn add(&mut self, suite: &str, text: &str, prefixes: &[String]) {
        for stanza in text.split("\n\n") {
            let Some(name) = field(stanza, "Package") else { continue };
            if !prefixes.iter().any(|prefix| name.starts_with(prefix.as_str())) {
                continue;
            }
            let (Some(version), Some(sha256)) = (field(stanza, "Version"), field(stanza, "SHA256")) else {
                continue;
            };
            let offer = Offer {
                package: name.to_owned(),
                version: version.to_owned(),
                sha256: sha256.to_owned(),
                depends: field(stanza, "Depends").unwrap_or_default().to_owned(),
            };
            self.offers.entry((suite.to_owned(), name.to_owned())).or_default().push(offer);
        }
    }

    /// All packages of this name in a suite, newest first.
    pub fn offers(&self, package: &str, suite: &str) -> Result<Vec<Offer>> {
        let known = self.offers.get(&(suite.to_owned(), package.to_owned()));
        let mut sorted: Vec<Offer> = Vec::new();
        for offer in known.into_iter().flatten() {
            let mut at = sorted.len();
            while at > 0 && compare(&offer.version, &sorted[at - 1].version)? == Ordering::Greater {
                at -= 1;
            }
            sorted.insert(at, offer.clone());
        }
        Ok(sorted)
    }
}

/// Value of a one-line field of a control stanza.
fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Compares two Debian versions by dpkg's own rules.
fn compare(a: &str, b: &str) -> Result<Ordering> {
    for (relation, ordering) in [("gt", Ordering::Greater), ("lt", Ordering::Less)] {
        let status = DPKG
            .command()?
            .args(["--compare-versions", a, relation, b])
            .status()
            .context("failed to start dpkg")?;
        if status.success() {
            return Ok(ordering);
        }
    }
    Ok(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "\
Package: kernel-6.1
Version: 6.1.9-1
Depends: kmod, base (= 1)
SHA256: aaaa

Package: kernel-6.1
Version: 6.1.10-1~deb12u1
SHA256: bbbb
Description: multi
 Version: 99

Package: other
Version: 1
SHA256: cccc
";

    #[test]
    fn newest_first_by_dpkgs_rules() {
        let mut indices = Indices::default();
        indices.add("s", INDEX, &["kernel".into()]);
        let versions: Vec<_> =
            indices.offers("kernel-6.1", "s").unwrap().into_iter().map(|offer| offer.version).collect();
        assert_eq!(versions, ["6.1.10-1~deb12u1", "6.1.9-1"]);
    }

    #[test]
    fn keeps_only_wanted_names_and_their_own_suite() {
        let mut indices = Indices::default();
        indices.add("s", INDEX, &["kernel".into()]);
        assert_eq!(indices.offers("other", "s").unwrap(), []);
        assert_eq!(indices.offers("kernel-6.1", "t").unwrap(), []);
    }
}
