//! Cipher suites 3 and 17 of RMCP+: keys, integrity and confidentiality (IPMI 2.0, 13.28 to 13.32).
//!
//! Never sends anything; keys are wiped when dropped and never printed.

use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::error::ParseError;

const BLOCK: usize = 16;
/// The constants of the additional keys are 20 bytes with both hashes.
const CONSTANT_LEN: usize = 20;
const AES_CBC_128: u8 = 1;

/// A cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// 3: RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
    /// 17: RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    /// Authentication, integrity and confidentiality algorithm on the wire.
    pub(super) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Three => [1, 1, AES_CBC_128],
            Self::Seventeen => [3, 4, AES_CBC_128],
        }
    }

    /// Bytes of an integrity code: the hash's, cut.
    pub(super) const fn integrity_len(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    pub(super) fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Three => hmac::<Hmac<Sha1>>(key, parts),
            Self::Seventeen => hmac::<Hmac<Sha256>>(key, parts),
        }
    }
}

fn hmac<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of every length, so the error cannot happen; no code fits an empty one.
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// Equal, without a timing channel; an empty code fits nothing.
pub(super) fn codes_equal(expected: &[u8], received: &[u8]) -> bool {
    !expected.is_empty() && bool::from(expected.ct_eq(received))
}

/// The keys of a session.
#[derive(Clone)]
pub struct Keys {
    suite: Suite,
    integrity: Zeroizing<Vec<u8>>,
    encryption: Zeroizing<[u8; BLOCK]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("suite", &self.suite).finish_non_exhaustive()
    }
}

impl Keys {
    /// Keys from the session's integrity key (SIK).
    pub fn derive(suite: Suite, session_key: &[u8]) -> Self {
        let integrity = Zeroizing::new(suite.hmac(session_key, &[&[1; CONSTANT_LEN]]));
        let mut second = suite.hmac(session_key, &[&[2; CONSTANT_LEN]]);
        let mut encryption = Zeroizing::new([0; BLOCK]);
        for (to, from) in encryption.iter_mut().zip(&second) {
            *to = *from;
        }
        second.zeroize();
        Self { suite, integrity, encryption }
    }

    pub(super) const fn integrity_len(&self) -> usize {
        self.suite.integrity_len()
    }

    /// The integrity code of `bytes`.
    pub(super) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let mut code = self.suite.hmac(&self.integrity, &[bytes]);
        code.truncate(self.integrity_len());
        code
    }

    /// Encrypts a payload: initialisation vector, then data, padding 1, 2, 3 …, and its length.
    pub(super) fn encrypt(&self, payload: &[u8], vector: [u8; BLOCK]) -> Vec<u8> {
        let mut plain = payload.to_vec();
        let padding = BLOCK - 1 - payload.len() % BLOCK;
        plain.extend((1..).take(padding));
        plain.extend(u8::try_from(padding));
        let cipher = cbc::Encryptor::<Aes128>::new((&*self.encryption).into(), &vector.into());
        let mut bytes = vector.to_vec();
        bytes.extend(cipher.encrypt_padded_vec_mut::<NoPadding>(&plain));
        bytes
    }

    /// Decrypts a payload and checks its padding.
    pub(super) fn decrypt(&self, bytes: &[u8]) -> Result<Vec<u8>, ParseError> {
        let (vector, body) = bytes.split_first_chunk::<BLOCK>().ok_or(ParseError::Decrypt)?;
        let cipher = cbc::Decryptor::<Aes128>::new((&*self.encryption).into(), vector.into());
        let mut plain = cipher.decrypt_padded_vec_mut::<NoPadding>(body).map_err(|_| ParseError::Decrypt)?;
        let padding = usize::from(plain.pop().ok_or(ParseError::Decrypt)?);
        let length = plain.len().checked_sub(padding).ok_or(ParseError::Decrypt)?;
        let fits = plain.iter().skip(length).zip(1_u8..).all(|(byte, expected)| *byte == expected);
        if padding >= BLOCK || !fits {
            return Err(ParseError::Decrypt);
        }
        plain.truncate(length);
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_rfcs_say() {
        // RFC 2202 and RFC 4231, test case 2.
        let code = Suite::Three.hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(code[..4], [0xef, 0xfc, 0xdf, 0x6a]);
        assert_eq!(code.len(), 20);
        let code = Suite::Seventeen.hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(code[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(code.len(), 32);
    }

    #[test]
    fn decrypts_what_it_encrypted_at_every_length() {
        let keys = Keys::derive(Suite::Seventeen, b"session key");
        for length in 0..70 {
            let plain: Vec<u8> = (0..length).collect();
            let sealed = keys.encrypt(&plain, [9; BLOCK]);
            assert_eq!(sealed.len() % BLOCK, 0);
            assert_eq!(keys.decrypt(&sealed).unwrap(), plain);
        }
    }

    #[test]
    fn refuses_what_nobody_encrypted() {
        let keys = Keys::derive(Suite::Three, b"session key");
        for length in [0, 1, 15, 16, 17, 31, 33, 47] {
            assert_eq!(keys.decrypt(&vec![0; length]), Err(ParseError::Decrypt), "{length} bytes");
        }
    }

    #[test]
    fn empty_codes_are_never_equal() {
        assert!(!codes_equal(&[], &[]));
        assert!(codes_equal(&[1, 2], &[1, 2]));
        assert!(!codes_equal(&[1, 2], &[1]));
    }
}
