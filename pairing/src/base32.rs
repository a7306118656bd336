//! Crockford's base32: five bits per symbol, none of the letters that are mistaken for digits.
//!
//! Only symbols are handled here; what a sequence of them means is the business of the callers.

/// Crockford's alphabet: no I, L, O (read as 1, 1, 0) and no U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Bits that one symbol carries.
pub(crate) const BITS_PER_SYMBOL: u32 = 5;

const SYMBOL_MASK: u128 = 31;

/// Reads one symbol, either case, with the confusions that Crockford allows for.
pub(crate) fn decode_symbol(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let position = ALPHABET.iter().position(|&symbol| char::from(symbol) == upper)?;
    u8::try_from(position).ok()
}

/// The character of a symbol; only the low five bits count.
pub(crate) fn encode_symbol(symbol: u8) -> char {
    char::from(ALPHABET[usize::from(symbol & 31)])
}

/// Characters that people put between groups: spaces, and dashes as word processors make them.
pub(crate) fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, '-' | '_' | '.' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// Splits the low `5 × N` bits of `value` into symbols, the most significant first.
pub(crate) fn to_symbols<const N: usize>(value: u128) -> [u8; N] {
    let mut rest = value;
    let mut symbols = [0; N];
    for symbol in symbols.iter_mut().rev() {
        // Masked to five bits, so the conversion loses nothing.
        *symbol = u8::try_from(rest & SYMBOL_MASK).unwrap_or_default();
        rest >>= BITS_PER_SYMBOL;
    }
    symbols
}

/// Joins at most 25 symbols into a number, the first one being the most significant.
pub(crate) fn from_symbols(symbols: &[u8]) -> u128 {
    symbols.iter().fold(0, |value, &symbol| (value << BITS_PER_SYMBOL) | u128::from(symbol & 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_survives_the_round_trip_in_both_cases() {
        for symbol in 0..32 {
            let character = encode_symbol(symbol);
            assert_eq!(decode_symbol(character), Some(symbol));
            assert_eq!(decode_symbol(character.to_ascii_lowercase()), Some(symbol));
        }
    }

    #[test]
    fn reads_the_confusions_and_nothing_else() {
        for (character, symbol) in [('O', 0), ('o', 0), ('I', 1), ('i', 1), ('L', 1), ('l', 1)] {
            assert_eq!(decode_symbol(character), Some(symbol));
        }
        for character in ['U', 'u', '-', ' ', '!', 'é', '\0', '０'] {
            assert_eq!(decode_symbol(character), None, "{character:?}");
        }
    }

    #[test]
    fn numbers_survive_the_round_trip() {
        for value in [0, 1, 31, 32, (1 << 80) - 1, 0x1234_5678_9abc_def0_1234] {
            assert_eq!(from_symbols(&to_symbols::<16>(value)), value);
        }
    }
}
