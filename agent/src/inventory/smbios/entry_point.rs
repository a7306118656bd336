//! The SMBIOS version in an entry point, of which there are three forms (DSP0134 §5.2).
//!
//! It must never read beyond the version: where the table lies is the kernel's business.

/// Anchor, offset of the major version, offset of the minor version.
const FORMS: [(&[u8], usize, usize); 2] = [(b"_SM3_", 7, 8), (b"_SM_", 6, 7)];
/// The form before SMBIOS 2.1 has both in one byte, binary coded decimal.
const LEGACY: (&[u8], usize) = (b"_DMI_", 14);

/// Major and minor version.
pub(super) fn version(entry_point: &[u8]) -> Option<(u8, u8)> {
    for (anchor, major, minor) in FORMS {
        if entry_point.starts_with(anchor) {
            return Some((*entry_point.get(major)?, *entry_point.get(minor)?));
        }
    }
    let (anchor, offset) = LEGACY;
    let packed = entry_point.starts_with(anchor).then(|| entry_point.get(offset))??;
    Some((packed >> 4, packed & 0xf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_three_forms() {
        assert_eq!(version(b"_SM3_\x00\x18\x03\x05\x00"), Some((3, 5)));
        assert_eq!(version(b"_SM_\x00\x1f\x02\x08"), Some((2, 8)));
        assert_eq!(version(b"_DMI_\x00\x00\x00\x00\x00\x00\x00\x00\x00\x25"), Some((2, 5)));
    }

    #[test]
    fn a_cut_or_foreign_entry_point_has_no_version() {
        for bytes in [&b""[..], b"_SM3_\x00\x18\x03", b"_SM_\x00", b"_DMI_", b"RSD PTR "] {
            assert_eq!(version(bytes), None);
        }
    }
}
