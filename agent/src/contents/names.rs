//! What names say of content that cannot be seen without mounting: of partitions, file systems, arrays, logical volumes,
//! and the place where a file system was last mounted.
//!
//! It must never take the lack of a telling name for the lack of such content.

use bloomery_agent_api::contents;

use super::volume::Ends;

/// Names that Talos gives its partitions and file systems, exactly.
const TALOS: [(&str, &str); 3] = [
    ("META", contents::TALOS_META),
    ("STATE", contents::TALOS_STATE),
    ("EPHEMERAL", contents::TALOS_EPHEMERAL),
];
/// Parts of names and paths, in lower case.
const PARTS: [(&str, &str); 6] = [
    ("etcd", contents::ETCD),
    ("kube", contents::KUBERNETES),
    ("k8s", contents::KUBERNETES),
    ("k3s", contents::KUBERNETES),
    ("rke2", contents::KUBERNETES),
    ("rancher", contents::KUBERNETES),
];
/// Bloomery's own disk: both names in one table. Its state is an etcd.
const BLOOMERY: [&str; 2] = ["root-a", "state"];

/// Fields with a name or a path, by the word of what has them: offset and length.
const FIELDS: [(&str, u64, usize); 9] = [
    ("ext2", 1024 + 120, 16 + 64),
    ("ext3", 1024 + 120, 16 + 64),
    ("ext4", 1024 + 120, 16 + 64),
    ("xfs", 108, 12),
    ("btrfs", 65536 + 0x12b, 256),
    ("luks", 24, 48),
    ("swap", 1024 + 28, 16),
    ("md", 32, 32),
    ("md", 4096 + 32, 32),
];
/// Where LVM describes its volumes, as text, in the first physical extent.
const LVM_TEXT: (u64, usize) = (4096, 508 << 10);

pub(super) fn words(name: &str) -> Vec<&'static str> {
    let talos = TALOS.iter().filter(|(exact, _)| *exact == name).map(|(_, word)| *word);
    let lower = name.to_lowercase();
    let parts = PARTS.iter().filter(|(part, _)| lower.contains(part)).map(|(_, word)| *word);
    talos.chain(parts).collect()
}

/// Words for the names of one table together.
pub(super) fn of_table<'name>(mut names: impl Iterator<Item = &'name str> + Clone) -> Option<&'static str> {
    let mut rest = names.clone();
    let both = rest.any(|name| name == BLOOMERY[0]) && names.any(|name| name == BLOOMERY[1]);
    both.then_some(contents::ETCD)
}

/// Words for the names within what was found in a volume.
pub(super) fn within(found: &[&'static str], ends: &Ends) -> Vec<&'static str> {
    let mut words_found = Vec::new();
    for (_, offset, length) in FIELDS.iter().filter(|(word, ..)| found.contains(word)) {
        for text in texts(ends.get(*offset, *length).unwrap_or_default()) {
            words_found.extend(words(&text));
        }
    }
    if found.contains(&"lvm") {
        let (offset, length) = LVM_TEXT;
        let text = String::from_utf8_lossy(ends.get(offset, length).unwrap_or_default()).to_lowercase();
        words_found.extend(PARTS.iter().filter(|(part, _)| text.contains(part)).map(|(_, word)| *word));
    }
    words_found
}

/// The texts in a field that is padded with NULs.
fn texts(field: &[u8]) -> Vec<String> {
    let texts = field.split(|byte| *byte == 0).filter(|text| !text.is_empty());
    texts.map(|text| String::from_utf8_lossy(text).trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_talos_count_exactly_and_parts_in_any_case() {
        assert_eq!(words("META"), ["talos-meta"]);
        assert_eq!(words("STATE"), ["talos-state"]);
        assert_eq!(words("EPHEMERAL"), ["talos-ephemeral"]);
        for nothing in ["", "state", "STATE2", "BOOT", "data"] {
            assert_eq!(words(nothing), [""; 0], "{nothing}");
        }
        assert_eq!(words("var-lib-ETCD"), ["etcd"]);
        assert_eq!(words("/var/lib/kubelet"), ["kubernetes"]);
        assert_eq!(words("kubernetes-etcd"), ["etcd", "kubernetes"]);
    }

    #[test]
    fn a_plane_of_ours_is_known_by_two_names() {
        assert_eq!(of_table(["esp", "root-a", "root-b", "state"].into_iter()), Some("etcd"));
        assert_eq!(of_table(["state", "data"].into_iter()), None);
        assert_eq!(of_table(["root-a", "root-b"].into_iter()), None);
    }
}
