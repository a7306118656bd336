//! The words of `DiskContents.found`: what can be on a disk.
//!
//! A word is never renamed or given another meaning: agents and planes of different ages meet.

/// The partition tables.
pub const GPT: &str = "gpt";
pub const MBR: &str = "mbr";

/// A Talos installation, by its partitions' names or by META's own magic.
pub const TALOS_META: &str = "talos-meta";
pub const TALOS_STATE: &str = "talos-state";
pub const TALOS_EPHEMERAL: &str = "talos-ephemeral";
/// State of etcd or Kubernetes, as far as names tell: of partitions, file systems, logical volumes, last mount points.
pub const ETCD: &str = "etcd";
pub const KUBERNETES: &str = "kubernetes";

/// Octets that are not zero, and nothing that is recognised.
pub const DATA: &str = "data";

/// Words for what must not be wiped without a person's explicit word.
pub const SYSTEM: [&str; 5] = [TALOS_META, TALOS_STATE, TALOS_EPHEMERAL, ETCD, KUBERNETES];

/// All words, sorted.
pub const WORDS: [&str; 41] = [
    "apfs",
    "bcache",
    "bcachefs",
    "bios-raid",
    "bitlocker",
    "btrfs",
    "ceph-bluestore",
    DATA,
    "drbd",
    "erofs",
    ETCD,
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "gfs2",
    GPT,
    "hfs",
    "iso9660",
    "jfs",
    KUBERNETES,
    "luks",
    "lvm",
    MBR,
    "md",
    "ntfs",
    "ocfs2",
    "refs",
    "reiserfs",
    "squashfs",
    "swap",
    TALOS_EPHEMERAL,
    TALOS_META,
    TALOS_STATE,
    "udf",
    "vdo",
    "vfat",
    "vmfs",
    "xfs",
    "zfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_sorted_and_those_of_systems_are_among_them() {
        assert!(WORDS.is_sorted() && WORDS.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(SYSTEM.iter().all(|word| WORDS.contains(word)));
        let plain = |word: &str| word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        assert!(WORDS.iter().all(|word| plain(word) && word.len() <= 24));
    }
}
