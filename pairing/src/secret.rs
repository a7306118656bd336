//! The secret half of a pairing code: 60 random bits.
//!
//! A secret must never reach a log: `Debug` hides it, there is no `Display`, and it is wiped when dropped.

use std::fmt;
use std::str::FromStr;

use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::base32;

/// Symbols of a secret.
pub(crate) const SECRET_SYMBOLS: usize = 12;
/// Bits of a secret. With the appliance's limit on wrong codes, guessing takes longer than hardware lasts.
const SECRET_BITS: u32 = 60;

/// What proves a person to the appliance. Compared in constant time only.
#[derive(Clone)]
pub struct Secret(u64);

impl Secret {
    /// Draws a secret from the kernel's random number generator; early in a boot this waits until it is
    /// seeded.
    pub fn generate() -> Result<Self, RandomError> {
        let bits = OsRng.try_next_u64().map_err(|source| RandomError { source })?;
        Ok(Self(bits >> (u64::BITS - SECRET_BITS)))
    }

    /// The secret as text: twelve symbols, wiped when dropped.
    pub fn expose(&self) -> Zeroizing<String> {
        let symbols = Zeroizing::new(self.symbols());
        Zeroizing::new(symbols.iter().copied().map(base32::encode_symbol).collect())
    }

    pub(crate) fn symbols(&self) -> [u8; SECRET_SYMBOLS] {
        base32::to_symbols(u128::from(self.0))
    }

    /// From the low 60 bits of the symbols' value.
    pub(crate) fn from_symbols(symbols: &[u8; SECRET_SYMBOLS]) -> Self {
        // Twelve symbols are 60 bits, so the conversion loses nothing.
        Self(u64::try_from(base32::from_symbols(symbols)).unwrap_or_default())
    }
}

/// Equal in constant time, so that a wrong guess does not say how wrong it is.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    /// Reads the text that [`Secret::expose`] makes; case and separators do not matter.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        let mut symbols = Zeroizing::new([0; SECRET_SYMBOLS]);
        let mut count = 0;
        for character in text.chars().filter(|&character| !base32::is_separator(character)) {
            let symbol =
                base32::decode_symbol(character).ok_or(SecretError::Character { position: count + 1 })?;
            if let Some(slot) = symbols.get_mut(count) {
                *slot = symbol;
            }
            count += 1;
        }
        if count == SECRET_SYMBOLS {
            Ok(Self::from_symbols(&symbols))
        } else {
            Err(SecretError::Length { found: count })
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.expose())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a secret. Never carries the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SecretError {
    #[error("failed to read the secret: character {position} is not a letter or digit that secrets use")]
    Character {
        /// Counted from 1, separators left out.
        position: usize,
    },
    #[error("failed to read the secret: it has {found} characters instead of {SECRET_SYMBOLS}")]
    Length {
        /// Characters found, separators left out.
        found: usize,
    },
}

/// The kernel gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("failed to draw a random secret")]
pub struct RandomError {
    source: rand::rand_core::OsError,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn debug_hides_the_secret() {
        let secret: Secret = "0123-4567-89AB".parse().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        assert_eq!(secret.expose().as_str(), "0123456789AB");
    }

    #[test]
    fn secrets_differ() {
        assert_ne!(Secret::generate().unwrap(), Secret::generate().unwrap());
    }

    #[test]
    fn refuses_what_is_not_a_secret() {
        for (text, error) in [
            ("", SecretError::Length { found: 0 }),
            ("0123456789A", SecretError::Length { found: 11 }),
            ("0123456789ABC", SecretError::Length { found: 13 }),
            ("0123456789AU", SecretError::Character { position: 12 }),
        ] {
            assert_eq!(text.parse::<Secret>(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn survives_the_round_trip(bits in 0_u64..1 << SECRET_BITS) {
            let secret = Secret(bits);
            prop_assert_eq!(&secret.expose().parse::<Secret>().unwrap(), &secret);
            let json = serde_json::to_string(&secret).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Secret>(&json).unwrap(), &secret);
        }

        #[test]
        fn never_panics_on_any_text(text in ".*") {
            let _ = text.parse::<Secret>();
        }
    }
}
