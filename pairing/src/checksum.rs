//! The two check symbols at the end of a pairing code.
//!
//! They make the 30 symbols a shortened Reed–Solomon code word over GF(32) with the roots 1 and α: any one or
//! two wrong symbols (so also any two swapped ones) are always noticed, and a single wrong symbol is located,
//! so that the person can be told where to look. Other errors pass once in 1024 times. The code is never
//! corrected silently: what is typed is compared with what the appliance shows by a person, not by us.

/// Symbols of a whole code, check symbols included; at most 31, the order of GF(32)'s multiplicative group.
pub(crate) const CODE_SYMBOLS: usize = 30;
/// Check symbols at the end.
pub(crate) const CHECK_SYMBOLS: usize = 2;
/// Symbols before the check symbols.
pub(crate) const DATA_SYMBOLS: usize = CODE_SYMBOLS - CHECK_SYMBOLS;

/// Order of the multiplicative group of GF(32).
const ORDER: usize = 31;
/// x⁵ + x² + 1, primitive over GF(2).
const POLYNOMIAL: u8 = 0b10_0101;

/// Powers of α = x.
const EXP: [u8; ORDER] = powers();

const fn powers() -> [u8; ORDER] {
    let mut table = [0; ORDER];
    let mut value = 1_u8;
    let mut exponent = 0;
    while exponent < ORDER {
        table[exponent] = value;
        value <<= 1;
        if value & 0b10_0000 != 0 {
            value ^= POLYNOMIAL;
        }
        exponent += 1;
    }
    table
}

/// The exponent of a non-zero element.
fn log(element: u8) -> Option<usize> {
    EXP.iter().position(|&power| power == element)
}

/// `element × α^exponent`.
fn times_power(element: u8, exponent: usize) -> u8 {
    log(element).map_or(0, |logarithm| EXP[(logarithm + exponent) % ORDER])
}

/// The word's polynomial evaluated at 1 and at α; the last symbol is the constant term.
fn syndromes(word: &[u8]) -> (u8, u8) {
    word.iter().rev().enumerate().fold((0, 0), |(at_one, at_alpha), (exponent, &symbol)| {
        (at_one ^ symbol, at_alpha ^ times_power(symbol, exponent))
    })
}

/// What is wrong with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// One symbol, at this index, would explain it.
    OneSymbol(usize),
    /// More than one symbol is wrong.
    Several,
}

/// The check symbols that belong behind `data`.
pub(crate) fn check_symbols(data: &[u8; DATA_SYMBOLS]) -> [u8; CHECK_SYMBOLS] {
    let mut word = [0; CODE_SYMBOLS];
    word[..DATA_SYMBOLS].copy_from_slice(data);
    let (at_one, at_alpha) = syndromes(&word);
    // Solve c₁ + c₀ = at_one and α·c₁ + c₀ = at_alpha; addition is exclusive or.
    let inverse_of_one_plus_alpha = log(1 ^ EXP[1]).map_or(0, |logarithm| ORDER - logarithm);
    let first = times_power(at_one ^ at_alpha, inverse_of_one_plus_alpha);
    [first, at_one ^ first]
}

/// Checks a whole code.
pub(crate) fn verify(word: &[u8; CODE_SYMBOLS]) -> Result<(), Mismatch> {
    let (at_one, at_alpha) = syndromes(word);
    if at_one == 0 && at_alpha == 0 {
        return Ok(());
    }
    // One error e at x^k gives the syndromes e and e·α^k: their quotient names k.
    let Some((one, alpha)) = log(at_one).zip(log(at_alpha)) else {
        return Err(Mismatch::Several);
    };
    let exponent = (alpha + ORDER - one) % ORDER;
    match (CODE_SYMBOLS - 1).checked_sub(exponent) {
        Some(index) => Err(Mismatch::OneSymbol(index)),
        None => Err(Mismatch::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(data: [u8; DATA_SYMBOLS]) -> [u8; CODE_SYMBOLS] {
        let mut word = [0; CODE_SYMBOLS];
        word[..DATA_SYMBOLS].copy_from_slice(&data);
        word[DATA_SYMBOLS..].copy_from_slice(&check_symbols(&data));
        word
    }

    fn data() -> impl Strategy<Value = [u8; DATA_SYMBOLS]> {
        proptest::array::uniform28(0_u8..32)
    }

    #[test]
    fn the_powers_are_all_different() {
        let distinct: std::collections::BTreeSet<u8> = EXP.into_iter().collect();
        assert_eq!(distinct.len(), ORDER);
    }

    proptest! {
        #[test]
        fn accepts_what_it_made(data in data()) {
            prop_assert_eq!(verify(&word(data)), Ok(()));
        }

        #[test]
        fn locates_any_single_error(data in data(), at in 0..CODE_SYMBOLS, error in 1_u8..32) {
            let mut word = word(data);
            word[at] ^= error;
            prop_assert_eq!(verify(&word), Err(Mismatch::OneSymbol(at)));
        }

        #[test]
        fn notices_any_two_errors(
            data in data(), a in 0..CODE_SYMBOLS, distance in 1..CODE_SYMBOLS, x in 1_u8..32, y in 1_u8..32
        ) {
            let mut word = word(data);
            word[a] ^= x;
            word[(a + distance) % CODE_SYMBOLS] ^= y;
            prop_assert!(verify(&word).is_err());
        }

        #[test]
        fn notices_two_different_symbols_swapped(data in data(), a in 0..CODE_SYMBOLS, b in 0..CODE_SYMBOLS) {
            let mut swapped = word(data);
            swapped.swap(a, b);
            prop_assert_eq!(verify(&swapped).is_ok(), swapped == word(data));
        }
    }
}
