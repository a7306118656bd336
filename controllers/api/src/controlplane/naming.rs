//! Names of machines: the same for everybody who sees the same machines, so that of two programs which make the next one only
//! one succeeds, and whoever was interrupted goes on with the objects that are there.

use sha2::{Digest, Sha256};

use crate::talos_control_plane::TalosControlPlane;

/// What random parts of names are made of: no vowels, nothing that looks like something else.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random part.
const RANDOM: usize = 5;
/// Length of a name at most, as that of a label's value.
const LONGEST: usize = 63;
/// What a naming template may have.
const VARIABLES: [&str; 3] = [".cluster.name", ".talosControlPlane.name", ".random"];

/// Why a naming template gives no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It has something in braces that is no variable.
    #[error("the naming template has {found:?}; it may have {}", VARIABLES.join(", "))]
    Unknown {
        /// What it has.
        found: String,
    },
    /// Without the random part all machines had one name.
    #[error("the naming template has no .random")]
    NotRandom,
    /// It has a brace that does not end.
    #[error("the naming template has {{{{ without }}}}")]
    Unclosed,
}

/// The random part for the machine that comes after these.
pub fn suffix(control_plane: &TalosControlPlane, existing_uids: &[&str]) -> String {
    let mut uids: Vec<&str> = existing_uids.to_vec();
    uids.sort_unstable();
    let own = control_plane.metadata.uid.as_deref().unwrap_or_default();
    let digest = Sha256::digest([&[own], &uids[..]].concat().join(" "));
    digest.iter().take(RANDOM).map(|&octet| char::from(LETTERS[usize::from(octet) % LETTERS.len()])).collect()
}

/// A name with a random part, as Kubernetes generates them.
pub fn generated(base: &str, random: &str) -> String {
    let end = base.floor_char_boundary(LONGEST - RANDOM - 1);
    format!("{}-{random}", base[..end].trim_end_matches(['-', '.']))
}

/// The name of a Machine.
pub fn machine(
    control_plane: &TalosControlPlane,
    cluster: &str,
    random: &str,
) -> Result<String, TemplateError> {
    let own = control_plane.metadata.name.as_deref().unwrap_or_default();
    let template = &control_plane.spec.machine_naming_strategy.template;
    if template.is_empty() {
        return Ok(generated(own, random));
    }
    let (mut name, mut rest, mut is_random) = (String::new(), template.as_str(), false);
    while let Some((before, after)) = rest.split_once("{{") {
        let (variable, after) = after.split_once("}}").ok_or(TemplateError::Unclosed)?;
        name.push_str(before);
        match variable.trim().trim_matches('-').trim() {
            ".cluster.name" => name.push_str(cluster),
            ".talosControlPlane.name" => name.push_str(own),
            ".random" => {
                is_random = true;
                name.push_str(random);
            }
            found => return Err(TemplateError::Unknown { found: found.to_owned() }),
        }
        rest = after;
    }
    name.push_str(rest);
    if !is_random {
        return Err(TemplateError::NotRandom);
    }
    Ok(if name.len() > LONGEST { generated(&name, random) } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::talos_control_plane::TalosControlPlaneSpec;

    fn control_plane(template: &str) -> TalosControlPlane {
        let mut made = TalosControlPlane::new("cp", TalosControlPlaneSpec::default());
        made.metadata.uid = Some("u".to_owned());
        made.spec.machine_naming_strategy.template = template.to_owned();
        made
    }

    #[test]
    fn whoever_sees_the_same_machines_finds_the_same_name() {
        let made = control_plane("");
        let one = suffix(&made, &["a", "b"]);
        assert_eq!(one, suffix(&made, &["b", "a"]));
        assert_ne!(one, suffix(&made, &["a"]));
        assert_ne!(one, suffix(&made, &[]));
        assert_eq!(one.len(), RANDOM);
        assert!(one.bytes().all(|letter| LETTERS.contains(&letter)), "{one}");
    }

    #[test]
    fn templates_give_names() {
        let unknown = |found: &str| Err(TemplateError::Unknown { found: found.to_owned() });
        for (template, expected) in [
            ("", Ok("cp-xxxxx".to_owned())),
            ("{{ .cluster.name }}-m-{{ .random }}", Ok("c-m-xxxxx".to_owned())),
            ("{{.talosControlPlane.name}}{{.random}}", Ok("cpxxxxx".to_owned())),
            ("{{ .random }}", Ok("xxxxx".to_owned())),
            ("m-{{ .cluster.name }}", Err(TemplateError::NotRandom)),
            ("{{ .machine }}-{{ .random }}", unknown(".machine")),
            ("{{ .random", Err(TemplateError::Unclosed)),
        ] {
            assert_eq!(machine(&control_plane(template), "c", "xxxxx"), expected, "{template}");
        }
        let long =
            machine(&control_plane(&format!("{}{{{{ .random }}}}", "n".repeat(80))), "c", "xxxxx").unwrap();
        assert_eq!((long.len(), &long[57..]), (63, "-xxxxx"));
        assert_eq!(generated(&"a".repeat(80), "xxxxx").len(), LONGEST);
    }
}
