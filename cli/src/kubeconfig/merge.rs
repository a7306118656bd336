//! Puts a new cluster, user and context into an existing kubeconfig. Text in, text out.
//!
//! Whatever else the file holds, known to us or not, stays. Entries of the same name are replaced only if they
//! are for the same appliance (the same certificate authority).

use serde_norway::{Mapping, Value};

/// The three lists of a kubeconfig.
const LISTS: [&str; 3] = ["clusters", "users", "contexts"];
const CURRENT_CONTEXT: &str = "current-context";

/// Merges `added` into `existing`; `name` is the name of all three entries that `added` has.
pub(super) fn merge(existing: &str, added: &str, name: &str) -> Result<String, MergeError> {
    let mut merged = parse(existing)?;
    let added = parse(added)?;
    refuse_other_appliance(&merged, &added, name)?;
    for list in LISTS {
        let Some(entry) = entry(&added, list, name).cloned() else { continue };
        let slot = merged.entry(list.into()).or_insert(Value::Null);
        if slot.is_null() {
            *slot = Value::Sequence(Vec::new());
        }
        let entries = slot.as_sequence_mut().ok_or(MergeError::NotAKubeconfig)?;
        match entries.iter_mut().find(|entry| has_name(entry, name)) {
            Some(former) => *former = entry,
            None => entries.push(entry),
        }
    }
    merged.insert(CURRENT_CONTEXT.into(), name.into());
    serde_norway::to_string(&merged).map_err(|source| MergeError::Render { source })
}

/// Puts a certificate (base64) in the place of the one that the user entry `name` has.
pub(super) fn replace_certificate(
    existing: &str,
    name: &str,
    certificate: &str,
) -> Result<String, MergeError> {
    let mut kubeconfig = parse(existing)?;
    let users = kubeconfig.get_mut("users").and_then(Value::as_sequence_mut);
    let entry = users.and_then(|users| users.iter_mut().find(|entry| has_name(entry, name)));
    let user = entry.and_then(|entry| entry.get_mut("user")).and_then(Value::as_mapping_mut);
    let user = user.ok_or_else(|| MergeError::NoUser { name: name.to_owned() })?;
    // One that was named by a file would win over the one in the entry for nobody; both would mislead people.
    user.remove("client-certificate");
    user.insert("client-certificate-data".into(), certificate.into());
    serde_norway::to_string(&kubeconfig).map_err(|source| MergeError::Render { source })
}

/// An empty file is an empty kubeconfig, as for kubectl.
fn parse(text: &str) -> Result<Mapping, MergeError> {
    let value: Value = serde_norway::from_str(text).map_err(|source| MergeError::Parse { source })?;
    let kubeconfig = match value {
        Value::Null => {
            Mapping::from_iter([("apiVersion".into(), "v1".into()), ("kind".into(), "Config".into())])
        }
        Value::Mapping(mapping) => mapping,
        _ => return Err(MergeError::NotAKubeconfig),
    };
    match kubeconfig.get("kind").map(Value::as_str) {
        None | Some(Some("Config")) => Ok(kubeconfig),
        Some(_) => Err(MergeError::NotAKubeconfig),
    }
}

fn refuse_other_appliance(existing: &Mapping, added: &Mapping, name: &str) -> Result<(), MergeError> {
    if LISTS.iter().all(|list| entry(existing, list, name).is_none()) {
        return Ok(());
    }
    let authority = |kubeconfig: &Mapping| {
        entry(kubeconfig, "clusters", name)?.get("cluster")?.get("certificate-authority-data").cloned()
    };
    match authority(existing) {
        Some(former) if Some(&former) == authority(added).as_ref() => Ok(()),
        _ => Err(MergeError::NameTaken { name: name.to_owned() }),
    }
}

fn entry<'a>(kubeconfig: &'a Mapping, list: &str, name: &str) -> Option<&'a Value> {
    kubeconfig.get(list)?.as_sequence()?.iter().find(|entry| has_name(entry, name))
}

fn has_name(entry: &Value, name: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(name)
}

/// Why two kubeconfigs cannot be merged.
#[derive(Debug, thiserror::Error)]
pub(super) enum MergeError {
    /// Not YAML.
    #[error("failed to parse the existing file")]
    Parse { source: serde_norway::Error },
    /// YAML, but something else.
    #[error("failed to recognize the existing file as a kubeconfig")]
    NotAKubeconfig,
    /// There is no such user entry to renew.
    #[error("failed to find the user {name:?} in the file")]
    NoUser { name: String },
    /// Something else has the name.
    #[error(
        "failed to add {name:?}: the file has entries of that name for something else; choose another --name"
    )]
    NameTaken { name: String },
    /// Not writable as YAML.
    #[error("failed to write the merged kubeconfig as YAML")]
    Render { source: serde_norway::Error },
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXISTING: &str = "
apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
- name: other
  cluster: {server: 'https://other:6443', unknown-field: kept}
users:
- name: other
  user: {exec: {command: login}}
contexts:
- name: other
  context: {cluster: other, user: other, namespace: here}
current-context: other
something-new: [1, 2]
";

    fn made(name: &str, authority: &str, key: &str) -> String {
        format!(
            "
apiVersion: v1
kind: Config
clusters: [{{name: {name}, cluster: {{server: 'https://h:6443', certificate-authority-data: {authority}}}}}]
users: [{{name: {name}, user: {{client-key-data: {key}}}}}]
contexts: [{{name: {name}, context: {{cluster: {name}, user: {name}}}}}]
current-context: {name}
"
        )
    }

    fn value(text: &str) -> Value {
        serde_norway::from_str(text).unwrap()
    }

    #[test]
    fn keeps_everything_that_was_there() {
        let merged = value(&merge(EXISTING, &made("forge", "ca", "key"), "forge").unwrap());
        let existing = value(EXISTING);
        for list in LISTS {
            assert_eq!(merged[list][0], existing[list][0]);
            assert_eq!(merged[list][1]["name"], "forge");
        }
        assert_eq!(merged["preferences"], existing["preferences"]);
        assert_eq!(merged["something-new"], existing["something-new"]);
        assert_eq!(merged[CURRENT_CONTEXT], "forge");
    }

    #[test]
    fn replaces_the_entries_of_the_same_appliance() {
        let first = merge(EXISTING, &made("forge", "ca", "old"), "forge").unwrap();
        let second = value(&merge(&first, &made("forge", "ca", "new"), "forge").unwrap());
        assert_eq!(second["users"].as_sequence().unwrap().len(), 2);
        assert_eq!(second["users"][1]["user"]["client-key-data"], "new");
    }

    #[test]
    fn refuses_to_replace_the_entries_of_something_else() {
        let first = merge(EXISTING, &made("forge", "ca", "key"), "forge").unwrap();
        for (existing, name) in [(first.as_str(), "forge"), (EXISTING, "other")] {
            let error = merge(existing, &made(name, "another-ca", "key"), name).unwrap_err();
            assert!(matches!(error, MergeError::NameTaken { .. }), "{error:?}");
        }
        let user_only = "users: [{name: forge, user: {token: precious}}]";
        let error = merge(user_only, &made("forge", "ca", "key"), "forge").unwrap_err();
        assert!(matches!(error, MergeError::NameTaken { .. }), "{error:?}");
    }

    #[test]
    fn an_empty_file_and_empty_lists_are_fine_and_other_files_are_not() {
        for existing in ["", "\n", "---\n", "{}", "clusters: null\nusers:\ncontexts: []\n"] {
            let merged = value(&merge(existing, &made("forge", "ca", "key"), "forge").unwrap());
            assert_eq!(merged["clusters"][0]["name"], "forge", "{existing:?}");
        }
        for existing in ["just text", "[1]", "kind: Pod", "clusters: 3", "a: b: c", "kind: 3"] {
            assert!(merge(existing, &made("forge", "ca", "key"), "forge").is_err(), "{existing:?}");
        }
    }
}
