//! The first bytes of an ext4 file system (kernel documentation, "The Super Block"). Must never write.

use super::decide::Content;
use super::gpt::Storage;

/// The superblock begins 1024 bytes into the file system.
const OFFSET: u64 = 1024;
/// `s_magic`.
const MAGIC: u16 = 0xef53;
/// `EXT4_FEATURE_INCOMPAT_64BIT`: the upper half of the block count counts.
const INCOMPAT_64BIT: u32 = 0x80;
/// Largest `s_log_block_size`: blocks of 64 KiB.
const MAX_LOG_BLOCK_SIZE: u32 = 6;

/// What lies at byte `at` of a disk.
pub fn probe(storage: &dyn Storage, at: u64) -> Content {
    let mut raw = [0; 1024];
    match storage.read(at.saturating_add(OFFSET), &mut raw) {
        Ok(()) => parse(&raw).unwrap_or(Content::Other),
        Err(_) => Content::Unreadable,
    }
}

fn parse(raw: &[u8; 1024]) -> Option<Content> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(raw.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(raw.get(at..at + 4)?.try_into().ok()?));
    if u16_at(0x38)? != MAGIC {
        return None;
    }
    let log_block_size = u32_at(0x18)?;
    if log_block_size > MAX_LOG_BLOCK_SIZE {
        return None;
    }
    let high = if u32_at(0x60)? & INCOMPAT_64BIT == 0 { 0 } else { u64::from(u32_at(0x150)?) };
    let blocks = u64::from(u32_at(0x4)?) | high << 32;
    let label = raw.get(0x78..0x88)?;
    let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
    let (mounts, mounted_at) = (u16_at(0x34)?, u32_at(0x2c)?);
    Some(Content::Ext4 {
        label: String::from_utf8_lossy(label).into_owned(),
        bytes: blocks.saturating_mul(1024 << log_block_size),
        used: mounts != 0 || mounted_at != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_are_no_file_system() {
        assert_eq!(parse(&[0; 1024]), None);
    }

    #[test]
    fn a_disk_that_ends_is_unreadable() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1500).unwrap();
        assert_eq!(probe(&file, 0), Content::Unreadable);
    }

    proptest! {
        #[test]
        fn takes_any_bytes(raw in proptest::collection::vec(any::<u8>(), 1024), magic in any::<bool>()) {
            let mut raw: [u8; 1024] = raw.try_into().unwrap();
            if magic {
                raw[0x38..0x3a].copy_from_slice(&MAGIC.to_le_bytes());
            }
            parse(&raw);
        }
    }
}
