//! The pairing code as people see and type it.
//!
//! Parsing is generous about form (case, dashes, spaces, O for 0, I or L for 1) and strict about content, and
//! its errors say where to look. They never carry the text that was typed.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::base32;
use crate::checksum::{self, CHECK_SYMBOLS, CODE_SYMBOLS, DATA_SYMBOLS, Mismatch};
use crate::fingerprint::{FINGERPRINT_SYMBOLS, Fingerprint};
use crate::secret::{SECRET_SYMBOLS, Secret};

/// Symbols between two dashes: what a person keeps in mind while typing.
const GROUP_SYMBOLS: usize = 5;
/// Groups of a code.
const GROUPS: usize = CODE_SYMBOLS / GROUP_SYMBOLS;

const _: () = assert!(SECRET_SYMBOLS + FINGERPRINT_SYMBOLS + CHECK_SYMBOLS == CODE_SYMBOLS);

/// What the console shows and a person types. `Display` prints all of it, the secret included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    secret: Secret,
    fingerprint: Fingerprint,
}

impl Code {
    /// Joins the two halves.
    pub fn new(secret: Secret, fingerprint: Fingerprint) -> Self {
        Self { secret, fingerprint }
    }

    /// What proves the person to the appliance.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What proves the appliance to the person's computer.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn symbols(&self) -> Zeroizing<[u8; CODE_SYMBOLS]> {
        let mut data = Zeroizing::new([0; DATA_SYMBOLS]);
        data[..SECRET_SYMBOLS].copy_from_slice(&self.secret.symbols());
        data[SECRET_SYMBOLS..].copy_from_slice(&self.fingerprint.symbols());
        let mut symbols = Zeroizing::new([0; CODE_SYMBOLS]);
        symbols[..DATA_SYMBOLS].copy_from_slice(&*data);
        symbols[DATA_SYMBOLS..].copy_from_slice(&checksum::check_symbols(&data));
        symbols
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, group) in self.symbols().chunks(GROUP_SYMBOLS).enumerate() {
            if index > 0 {
                f.write_str("-")?;
            }
            for &symbol in group {
                write!(f, "{}", base32::encode_symbol(symbol))?;
            }
        }
        Ok(())
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let symbols = read_symbols(text)?;
        checksum::verify(&symbols).map_err(|mismatch| match mismatch {
            Mismatch::OneSymbol(index) => {
                CodeError::Mistyped { group: index / GROUP_SYMBOLS + 1, position: index % GROUP_SYMBOLS + 1 }
            }
            Mismatch::Several => CodeError::Checksum,
        })?;
        let (secret, rest) = symbols.split_first_chunk::<SECRET_SYMBOLS>().ok_or(CodeError::Checksum)?;
        let (fingerprint, _) = rest.split_first_chunk::<FINGERPRINT_SYMBOLS>().ok_or(CodeError::Checksum)?;
        Ok(Self { secret: Secret::from_symbols(secret), fingerprint: Fingerprint::from_symbols(fingerprint) })
    }
}

/// Reads exactly one code's worth of symbols; separators may stand anywhere.
fn read_symbols(text: &str) -> Result<Zeroizing<[u8; CODE_SYMBOLS]>, CodeError> {
    let mut symbols = Zeroizing::new([0; CODE_SYMBOLS]);
    let mut count = 0;
    for (group, characters) in groups(text).enumerate() {
        for (position, character) in characters.chars().enumerate() {
            let symbol = base32::decode_symbol(character).ok_or(CodeError::Character {
                // As the person sees the groups, or as they would stand without separators.
                group: group + position / GROUP_SYMBOLS + 1,
                position: position % GROUP_SYMBOLS + 1,
            })?;
            if let Some(slot) = symbols.get_mut(count) {
                *slot = symbol;
            }
            count += 1;
        }
    }
    if count == CODE_SYMBOLS { Ok(symbols) } else { Err(wrong_length(text, count)) }
}

fn groups(text: &str) -> impl Iterator<Item = &str> {
    text.split(base32::is_separator).filter(|group| !group.is_empty())
}

/// Names the group that is too short or too long when the separators tell.
fn wrong_length(text: &str, found: usize) -> CodeError {
    let lengths = groups(text).map(|group| group.chars().count());
    let mut wrong = lengths.enumerate().filter(|&(_, length)| length != GROUP_SYMBOLS);
    match (groups(text).count(), wrong.next(), wrong.next()) {
        (GROUPS, Some((index, length)), None) => CodeError::GroupLength { group: index + 1, found: length },
        _ => CodeError::Length { found },
    }
}

/// Why a text is not a pairing code; groups and positions count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CodeError {
    #[error("failed to read the pairing code: character {position} of group {group} is none that codes use")]
    Character { group: usize, position: usize },
    #[error(
        "failed to read the pairing code: group {group} has {found} characters instead of {GROUP_SYMBOLS}"
    )]
    GroupLength { group: usize, found: usize },
    #[error(
        "failed to read the pairing code: it has {found} characters instead of {CODE_SYMBOLS} \
         ({GROUPS} groups of {GROUP_SYMBOLS})"
    )]
    Length {
        /// Characters found, separators left out.
        found: usize,
    },
    #[error(
        "failed to read the pairing code: it was mistyped, probably at character {position} of group {group}"
    )]
    Mistyped { group: usize, position: usize },
    #[error("failed to read the pairing code: it was mistyped in more than one place")]
    Checksum,
}

#[cfg(test)]
mod tests;
