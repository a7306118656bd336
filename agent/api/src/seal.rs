//! Accounts of BMCs, sealed by the agent to the plane's key and opened by the plane.
//!
//! A box says nothing about its sender: the boot token does that. It must never be opened for another machine than the
//! one it was made for.

use crypto_box::aead::OsRng;
use crypto_box::{KEY_SIZE, PublicKey, SecretKey};
use data_encoding::BASE64URL_NOPAD;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::BmcInfo;

/// Octets of a key, public or secret.
pub const KEY_LENGTH: usize = KEY_SIZE;

/// Why an account was not sealed, or not opened.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The plane showed no key, or something else.
    #[error("failed to read the plane's sealing key: it has {length} octets instead of {KEY_LENGTH}")]
    Length {
        /// What was shown, in octets.
        length: usize,
    },
    /// The key is another plane's, or somebody's on the network.
    #[error(
        "failed to recognise the plane's sealing key: its fingerprint is {shown}, and this machine was started with {expected}"
    )]
    Fingerprint { shown: String, expected: String },
    #[error("failed to seal the account")]
    Seal,
    /// It was sealed to another key, or changed on the way.
    #[error("failed to open the sealed account: it is not sealed to this plane's key")]
    Open,
    #[error("failed to read the sealed account")]
    Account,
    #[error("failed to accept the sealed account: it was made for another machine")]
    Machine,
}

/// What the kernel argument `bloomery.plane` says of a public key: its SHA-256 in base64url without padding.
pub fn fingerprint(public_key: &[u8]) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(public_key))
}

/// The public half of a secret key.
pub fn public_key(secret: &[u8; KEY_LENGTH]) -> [u8; KEY_LENGTH] {
    *SecretKey::from(*secret).public_key().as_bytes()
}

/// The plane's public key, compared with its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneKey(PublicKey);

impl PlaneKey {
    /// Takes the key that the plane showed if its fingerprint is the expected one.
    pub fn verified(shown: &[u8], expected: &str) -> Result<Self, Error> {
        let key = <[u8; KEY_LENGTH]>::try_from(shown).map_err(|_| Error::Length { length: shown.len() })?;
        let fingerprint = fingerprint(&key);
        if fingerprint != expected {
            return Err(Error::Fingerprint { shown: fingerprint, expected: expected.to_owned() });
        }
        Ok(Self(PublicKey::from(key)))
    }

    /// The same account as a box, made for the machine with this UUID.
    pub fn seal(&self, uuid: &str, account: &BmcInfo) -> Result<BmcInfo, Error> {
        let inner = BmcInfo { sealed: Vec::new(), uuid: uuid.to_owned(), ..account.clone() };
        let sealed = self.0.seal(&mut OsRng, &inner.encode_to_vec()).map_err(|_| Error::Seal)?;
        Ok(BmcInfo { sealed, ..BmcInfo::default() })
    }
}

/// What is in the box of `info`, which must have been made for the machine with this UUID (compared without case).
/// The plain fields beside a box count for nothing.
pub fn open(secret: &[u8; KEY_LENGTH], uuid: &str, info: &BmcInfo) -> Result<BmcInfo, Error> {
    let inner = SecretKey::from(*secret).unseal(&info.sealed).map_err(|_| Error::Open)?;
    let account = BmcInfo::decode(inner.as_slice()).map_err(|_| Error::Account)?;
    if uuid.is_empty() || !account.uuid.eq_ignore_ascii_case(uuid) {
        return Err(Error::Machine);
    }
    Ok(BmcInfo { sealed: Vec::new(), ..account })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; KEY_LENGTH] = [7; KEY_LENGTH];
    const UUID: &str = "4c4c4544-0042-3110-8051-b4c04f313233";

    fn key() -> PlaneKey {
        let public = public_key(&SECRET);
        PlaneKey::verified(&public, &fingerprint(&public)).unwrap()
    }

    fn account() -> BmcInfo {
        let (ip, user, pass) = ("10.0.0.9".to_owned(), "sidero".to_owned(), "hunter2hunter2".to_owned());
        BmcInfo { ip, port: 623, user, pass, ..BmcInfo::default() }
    }

    #[test]
    fn only_the_plane_reads_the_account_and_nothing_of_it_is_on_the_wire() {
        let sealed = key().seal(UUID, &account()).unwrap();
        assert_eq!(BmcInfo { sealed: Vec::new(), ..sealed.clone() }, BmcInfo::default());
        let wire = sealed.encode_to_vec();
        for part in ["10.0.0.9", "sidero", "hunter2", UUID] {
            assert!(!wire.windows(part.len()).any(|window| window == part.as_bytes()), "{part}");
        }
        let opened = open(&SECRET, &UUID.to_uppercase(), &sealed).unwrap();
        assert_eq!(opened, BmcInfo { uuid: UUID.to_owned(), ..account() });
        assert_eq!(open(&[8; KEY_LENGTH], UUID, &sealed), Err(Error::Open));
        // Twice the same account is twice another box.
        assert_ne!(key().seal(UUID, &account()).unwrap(), sealed);
    }

    #[test]
    fn a_box_of_one_machine_is_not_passed_on_as_that_of_another() {
        let sealed = key().seal(UUID, &account()).unwrap();
        for other in ["", "4c4c4544-0042-3110-8051-b4c04f313234"] {
            assert_eq!(open(&SECRET, other, &sealed), Err(Error::Machine));
        }
        let nameless = key().seal("", &account()).unwrap();
        assert_eq!(open(&SECRET, "", &nameless), Err(Error::Machine));
        // Plain fields beside the box are not believed.
        let mixed = BmcInfo { ip: "10.6.6.6".to_owned(), ..sealed };
        assert_eq!(open(&SECRET, UUID, &mixed).unwrap().ip, "10.0.0.9");
    }

    #[test]
    fn a_key_counts_only_with_the_fingerprint_that_the_machine_was_started_with() {
        let (ours, theirs) = (public_key(&SECRET), public_key(&[9; KEY_LENGTH]));
        let error = PlaneKey::verified(&theirs, &fingerprint(&ours)).unwrap_err();
        assert!(matches!(error, Error::Fingerprint { .. }), "{error}");
        assert!(PlaneKey::verified(&ours, "").is_err());
        for length in [0, 31, 33] {
            let shown = vec![1; length];
            assert_eq!(PlaneKey::verified(&shown, &fingerprint(&shown)), Err(Error::Length { length }));
        }
        // FIPS 180-4's digest of nothing, so that another implementation agrees.
        assert_eq!(fingerprint(b""), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    proptest! {
        // Curve arithmetic without optimisation is slow.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nothing_that_is_sent_makes_opening_panic(sealed in prop::collection::vec(any::<u8>(), 0..200)) {
            let info = BmcInfo { sealed, ..BmcInfo::default() };
            prop_assert!(open(&SECRET, UUID, &info).is_err());
        }
    }
}
