//! Hardware addresses in the notations that firmware, iPXE and people write.

/// Octets of an Ethernet address.
pub const OCTETS: usize = 6;

/// The address in lower-case colon form; none if it is in no common notation.
///
/// Common are `aa:bb:cc:dd:ee:ff`, the same with hyphens, `aabb.ccdd.eeff` and twelve digits in a row.
pub fn normalize(text: &str) -> Option<String> {
    let text = text.trim();
    let (separator, group) = match text {
        _ if text.contains(':') => (Some(':'), 2),
        _ if text.contains('-') => (Some('-'), 2),
        _ if text.contains('.') => (Some('.'), 4),
        _ => (None, 2 * OCTETS),
    };
    let mut digits = String::with_capacity(2 * OCTETS);
    let groups: Vec<&str> = match separator {
        Some(separator) => text.split(separator).collect(),
        None => vec![text],
    };
    for part in groups {
        if part.len() != group || !part.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        digits.push_str(part);
    }
    if digits.len() != 2 * OCTETS {
        return None;
    }
    let mut colons = String::with_capacity(3 * OCTETS);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 2 == 0 {
            colons.push(':');
        }
        colons.push(digit.to_ascii_lowercase());
    }
    Some(colons)
}

/// The colon form of an address of [`OCTETS`] octets; none for the unset one, or one of another length.
pub fn of_octets(octets: &[u8]) -> Option<String> {
    let octets: [u8; OCTETS] = octets.try_into().ok()?;
    let text = |octet: &u8| format!("{octet:02x}");
    (octets != [0; OCTETS]).then(|| octets.iter().map(text).collect::<Vec<_>>().join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_notation_gives_the_same_text() {
        for text in [
            "52:54:00:AB:00:01",
            "52-54-00-ab-00-01",
            "5254.00ab.0001",
            "525400AB0001",
            " 52:54:00:ab:00:01 ",
        ] {
            assert_eq!(normalize(text).as_deref(), Some("52:54:00:ab:00:01"), "{text}");
        }
    }

    #[test]
    fn anything_else_is_dropped() {
        for text in [
            "",
            "52:54:00:ab:00",
            "52:54:00:ab:00:01:02",
            "52:54:00:ab:00:0g",
            "5:254:00:ab:00:01",
            "52:54-00:ab-00:01",
            "5254.00ab",
            "525400ab00010",
            "52:54:00:ab:00:01 init=/bin/sh",
            "é2:54:00:ab:00:01",
        ] {
            assert_eq!(normalize(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_only_makes_addresses(text in ".{0,40}") {
            if let Some(mac) = normalize(&text) {
                proptest::prop_assert_eq!(normalize(&mac), Some(mac.clone()));
                proptest::prop_assert_eq!(mac.len(), 17);
            }
        }

        #[test]
        fn round_trips_every_address(octets: [u8; 6]) {
            let colon = octets.map(|octet| format!("{octet:02x}")).join(":");
            proptest::prop_assert_eq!(normalize(&colon.replace(':', "-")), Some(colon.clone()));
            proptest::prop_assert_eq!(normalize(&colon.to_uppercase()), Some(colon));
        }
    }
}
