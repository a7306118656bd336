//! By which octets, and where, each kind of content is recognised: data, and the search for it.
//!
//! Every place must lie where a fast wipe writes zeroes (`disks::ranges`), so that a wiped disk shows none of them.

use bloomery_agent_api::contents;

use super::volume::Ends;

/// Where a mark lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// From the start of the volume.
    Start(u64),
    /// `back` from its end, rounded down to `align`, and `then` from there.
    End {
        /// Bytes.
        back: u64,
        /// Bytes, a power of two.
        align: u64,
        /// Bytes.
        then: u64,
    },
}

impl Place {
    /// The byte at which a volume of this size has the mark; none if the volume is too small.
    pub(super) fn offset(self, size: u64) -> Option<u64> {
        match self {
            Self::Start(offset) => Some(offset),
            Self::End { back, align, then } => (size.checked_sub(back)? / align * align).checked_add(then),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    pub(super) word: &'static str,
    pub(super) place: Place,
    pub(super) magic: &'static [u8],
}

const fn at(word: &'static str, offset: u64, magic: &'static [u8]) -> Signature {
    Signature { word, place: Place::Start(offset), magic }
}

const fn end(word: &'static str, back: u64, align: u64, then: u64, magic: &'static [u8]) -> Signature {
    Signature { word, place: Place::End { back, align, then }, magic }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Linux' software arrays: the magic number 0xa92b4efc in both byte orders (0.90 has the machine's own).
const MD: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];
const MD_BIG: &[u8] = &[0xa9, 0x2b, 0x4e, 0xfc];
const BTRFS: &[u8] = b"_BHRfS_M";
const BLUESTORE: &[u8] = b"bluestore block device";
const LVM: &[u8] = b"LABELONE";
/// LUKS2's second header, at the power of two that follows the first one.
const LUKS_COPY: &[u8] = b"SKUL\xba\xbe";

/// The marks at the ends of volumes.
pub(super) const SIGNATURES: &[Signature] = &[
    at("apfs", 32, b"NXSB"),
    at("bcache", 4 * KIB + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    at("bcachefs", 4 * KIB + 24, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    // Intel's and the SNIA's arrays of firmware (IMSM, DDF).
    end("bios-raid", KIB, 512, 0, b"Intel Raid ISM Cfg Sig."),
    end("bios-raid", 512, 512, 0, b"\xde\x11\xde\x11"),
    end("bios-raid", 512, 512, 0, b"\x11\xde\x11\xde"),
    at("bitlocker", 3, b"-FVE-FS-"),
    at("btrfs", 64 * KIB + 64, BTRFS),
    at("ceph-bluestore", 0, BLUESTORE),
    // DRBD's internal metadata: versions 8.0 to 8.3, 8.4, 9.
    end("drbd", 4 * KIB, 4 * KIB, 60, b"\x83\x74\x02\x6b"),
    end("drbd", 4 * KIB, 4 * KIB, 60, b"\x83\x74\x02\x6c"),
    end("drbd", 4 * KIB, 4 * KIB, 60, b"\x83\x74\x02\x6d"),
    at("erofs", KIB, b"\xe2\xe1\xf5\xe0"),
    at("exfat", 3, b"EXFAT   "),
    at("f2fs", KIB, b"\x10\x20\xf5\xf2"),
    at("f2fs", 5 * KIB, b"\x10\x20\xf5\xf2"),
    at("gfs2", 64 * KIB, b"\x01\x16\x19\x70"),
    at("hfs", KIB, b"H+\x00\x04"),
    at("hfs", KIB, b"HX\x00\x05"),
    at("iso9660", 32 * KIB + 1, b"CD001"),
    at("jfs", 32 * KIB, b"JFS1"),
    at("luks", 0, b"LUKS\xba\xbe"),
    at("luks", 16 * KIB, LUKS_COPY),
    at("luks", 32 * KIB, LUKS_COPY),
    at("luks", 64 * KIB, LUKS_COPY),
    at("luks", 128 * KIB, LUKS_COPY),
    at("luks", 256 * KIB, LUKS_COPY),
    at("luks", 512 * KIB, LUKS_COPY),
    at("lvm", 0, LVM),
    at("lvm", 512, LVM),
    at("lvm", 1024, LVM),
    at("lvm", 1536, LVM),
    // Versions 1.1, 1.2, 1.0 and 0.90.
    at("md", 0, MD),
    at("md", 4 * KIB, MD),
    end("md", 8 * KIB, 4 * KIB, 0, MD),
    end("md", 64 * KIB, 64 * KIB, 0, MD),
    end("md", 64 * KIB, 64 * KIB, 0, MD_BIG),
    at("ntfs", 3, b"NTFS    "),
    at("ocfs2", KIB, b"OCFSV2"),
    at("ocfs2", 2 * KIB, b"OCFSV2"),
    at("ocfs2", 4 * KIB, b"OCFSV2"),
    at("ocfs2", 8 * KIB, b"OCFSV2"),
    at("refs", 3, b"ReFS\x00"),
    at("reiserfs", 8 * KIB + 52, b"ReIsEr"),
    at("reiserfs", 64 * KIB + 52, b"ReIsEr"),
    at("squashfs", 0, b"hsqs"),
    // In the last ten octets of the first page, whatever size the machine's pages had; also with an image of a hibernation.
    at("swap", 4 * KIB - 10, b"SWAPSPACE2"),
    at("swap", 8 * KIB - 10, b"SWAPSPACE2"),
    at("swap", 16 * KIB - 10, b"SWAPSPACE2"),
    at("swap", 64 * KIB - 10, b"SWAPSPACE2"),
    at("swap", 4 * KIB - 10, b"SWAP-SPACE"),
    at("swap", 4 * KIB - 10, b"S1SUSPEND"),
    at("swap", 4 * KIB - 10, b"LINHIB0001"),
    // META's ADV, both copies of 256 KiB, by their first and last octets.
    at(contents::TALOS_META, 0, b"\x5a\x4b\x3c\x2d"),
    at(contents::TALOS_META, 256 * KIB, b"\x5a\x4b\x3c\x2d"),
    at("udf", 32 * KIB + 1, b"BEA01"),
    at("vdo", 0, b"dmvdo001"),
    at("xfs", 0, b"XFSB"),
];

/// Marks that are found without the first one, far from both ends.
pub(super) const COPIES: &[Signature] = &[
    at("btrfs", 64 * MIB + 64, BTRFS),
    at("btrfs", 256 * GIB + 64, BTRFS),
    at("ceph-bluestore", GIB, BLUESTORE),
    at("ceph-bluestore", 10 * GIB, BLUESTORE),
    at("ceph-bluestore", 100 * GIB, BLUESTORE),
    at("ceph-bluestore", 1000 * GIB, BLUESTORE),
];

/// ext2, ext3 and ext4: the superblock, and in it the magic number and three words of features.
const EXT: u64 = KIB;
const EXT_MAGIC: u64 = EXT + 56;
/// ZFS: labels of 256 KiB, two at each end, the second half of each an array of uberblocks of at least 1 KiB.
const ZFS_LABEL: u64 = 256 * KIB;
const ZFS_UBERBLOCKS: u64 = 128 * KIB;
const ZFS_STEP: u64 = KIB;
const ZFS_MAGIC: [[u8; 8]; 2] =
    [0x0000_0000_00ba_b10c_u64.to_le_bytes(), 0x0000_0000_00ba_b10c_u64.to_be_bytes()];

/// The words of all marks at the ends of a volume.
pub(super) fn words(ends: &Ends) -> Vec<&'static str> {
    let mut words: Vec<&'static str> = SIGNATURES
        .iter()
        .filter(|row| row.place.offset(ends.size).is_some_and(|offset| ends.has(offset, row.magic)))
        .map(|row| row.word)
        .collect();
    words.extend(ext(ends));
    words.extend(is_fat(ends).then_some("vfat"));
    words.extend(is_zfs(ends).then_some("zfs"));
    words
}

/// Which of the three: two octets alone are found in noise as well, so the block size must be one that there is.
pub(super) fn ext(ends: &Ends) -> Option<&'static str> {
    const LARGEST_BLOCK: u32 = 6;
    let has = ends.has(EXT_MAGIC, b"\x53\xef");
    let plausible = ends.u32(EXT + 24).is_some_and(|log| log <= LARGEST_BLOCK);
    if !has || !plausible {
        return None;
    }
    let (compatible, incompatible, read_only) =
        (ends.u32(EXT + 92)?, ends.u32(EXT + 96)?, ends.u32(EXT + 100)?);
    // Extents, 64 bits, flexible groups; huge files, sums, many links, large inodes.
    if incompatible & 0x2c0 != 0 || read_only & 0x478 != 0 {
        return Some("ext4");
    }
    // A journal, or the device of one.
    Some(if compatible & 0x4 != 0 || incompatible & 0x8 != 0 { "ext3" } else { "ext2" })
}

fn is_fat(ends: &Ends) -> bool {
    let named = [(54, "FAT12   "), (54, "FAT16   "), (54, "FAT     "), (82, "FAT32   ")];
    ends.has(510, b"\x55\xaa") && named.iter().any(|(offset, name)| ends.has(*offset, name.as_bytes()))
}

fn is_zfs(ends: &Ends) -> bool {
    let whole = ends.size / ZFS_LABEL * ZFS_LABEL;
    let labels = [Some(0), Some(ZFS_LABEL), whole.checked_sub(2 * ZFS_LABEL), whole.checked_sub(ZFS_LABEL)];
    labels.into_iter().flatten().any(|label| {
        (ZFS_UBERBLOCKS..ZFS_LABEL)
            .step_by(usize::try_from(ZFS_STEP).unwrap_or(1))
            .any(|step| ZFS_MAGIC.iter().any(|magic| ends.has(label + step, magic)))
    })
}

#[cfg(test)]
mod tests;
