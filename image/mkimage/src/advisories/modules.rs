//! Go modules: the versions of `go.mod`, which lists the whole graph, against the Go vulnerability database's spans.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use semver::Version;

use super::Hit;
use super::list::List;

/// In an event: from the first version on.
const BEGINNING: &str = "0";
/// The lowest version that there is.
const LOWEST: &str = "0.0.0-0";
/// Modules of that database for Go itself.
const GO: [&str; 2] = ["stdlib", "toolchain"];

/// Modules and versions, replacements applied; those replaced by directories are left out.
pub(super) fn used(text: &str) -> Result<BTreeMap<String, String>> {
    let mut used = BTreeMap::new();
    let mut replaced = BTreeMap::new();
    let mut block = "";
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if let Some(opened) = line.strip_suffix('(') {
            block = opened.trim();
            continue;
        }
        if line == ")" {
            block = "";
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, words) = match (block, words.as_slice()) {
            ("", [verb, rest @ ..]) => (*verb, rest),
            (block, words) => (block, words),
        };
        match (verb, words) {
            ("require", [module, version]) => {
                used.insert((*module).to_owned(), (*version).to_owned());
            }
            ("replace", [module, .., "=>", target, version]) => {
                replaced.insert((*module).to_owned(), Some(((*target).to_owned(), (*version).to_owned())));
            }
            ("replace", [module, .., _directory]) => {
                replaced.insert((*module).to_owned(), None);
            }
            _ => {}
        }
    }
    if used.is_empty() {
        bail!("go.mod requires nothing: is it read right?");
    }
    for (module, target) in replaced {
        if used.remove(&module).is_some() {
            used.extend(target);
        }
    }
    Ok(used)
}

/// Go itself, from `go env GOVERSION`.
pub(super) fn toolchain(version: &str) -> Vec<(String, String)> {
    let number = version.trim().trim_start_matches("go").split_whitespace().next().unwrap_or_default();
    GO.iter().map(|name| ((*name).to_owned(), format!("v{number}"))).collect()
}

/// The advisories that concern them.
pub(super) fn check(used: &BTreeMap<String, String>, list: &List) -> Result<Vec<Hit>> {
    let mut hits = Vec::new();
    for row in &list.rows {
        let [module, advisory, spans, title] = row.columns.as_slice() else {
            bail!("modules.tsv:{}: not four columns", row.line)
        };
        let Some(version) = used.get(module) else { continue };
        let at = || format!("modules.tsv:{}: {advisory}", row.line);
        if is_affected(version, spans).with_context(at)? {
            hits.push(Hit {
                advisory: advisory.clone(),
                package: module.clone(),
                version: version.clone(),
                title: title.clone(),
                // Go is the building machine's: said loudly, and not this repository's to change.
                informational: GO.contains(&module.as_str()),
            });
        }
    }
    Ok(hits)
}

/// OSV's rule: affected if the last event that is not later than the version is an introduction.
fn is_affected(version: &str, spans: &str) -> Result<bool> {
    let version = parse(version)?;
    let mut events = Vec::new();
    for event in spans.split("; ") {
        let Some((kind, at)) = event.split_once(' ') else { bail!("{event} is no event") };
        // OSV's 0 is before every version, pseudo-versions included.
        let at = if at == BEGINNING { Version::parse(LOWEST)? } else { parse(at)? };
        events.push((at, kind == "introduced"));
    }
    events.sort();
    Ok(events.iter().rev().find(|(at, _)| *at <= version).is_some_and(|(_, introduced)| *introduced))
}

/// Go's versions: a leading v, `+incompatible`, and 0 for "from the beginning".
fn parse(text: &str) -> Result<Version> {
    let number = text.trim_start_matches('v').trim_end_matches("+incompatible");
    let (core, rest) = number.split_at(number.find(['-', '+']).unwrap_or(number.len()));
    let full = match core.split('.').count() {
        1 => format!("{core}.0.0{rest}"),
        2 => format!("{core}.0{rest}"),
        _ => number.to_owned(),
    };
    Version::parse(&full).with_context(|| format!("{text} is no version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_mod_is_read_with_its_replacements() {
        let text = "module m\n\ngo 1.26.0\n\nrequire (\n\ta.org/a v1.0.0\n\tb.org/b v0.0.0 // indirect\n)\nrequire c.org/c v1.2.3\n\
                    replace (\n\tb.org/b => d.org/d v2.0.0\n)\nreplace a.org/a v1.0.0 => ../a\n";
        let used = used(text).unwrap();
        let pairs: Vec<_> = used.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();
        assert_eq!(pairs, [("c.org/c", "v1.2.3"), ("d.org/d", "v2.0.0")]);
        assert!(super::used("module m\n").is_err());
    }

    #[test]
    fn the_last_event_before_a_version_decides() {
        let spans = "introduced 0; fixed 1.2.3; introduced 1.3.0-rc.1; fixed 1.3.2";
        for (version, expected) in [
            ("v1.2.2", true),
            ("v1.2.3", false),
            ("v1.2.9", false),
            ("v1.3.0-rc.1", true),
            ("v1.3.1+incompatible", true),
            ("v1.3.2", false),
            ("v0.0.0-20210101000000-abcdefabcdef", true),
        ] {
            assert_eq!(is_affected(version, spans).unwrap(), expected, "{version}");
        }
        assert!(is_affected("v9.0.0", "introduced 0").unwrap());
        assert!(!is_affected("v0.57.0", "introduced 0; fixed 0.0.0-20190125091013-d26f9f9a57f3").unwrap());
        assert!(
            is_affected(
                "v0.0.0-20180101000000-000000000000",
                "introduced 0; fixed 0.0.0-20190125091013-d26f9f9a57f3"
            )
            .unwrap()
        );
        assert!(is_affected("v1.0.0", "nonsense").is_err());
    }

    #[test]
    fn go_itself_is_looked_up() {
        let both = toolchain("go1.26.1 X:nocoverageredesign\n");
        assert_eq!(both, [("stdlib".into(), "v1.26.1".into()), ("toolchain".into(), "v1.26.1".into())]);
        assert_eq!(parse("v1.26").unwrap(), Version::new(1, 26, 0));
    }
}
