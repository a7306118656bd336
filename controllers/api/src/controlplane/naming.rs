//! Names of machines: the same for everybody who makes the next one, so that of two programs only one succeeds, and whoever was
//! interrupted goes on with the objects that are there. No name comes a second time: machines are counted on their control plane.

use sha2::{Digest, Sha256};

use crate::talos_control_plane::TalosControlPlane;

/// Annotation of a TalosControlPlane: how many machines were made so far.
pub const MADE_ANNOTATION: &str = "bloomery.dev/machines-made";
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

/// How many machines were made so far.
pub fn made(control_plane: &TalosControlPlane) -> u64 {
    let annotation = control_plane.metadata.annotations.as_ref().and_then(|all| all.get(MADE_ANNOTATION));
    annotation.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The random part of the machine that comes after so many.
pub fn suffix(control_plane: &TalosControlPlane, made: u64) -> String {
    let own = control_plane.metadata.uid.as_deref().unwrap_or_default();
    let digest = Sha256::digest(format!("{own} {made}"));
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
    fn whoever_makes_the_next_machine_finds_the_same_name_and_no_name_comes_twice() {
        let mut control_plane = control_plane("");
        assert_eq!(made(&control_plane), 0);
        control_plane.metadata.annotations = Some([(MADE_ANNOTATION.to_owned(), "7".to_owned())].into());
        assert_eq!(made(&control_plane), 7);
        let names: std::collections::BTreeSet<_> =
            (0..1000).map(|made| suffix(&control_plane, made)).collect();
        assert!(names.len() > 995, "{}", names.len());
        let one = suffix(&control_plane, 7);
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
