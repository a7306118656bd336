//! Texts that firmware carries where nobody set any: they prove nothing, in either direction.
//!
//! Duty: the lists, as data, and the one way to read a UUID, serial number or hardware address as a mark of a machine.
//! Never takes a text for a mark that many machines carry.

/// Serial numbers, in lower case and without anything but letters and digits.
const SERIALS: &str = "\
    default defaultstring tobefilledbyoem tobefilled filledbyoem systemserialnumber chassisserialnumber \
    baseboardserialnumber serialnumber sernum sn oem oemserialnumber none na null nil empty unknown \
    undefined unspecified notspecified notapplicable notavailable notset notsettable notprovided invalid \
    xxxxxxx qemu vmware virtualbox parallels empire standard system test sample insydeserialnumber \
    ezpadserialnumber";

/// UUIDs that many machines carry, in lower case.
const UUIDS: [&str; 9] = [
    // American Megatrends' default, as stored and with its first fields swapped.
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    // Counting, in sample firmware, both ways round.
    "00112233-4455-6677-8899-aabbccddeeff",
    "33221100-5544-7766-8899-aabbccddeeff",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "78563412-3412-7856-90ab-cddeefaabbcc",
    "01234567-89ab-cdef-0123-456789abcdef",
    // Dell's form around an empty service tag, and around one of spaces.
    "4c4c4544-0000-2010-8020-80c04f202020",
    "4c4c4544-0020-2010-8020-a0c04f202020",
];

/// Hardware addresses that many machines carry, in lower case with colons.
const CARDS: [&str; 6] = [
    "00:11:22:33:44:55",
    "00:01:02:03:04:05",
    "12:34:56:78:9a:bc",
    "de:ad:be:ef:00:00",
    // The host's end of the network over USB to American Megatrends' management controllers.
    "be:3a:f2:b6:05:9f",
    // Cards without an address in their memory, by a driver's default.
    "00:de:ad:be:ef:00",
];

/// Octets of the longest mark that is kept.
const LONGEST: usize = 128;

/// The serial number as a mark: upper case, without spaces around it. None for one that many machines carry.
pub fn serial(text: &str) -> Option<String> {
    let mark = text.trim().to_ascii_uppercase();
    let bare: String =
        mark.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let fits = mark.len() <= LONGEST && !mark.chars().any(char::is_control);
    // Two characters name nothing, whatever they are.
    let names = bare.len() > 2
        && !SERIALS.split(' ').any(|known| known == bare)
        && !is_one_letter(&bare)
        && !counts(&bare);
    (fits && names).then_some(mark)
}

/// The UUID in lower case, if `text` is one in the 8-4-4-4-12 form.
pub fn canonical_uuid(text: &str) -> Option<String> {
    let well_formed = text.len() == 36
        && text.bytes().enumerate().all(|(index, octet)| match index {
            8 | 13 | 18 | 23 => octet == b'-',
            _ => octet.is_ascii_hexdigit(),
        });
    well_formed.then(|| text.to_ascii_lowercase())
}

/// The UUID as a mark, in lower case. None for one that is malformed or that many machines carry.
pub fn uuid(text: &str) -> Option<String> {
    let mark = canonical_uuid(text.trim())?;
    let bare: String = mark.chars().filter(|letter| *letter != '-').collect();
    (!UUIDS.contains(&mark.as_str()) && !is_one_letter(&bare)).then_some(mark)
}

/// The hardware address as a mark: lower case with colons. None for one that is malformed, not of one card, or that
/// many cards carry.
pub fn card(text: &str) -> Option<String> {
    let mark = text.trim().to_ascii_lowercase().replace('-', ":");
    let octets: Vec<u8> =
        mark.split(':').map(octet).collect::<Option<_>>().filter(|all: &Vec<u8>| all.len() == 6)?;
    let of_one_card = octets.first().is_some_and(|first| first & 1 == 0);
    let is_same = octets.windows(2).all(|pair| pair.first() == pair.last());
    (of_one_card && !is_same && !CARDS.contains(&mark.as_str())).then_some(mark)
}

fn octet(part: &str) -> Option<u8> {
    let is_hex = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
}

/// `0000000`, `FFFFFFFF`, `xxxxxxxx`.
fn is_one_letter(text: &str) -> bool {
    let mut letters = text.chars();
    let first = letters.next();
    letters.all(|letter| Some(letter) == first)
}

/// `0123456789`, `123456789`, `1234567890`, `12345`, `abcdef`: each character follows the one before.
fn counts(text: &str) -> bool {
    let octets = text.as_bytes();
    octets.windows(2).all(|pair| match pair {
        [b'9', next] => *next == b'0' || *next == b'a',
        [one, next] => one.checked_add(1) == Some(*next),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_no_serial_numbers() {
        for text in [
            "",
            "   ",
            "Default string",
            "To be filled by O.E.M.",
            "To Be Filled By O.E.M.",
            "System Serial Number",
            "Chassis Serial Number",
            "0123456789",
            "123456789",
            "1234567890",
            "0123456789ABCDEF",
            "0",
            "00000000",
            "................",
            "----",
            "FFFFFFFF",
            "XXXXXXXXXX",
            "None",
            "N/A",
            "Not Specified",
            "Not Applicable",
            "INVALID",
            "OEM",
            "S/N",
            "SN",
            "12",
            "bad\u{7}bell",
        ] {
            assert_eq!(serial(text), None, "{text:?}");
        }
        assert_eq!(serial(&"9".repeat(300)), None);
        assert_eq!(serial(&"A1B2".repeat(300)), None);
        for (text, mark) in
            [(" sn1 ", "SN1"), ("CZ3042ABCD", "CZ3042ABCD"), ("S-100", "S-100"), ("2M2344", "2M2344")]
        {
            assert_eq!(serial(text).as_deref(), Some(mark));
        }
    }

    #[test]
    fn placeholders_are_no_uuids() {
        for text in [
            "",
            "rubbish",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "4C4C4544-0000-2010-8020-80C04F202020",
        ] {
            assert_eq!(uuid(text), None, "{text:?}");
        }
        let own = "4C4C4544-0042-3110-8051-B7C04F4E3332";
        assert_eq!(uuid(own), Some(own.to_ascii_lowercase()));
    }

    #[test]
    fn placeholders_are_no_cards() {
        for text in [
            "",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:11:22:33:44:55",
            "BE:3A:F2:B6:05:9F",
            "52:54:00:12:34",
            "52:54:00:12:34:567",
            "52:54:00:12:34:+5",
        ] {
            assert_eq!(card(text), None, "{text:?}");
        }
        assert_eq!(card("52-54-00-AB-CD-EF").as_deref(), Some("52:54:00:ab:cd:ef"));
    }
}
