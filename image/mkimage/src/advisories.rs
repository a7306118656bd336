//! Checks `Cargo.lock`, the Go modules of the control plane and the Go toolchain against pinned lists of security
//! advisories (`image/advisories`), without any network.
//!
//! It knows versions, not whether the affected code is reached. An advisory that does not concern the product stands
//! in `accepted.toml` with the reason; one that is accepted and found no more is an error, so that the list stays true.

mod crates;
mod list;
mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use list::List;
use time::Date;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// Below the repository.
const DIRECTORY: &str = "image/advisories";
/// Of the lists' dates.
const DAY: StaticFormatDescription = format_description!("[year]-[month]-[day]");

/// One advisory about a version in use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// Identifier in its database.
    pub advisory: String,
    /// Crate or module.
    pub package: String,
    pub version: String,
    /// What it is about, or its kind.
    pub title: String,
    /// Not a vulnerability: no longer maintained, or unsound in ways that no attacker is known to reach.
    pub informational: bool,
}

/// `accepted.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    #[serde(default, rename = "advisory")]
    advisories: Vec<Acceptance>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acceptance {
    id: String,
    reason: String,
}

/// Checks everything and prints what was found and what the lists cover.
///
/// # Errors
/// A version in use is affected and not accepted, or the lists cannot be read.
pub fn check(source: &Path, go_version: Option<&str>, today: Date) -> Result<()> {
    let read = |name: &str| {
        let path = source.join(name);
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let (crates_list, modules_list) = (
        List::parse(&read(&format!("{DIRECTORY}/crates.tsv"))?)?,
        List::parse(&read(&format!("{DIRECTORY}/modules.tsv"))?)?,
    );
    let known = |name: &str| read(&format!("{DIRECTORY}/{name}"));
    let (crate_names, module_names) = (known("crates.names")?, known("modules.names")?);
    let locked = crates::locked(&read("Cargo.lock")?)?;
    let mut used = modules::used(&read("image/controlplane/go.mod")?)?;
    used.extend(go_version.map(modules::toolchain).into_iter().flatten());
    println!(
        "advisories: {} crates, list of {} ({})",
        locked.len(),
        crates_list.date,
        age(&crates_list, today)
    );
    println!(
        "advisories: {} Go modules, list of {} ({})",
        used.len(),
        modules_list.date,
        age(&modules_list, today)
    );
    if go_version.is_none() {
        println!("advisories: no Go toolchain here; its standard library was not looked up");
    }
    let crates_in_use = locked.iter().map(|package| package.name.as_str());
    let missing = uncovered(crates_in_use, &crate_names)
        .chain(uncovered(used.keys().map(String::as_str), &module_names));
    for name in missing {
        println!("advisories: NOTE: {name} is newer than the list and not in it; run scripts/advisories");
    }
    let mut hits = crates::check(&locked, &crates_list)?;
    hits.extend(modules::check(&used, &modules_list)?);
    conclude(&hits, &toml::from_str(&read(&format!("{DIRECTORY}/accepted.toml"))?)?)
}

/// Those in use that were not looked up when the list was made.
fn uncovered<'a>(used: impl Iterator<Item = &'a str>, names: &str) -> impl Iterator<Item = &'a str> {
    let known: BTreeSet<&str> = names.lines().collect();
    let missing: BTreeSet<&str> = used.filter(|name| !known.contains(name)).collect();
    missing.into_iter()
}

/// How old the list is, in words. An old list is no error: a build must not fail because time went by.
fn age(list: &List, today: Date) -> String {
    match Date::parse(&list.date, DAY) {
        Ok(day) => format!("{} days old", (today - day).whole_days()),
        Err(_) => "of unknown age".to_owned(),
    }
}

fn conclude(hits: &[Hit], accepted: &Accepted) -> Result<()> {
    if let Some(bare) = accepted.advisories.iter().find(|one| one.reason.trim().is_empty()) {
        bail!("accepted.toml: {} has no reason", bare.id);
    }
    let reasons: BTreeMap<&str, &str> =
        accepted.advisories.iter().map(|one| (one.id.as_str(), one.reason.as_str())).collect();
    let found: BTreeSet<&str> = hits.iter().map(|hit| hit.advisory.as_str()).collect();
    let stale: Vec<&str> = reasons.keys().copied().filter(|id| !found.contains(id)).collect();
    let mut denied = Vec::new();
    for hit in hits {
        let Hit { advisory, package, version, title, informational } = hit;
        let line = format!("{advisory}: {package} {version}: {title}");
        match reasons.get(advisory.as_str()) {
            Some(reason) => println!("advisories: accepted {line} ({reason})"),
            None if *informational => println!("advisories: note {line}"),
            None => denied.push(line),
        }
    }
    if !stale.is_empty() {
        bail!("accepted.toml names advisories that concern nothing any more; remove {}", stale.join(", "));
    }
    if denied.is_empty() {
        println!("advisories: nothing else is affected");
        return Ok(());
    }
    bail!(
        "{} advisories concern versions in use; update them, or accept them with a reason in \
         {DIRECTORY}/accepted.toml:\n{}",
        denied.len(),
        denied.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    fn hit(id: &str, informational: bool) -> Hit {
        Hit {
            advisory: id.into(),
            package: "p".into(),
            version: "1.0.0".into(),
            title: "t".into(),
            informational,
        }
    }

    fn accepted(id: &str, reason: &str) -> Accepted {
        Accepted { advisories: vec![Acceptance { id: id.into(), reason: reason.into() }] }
    }

    #[test]
    fn what_is_not_accepted_stops_and_says_where_to_accept_it() {
        let error = conclude(&[hit("A-1", false)], &Accepted::default()).unwrap_err().to_string();
        assert!(error.contains("A-1: p 1.0.0: t") && error.contains("accepted.toml"), "{error}");
        conclude(&[hit("A-1", false)], &accepted("A-1", "not reached")).unwrap();
        conclude(&[hit("A-1", true)], &Accepted::default()).unwrap();
        conclude(&[], &Accepted::default()).unwrap();
    }

    #[test]
    fn acceptances_have_reasons_and_go_with_their_cause() {
        assert!(conclude(&[hit("A-1", false)], &accepted("A-1", " ")).is_err());
        let stale = conclude(&[], &accepted("A-1", "not reached")).unwrap_err().to_string();
        assert!(stale.contains("remove A-1"), "{stale}");
    }

    #[test]
    fn the_age_is_told_and_no_error() {
        let list = List::parse("# date: 2026-08-21\n").unwrap();
        assert_eq!(age(&list, date!(2026 - 08 - 31)), "10 days old");
        assert_eq!(age(&list, date!(9026 - 08 - 21)), "2556697 days old");
        let undated = List::parse("# date: some day\n").unwrap();
        assert_eq!(age(&undated, date!(2026 - 08 - 31)), "of unknown age");
    }

    #[test]
    fn what_ships_is_checked_against_lists_that_can_be_read() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        check(&source, None, date!(2026 - 11 - 29)).unwrap();
    }
}
