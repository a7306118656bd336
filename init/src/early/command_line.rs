//! The kernel's command line, as far as the initramfs goes by it. Takes any text; must never fail.

use std::fmt;

/// Where the kernel shows it.
const PATH: &str = "/proc/cmdline";
/// Which slot the boot loader chose.
const SLOT: &str = "bloomery.slot=";

/// One of the two root slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// `root-a`.
    A,
    /// `root-b`.
    B,
}

impl Slot {
    /// The name of its partition.
    pub fn partition(self) -> &'static str {
        match self {
            Self::A => "root-a",
            Self::B => "root-b",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The slot, if one that exists is named. The last one counts.
    pub slot: Option<Slot>,
}

impl CommandLine {
    pub fn read() -> Self {
        Self::parse(&std::fs::read_to_string(PATH).unwrap_or_default())
    }

    /// Reads a text. What stands behind `--` is not the kernel's and not ours.
    pub fn parse(text: &str) -> Self {
        let words = text.split_ascii_whitespace().take_while(|word| *word != "--");
        let slot = words.filter_map(|word| word.strip_prefix(SLOT)).filter_map(|slot| match slot {
            "a" => Some(Slot::A),
            "b" => Some(Slot::B),
            _ => None,
        });
        Self { slot: slot.last() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_the_slot() {
        for (text, slot) in [
            ("", None),
            ("BOOT_IMAGE=/a/vmlinuz bloomery.slot=a console=tty0 quiet\n", Some(Slot::A)),
            ("bloomery.slot=a bloomery.slot=b", Some(Slot::B)),
            ("bloomery.slot=b bloomery.slot=", Some(Slot::B)),
            ("bloomery.slot=c", None),
            ("xbloomery.slot=a", None),
            ("quiet -- bloomery.slot=a", None),
        ] {
            assert_eq!(CommandLine::parse(text).slot, slot, "{text}");
        }
    }

    proptest! {
        #[test]
        fn takes_any_text(text in "(\\PC|bloomery.slot=| ){0,60}") {
            CommandLine::parse(&text);
        }
    }
}
