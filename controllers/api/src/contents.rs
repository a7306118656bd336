//! What a disk holds, in words that the agent reports, and what follows from the words.
//!
//! Duty: the one table of words, the class of a disk and of a machine, and the summary for people.
//! Never calls a disk blank that was not read, and never takes a word that is not in the table for harmless.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exempt::ExemptDisks;
use crate::hardware::{DiskContents, HardwareInformation, StorageDevice};

/// Word for octets that are not zero and that nothing recognises.
pub const UNRECOGNISED: &str = "data";

/// The words for a Talos installation, and for state of etcd and Kubernetes.
const SYSTEM: [&str; 6] =
    ["talos-meta", "talos-state", "talos-ephemeral", "talos-boot", "etcd", "kubernetes"];

/// The words for everything else that is found on disks, among them [`UNRECOGNISED`].
const DATA: &str = "\
    gpt mbr apm bsd-label esp boot-code ext2 ext3 ext4 xfs btrfs f2fs reiserfs jfs ntfs exfat vfat iso9660 \
    squashfs swap luks lvm md raid-member zfs ceph-bluestore ceph-osd bcache vmfs apfs bcachefs bios-raid \
    bitlocker drbd erofs gfs2 hfs ocfs2 refs udf vdo data";

/// What a disk, or all disks of a machine, hold. The later in this order, the more a wipe may destroy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ContentsClass {
    /// Everything was read, and nothing was found.
    Blank,
    /// File systems, partition tables or other data.
    Data,
    /// Nobody read it, the reading failed, or a word was reported that this plane does not know.
    Unknown,
    /// A Talos installation, or state of etcd or Kubernetes.
    System,
}

impl ContentsClass {
    /// Every class, for tables and tests.
    pub const ALL: [Self; 4] = [Self::Blank, Self::Data, Self::Unknown, Self::System];

    /// The word used on the wire and in columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Data => "data",
            Self::Unknown => "unknown",
            Self::System => "system",
        }
    }

    /// The class of one reported word.
    pub fn of_word(word: &str) -> Self {
        if SYSTEM.contains(&word) {
            Self::System
        } else if DATA.split(' ').any(|known| known == word) {
            Self::Data
        } else {
            Self::Unknown
        }
    }

    /// The class of one disk, by what its agent said of it.
    pub fn of_disk(contents: Option<&DiskContents>) -> Self {
        let Some(DiskContents { found, error }) = contents else { return Self::Unknown };
        let found = found.iter().map(|word| Self::of_word(word)).max().unwrap_or(Self::Blank);
        // What was found before the reading failed still counts.
        if error.is_empty() { found } else { found.max(Self::Unknown) }
    }

    /// True when a person's acceptance is consent enough to wipe. `any` is the option `autoAcceptNonEmpty`.
    pub const fn is_covered_by_acceptance(self, any: bool) -> bool {
        match self {
            Self::Blank | Self::Data => true,
            Self::Unknown => any,
            Self::System => false,
        }
    }

    /// True when the plane may accept the machine without a person. `any` is the option `autoAcceptNonEmpty`.
    pub const fn is_accepted_automatically(self, any: bool) -> bool {
        match self {
            Self::Blank => true,
            Self::Data | Self::Unknown => any,
            Self::System => false,
        }
    }
}

impl fmt::Display for ContentsClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What all disks of a machine hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The worst class of all disks.
    pub class: ContentsClass,
    /// All words that were reported, each once, in the order of the alphabet.
    pub found: BTreeSet<String>,
}

impl Contents {
    /// The contents of a machine's disks; disks that the owner exempts are never wiped and do not count. A machine
    /// that lists no disk tells nothing.
    pub fn of(hardware: Option<&HardwareInformation>, exempt: &ExemptDisks) -> Self {
        let disks = hardware.and_then(|hardware| hardware.storage.as_ref());
        let disks = disks.map_or(&[][..], |storage| &storage.devices);
        if disks.is_empty() {
            return Self { class: ContentsClass::Unknown, found: BTreeSet::new() };
        }
        Self::of_disks(disks.iter().filter(|disk| !exempt.covers(disk)))
    }

    fn of_disks<'a>(disks: impl Iterator<Item = &'a StorageDevice>) -> Self {
        let mut contents = Self { class: ContentsClass::Blank, found: BTreeSet::new() };
        for disk in disks {
            contents.class = contents.class.max(ContentsClass::of_disk(disk.contents.as_ref()));
            let found = disk.contents.iter().flat_map(|contents| &contents.found);
            contents.found.extend(found.cloned());
        }
        contents
    }

    /// The text of `status.contents`: the class and, if words were reported, the words.
    pub fn summary(&self) -> String {
        /// Words shown: the column stays readable.
        const MOST: usize = 8;
        let Self { class, found } = self;
        if found.is_empty() {
            return class.to_string();
        }
        let mut words: Vec<&str> = found.iter().map(String::as_str).take(MOST).collect();
        if found.len() > MOST {
            words.push("…");
        }
        format!("{class}: {}", words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::StorageInformation;

    fn disk(contents: Option<(&[&str], &str)>) -> StorageDevice {
        let contents = contents.map(|(found, error)| DiskContents {
            found: found.iter().map(|word| (*word).to_owned()).collect(),
            error: error.to_owned(),
        });
        StorageDevice { contents, product_name: "M".to_owned(), ..StorageDevice::default() }
    }

    fn machine(devices: Vec<StorageDevice>) -> HardwareInformation {
        let storage = Some(StorageInformation { devices, ..StorageInformation::default() });
        HardwareInformation { storage, ..HardwareInformation::default() }
    }

    #[test]
    fn only_what_was_read_and_found_empty_is_blank() {
        use ContentsClass::{Blank, Data, System, Unknown};
        for (contents, class) in [
            (None, Unknown),
            (Some((&[][..], "")), Blank),
            (Some((&[][..], "failed to read /dev/sda")), Unknown),
            (Some((&["gpt", "ext4"][..], "")), Data),
            (Some((&["gpt"][..], "i/o error at 4096")), Unknown),
            (Some((&["data"][..], "")), Data),
            (Some((&["gpt", "talos-state"][..], "")), System),
            (Some((&["talos-meta"][..], "i/o error")), System),
            (Some((&["etcd"][..], "")), System),
            (Some((&["kubernetes"][..], "")), System),
            (Some((&["a-word-of-tomorrow"][..], "")), Unknown),
            (Some((&[""][..], "")), Unknown),
            (Some((&["GPT"][..], "")), Unknown),
        ] {
            let found = Contents::of(Some(&machine(vec![disk(contents)])), &ExemptDisks::default());
            assert_eq!(found.class, class, "{contents:?}");
        }
    }

    #[test]
    fn the_worst_disk_counts_and_a_machine_without_disks_tells_nothing() {
        let blank = || disk(Some((&[], "")));
        let none = ExemptDisks::default();
        assert_eq!(
            Contents::of(Some(&machine(vec![blank(), disk(None)])), &none).class,
            ContentsClass::Unknown
        );
        let talos = machine(vec![blank(), disk(Some((&["talos-meta", "gpt"], ""))), disk(None)]);
        let found = Contents::of(Some(&talos), &none);
        assert_eq!(
            (found.class, found.summary().as_str()),
            (ContentsClass::System, "system: gpt, talos-meta")
        );
        assert_eq!(Contents::of(None, &none).class, ContentsClass::Unknown);
        assert_eq!(Contents::of(Some(&machine(vec![])), &none).class, ContentsClass::Unknown);
        assert_eq!(Contents::of(Some(&machine(vec![blank()])), &none).summary(), "blank");
    }

    #[test]
    fn a_disk_that_the_owner_exempts_does_not_count() {
        let mut install = disk(None);
        install.product_name = "LUN 00 Media 0".to_owned();
        install.serial_number = "SN".to_owned();
        let machine = machine(vec![disk(Some((&[], ""))), install]);
        let exempt = ExemptDisks::parse(r#"[{"model":"LUN 00 Media 0","serial":"SN"}]"#).unwrap();
        assert_eq!(Contents::of(Some(&machine), &exempt).class, ContentsClass::Blank);
        assert_eq!(Contents::of(Some(&machine), &ExemptDisks::default()).class, ContentsClass::Unknown);
    }

    #[test]
    fn consent_by_class() {
        let table = ContentsClass::ALL.map(|class| {
            let by = |any| (class.is_covered_by_acceptance(any), class.is_accepted_automatically(any));
            (by(false), by(true))
        });
        assert_eq!(
            table,
            [
                ((true, true), (true, true)),
                ((true, false), (true, true)),
                ((false, false), (true, true)),
                ((false, false), (false, false)),
            ]
        );
    }

    #[test]
    fn a_long_list_is_cut_in_the_summary() {
        let found = (0..20).map(|n| format!("w{n:02}")).collect();
        let text = Contents { class: ContentsClass::Unknown, found }.summary();
        assert!(text.ends_with("w07, …"), "{text}");
    }
}
