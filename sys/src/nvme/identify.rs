//! What controllers say about themselves, as bytes (NVM Express base specification 1.4, figures 233, 245, 247).
//!
//! It never reads beyond the given bytes, and never trusts a field that is out of range.

use super::{IDENTIFY_LENGTH, SANITIZE_LOG_LENGTH, SecureErase};

/// What a controller can do to erase.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one bit of the structure, independent of the others"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controller {
    /// It knows Format NVM (`OACS` bit 1).
    pub format: bool,
    /// Format, or the erasing of one, is of all namespaces (`FNA` bits 0 and 1).
    pub format_is_of_all: bool,
    /// Format can erase by forgetting the key (`FNA` bit 2).
    pub format_crypto: bool,
    /// It knows Sanitize with a block erase (`SANICAP` bit 1).
    pub sanitize_block: bool,
    /// It knows Sanitize with a crypto erase (`SANICAP` bit 0).
    pub sanitize_crypto: bool,
}

impl Controller {
    /// Reads the identify controller structure; `None` if it is too short.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let data = data.get(..IDENTIFY_LENGTH)?;
        let oacs = u16::from_le_bytes(array(data, 256)?);
        let fna = *data.get(524)?;
        let sanicap = u32::from_le_bytes(array(data, 328)?);
        Some(Self {
            format: oacs & 1 << 1 != 0,
            format_is_of_all: fna & 0b11 != 0,
            format_crypto: fna & 1 << 2 != 0,
            sanitize_block: sanicap & 1 << 1 != 0,
            sanitize_crypto: sanicap & 1 != 0,
        })
    }
}

/// How a namespace is formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    /// Index of its LBA format.
    format: u8,
    /// Metadata at the end of each block (`FLBAS` bit 4).
    extended: bool,
    /// Type of its protection information (`DPS` bits 2:0).
    protection: u8,
    /// Protection information is first in the metadata (`DPS` bit 3).
    protection_first: bool,
}

impl Namespace {
    /// Reads the identify namespace structure; `None` if it is too short or of no namespace.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let data = data.get(..IDENTIFY_LENGTH)?;
        // NSZE 0: an inactive namespace.
        if u64::from_le_bytes(array(data, 0)?) == 0 {
            return None;
        }
        let flbas = *data.get(26)?;
        let dps = *data.get(29)?;
        Some(Self {
            // Bits 6:5 are the upper ones of the index since 2.0, and zero before.
            format: flbas & 0x0f | (flbas >> 5 & 0b11) << 4,
            extended: flbas & 1 << 4 != 0,
            protection: dps & 0b111,
            protection_first: dps & 1 << 3 != 0,
        })
    }

    /// Command dword 10 of a Format NVM that keeps the format (figure 328).
    pub(super) fn format_dword(self, erase: SecureErase) -> u32 {
        let ses = match erase {
            SecureErase::UserData => 1,
            SecureErase::Cryptographic => 2,
        };
        u32::from(self.format & 0x0f)
            | u32::from(self.extended) << 4
            | u32::from(self.protection) << 5
            | u32::from(self.protection_first) << 8
            | ses << 9
            | u32::from(self.format >> 4) << 12
    }
}

/// State of the last Sanitize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanitizeState {
    /// There was none.
    Never,
    /// It runs; so many of 65536 parts are done.
    Running(u16),
    /// It ended well.
    Done,
    /// It failed; the controller refuses most commands until one succeeds.
    Failed,
}

/// Reads the sanitize status log; `None` if it is too short or the state is not one of the specification.
pub fn sanitize_state(data: &[u8]) -> Option<SanitizeState> {
    let data = data.get(..SANITIZE_LOG_LENGTH)?;
    let progress = u16::from_le_bytes(array(data, 0)?);
    match u16::from_le_bytes(array(data, 2)?) & 0b111 {
        0 => Some(SanitizeState::Never),
        // 4: done, with the deallocation that was asked for left out.
        1 | 4 => Some(SanitizeState::Done),
        2 => Some(SanitizeState::Running(progress)),
        3 => Some(SanitizeState::Failed),
        _ => None,
    }
}

fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn structure(fields: &[(usize, u8)]) -> Vec<u8> {
        let mut data = vec![0; IDENTIFY_LENGTH];
        for (at, value) in fields {
            data[*at] = *value;
        }
        data
    }

    #[test]
    fn reads_what_a_controller_can_do() {
        let controller = Controller::parse(&structure(&[(256, 0b10), (524, 0b100), (328, 0b11)])).unwrap();
        let expected = Controller {
            format: true,
            format_is_of_all: false,
            format_crypto: true,
            sanitize_block: true,
            sanitize_crypto: true,
        };
        assert_eq!(controller, expected);
        let all = Controller::parse(&structure(&[(524, 0b10)])).unwrap();
        assert!(all.format_is_of_all && !all.format && !all.sanitize_block);
    }

    #[test]
    fn a_format_keeps_block_size_metadata_and_protection() {
        let namespace = Namespace::parse(&structure(&[(0, 1), (26, 0b0011_0001), (29, 0b1001)])).unwrap();
        assert_eq!(namespace.format_dword(SecureErase::UserData), 0x1331);
        assert_eq!(namespace.format_dword(SecureErase::Cryptographic), 0x1531);
        let plain = Namespace::parse(&structure(&[(7, 1)])).unwrap();
        assert_eq!(plain.format_dword(SecureErase::UserData), 0x200);
        assert_eq!(Namespace::parse(&structure(&[])), None);
    }

    #[test]
    fn reads_the_state_of_a_sanitize() {
        let log = |progress: u16, status: u16| {
            let mut data = [progress.to_le_bytes(), status.to_le_bytes()].concat();
            data.resize(SANITIZE_LOG_LENGTH, 0);
            sanitize_state(&data)
        };
        assert_eq!(log(0, 0), Some(SanitizeState::Never));
        assert_eq!(log(0xffff, 0x101), Some(SanitizeState::Done));
        assert_eq!(log(0x8000, 2), Some(SanitizeState::Running(0x8000)));
        assert_eq!(log(0, 3), Some(SanitizeState::Failed));
        assert_eq!(log(0, 7), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_parser_panic(data in prop::collection::vec(any::<u8>(), 0..5000)) {
            let _ = (Controller::parse(&data), sanitize_state(&data));
            if let Some(namespace) = Namespace::parse(&data) {
                // Nothing but the fields of figure 328 is ever set.
                prop_assert_eq!(namespace.format_dword(SecureErase::UserData) & !0x3fff, 0);
            }
        }
    }
}
