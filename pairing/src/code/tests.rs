//! Codes as people type them, and as they mistype them.

use proptest::prelude::*;

use super::*;

fn example() -> Code {
    Code::new("7ZQ4M K2W9X T3".parse().unwrap(), Fingerprint::of_public_key(b"a public key"))
}

#[test]
fn has_six_groups_of_five_and_hides_in_debug() {
    let text = example().to_string();
    assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [5; 6]);
    assert!(text.starts_with("7ZQ4M-K2W9X-T3"));
    assert!(!format!("{:?}", example()).contains("7ZQ4M"));
}

#[test]
fn reads_what_people_make_of_it() {
    let text = example().to_string();
    for typed in [
        text.to_lowercase(),
        text.replace('-', ""),
        text.replace('-', " "),
        text.replace('-', "\u{2013}"),
        format!("  {text}\n"),
        text.replace('0', "O").replace('1', "l"),
        text.replace('0', "o").replace('1', "I"),
        text.replacen('-', "", 1),
    ] {
        assert_eq!(typed.parse::<Code>(), Ok(example()), "{typed:?}");
    }
}

#[test]
fn says_which_group_is_wrong() {
    let groups: Vec<String> = example().to_string().split('-').map(str::to_owned).collect();
    let with = |index: usize, group: &str| {
        let mut groups = groups.clone();
        groups[index] = group.to_owned();
        groups.join("-")
    };
    let cases = [
        (with(2, &groups[2][..4]), CodeError::GroupLength { group: 3, found: 4 }),
        (with(4, &format!("{}7", groups[4])), CodeError::GroupLength { group: 5, found: 6 }),
        (with(3, "AB!DE"), CodeError::Character { group: 4, position: 3 }),
        (groups.concat().replacen(&groups[1], "22U22", 1), CodeError::Character { group: 2, position: 3 }),
        (groups[..5].join("-"), CodeError::Length { found: 25 }),
        (groups.concat()[..29].to_owned(), CodeError::Length { found: 29 }),
        (String::new(), CodeError::Length { found: 0 }),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<Code>(), Err(error), "{text}");
    }
}

proptest! {
    #[test]
    fn survives_the_round_trip(secret in "[0-9A-HJKMNP-TV-Z]{12}", key in any::<Vec<u8>>()) {
        let code = Code::new(secret.parse().unwrap(), Fingerprint::of_public_key(&key));
        prop_assert_eq!(code.to_string().parse::<Code>(), Ok(code));
    }

    #[test]
    fn names_the_group_of_a_single_typing_error(at in 0..CODE_SYMBOLS, symbol in 0_u8..32) {
        let mut characters: Vec<char> = example().to_string().replace('-', "").chars().collect();
        let typed = base32::encode_symbol(symbol);
        prop_assume!(characters[at] != typed);
        characters[at] = typed;
        let text: String = characters.into_iter().collect();
        prop_assert_eq!(
            text.parse::<Code>(),
            Err(CodeError::Mistyped { group: at / GROUP_SYMBOLS + 1, position: at % GROUP_SYMBOLS + 1 })
        );
    }

    #[test]
    fn never_panics_and_never_repeats_what_was_typed(text in "[A-Z0-9 -]{0,60}|.*") {
        if let Err(error) = text.parse::<Code>() {
            prop_assert!(text.len() < 8 || !error.to_string().contains(&text));
        }
    }
}
