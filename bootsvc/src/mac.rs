//! Hardware addresses as text, in the one notation that everything is compared in.

use bloomery_hostnet::MacAddr;

/// The address in lower-case colon form; none if it is in no notation of [`MacAddr`].
pub fn normalize(text: &str) -> Option<String> {
    text.trim().parse().ok().map(|address: MacAddr| address.to_string())
}

/// The colon form of an Ethernet address; none for the unset one, or one of another length.
pub fn of_octets(octets: &[u8]) -> Option<String> {
    let address = MacAddr::from_slice(octets)?;
    (address != MacAddr([0; 6])).then(|| address.to_string())
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
