//! Tables of GUIDs.

use proptest::prelude::*;

use super::*;

const OWN: &str = "38947555-7742-3448-3784-823347823834";
const OTHER: &str = "11111111-2222-3333-4444-555555555555";

fn guid(text: &str) -> Guid {
    Guid::parse(text).unwrap()
}

#[derive(Debug)]
struct Known(Guid, &'static str);

impl Machines for Known {
    fn owner(&self, guid: Guid) -> Option<String> {
        guid.matches(self.0).then(|| self.1.to_owned())
    }
}

#[test]
fn reads_guids_as_people_and_bmcs_write_them() {
    for text in [
        OWN,
        "38947555774234483784823347823834",
        "{38947555-7742-3448-3784-823347823834}",
        "urn:uuid:38947555-7742-3448-3784-823347823834",
        " 38947555-7742-3448-3784-823347823834\n",
    ] {
        assert_eq!(guid(text).to_string(), OWN, "{text}");
    }
    for text in [
        "",
        "-",
        "a-uuid",
        "38947555-7742-3448-3784-82334782383",
        "38947555-7742-3448-3784-8233478238345",
        "ｆ",
    ] {
        assert_eq!(Guid::parse(text), None, "{text}");
    }
}

#[test]
fn knows_the_orders_in_which_bmcs_send_octets() {
    let own = guid("00112233-4455-6677-8899-aabbccddeef0");
    for sent in [
        "00112233-4455-6677-8899-aabbccddeef0",
        "33221100-5544-7766-8899-aabbccddeef0",
        "f0eeddcc-bbaa-9988-7766-554433221100",
    ] {
        assert!(guid(sent).matches(own), "{sent}");
    }
    assert!(!guid("00112233-4455-6677-8899-aabbccddeef1").matches(own));
}

#[test]
fn placeholders_prove_nothing_in_any_order() {
    for text in [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "20202020-2020-2020-2020-202020202020",
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "4c4c4544-0000-2010-8020-80c04f202020",
        "a1234567-89ab-cdef-a123-456789abcdef",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "0f0e0d0c-0b0a-0908-0706-050403020100",
    ] {
        assert!(guid(text).is_placeholder(), "{text}");
    }
    for text in [OWN, OTHER, "00000000-0000-0000-0000-0cc47a000001", "4c4c4544-0042-3010-8051-b4c04f4d3532"] {
        assert!(!guid(text).is_placeholder(), "{text}");
    }
}

/// What the BMC tells, whether the account is the agent's, whether the BMC must prove whose it is, whether it may be
/// told something by a way that proves the password and by one that does not.
type Row = (&'static str, bool, bool, bool, bool);

#[test]
fn a_bmc_of_another_machine_is_told_nothing() {
    let table: [Row; 15] = [
        (OWN, false, false, true, true),
        (OWN, false, true, true, true),
        // SMBIOS order.
        ("55759438-4277-4834-3784-823347823834", false, true, true, true),
        (OTHER, false, false, false, false),
        (OTHER, true, false, false, false),
        (OTHER, true, true, false, false),
        // Nobody's: only the agent's account outweighs it, and only where the BMC proved the password.
        ("99999999-9999-9999-9999-999999999990", false, false, false, false),
        ("99999999-9999-9999-9999-999999999990", true, false, true, false),
        ("99999999-9999-9999-9999-999999999990", true, true, false, false),
        // Says nothing, or nothing of use.
        ("", false, false, true, true),
        ("", false, true, false, false),
        ("", true, true, false, false),
        ("00000000-0000-0000-0000-000000000000", false, false, true, true),
        ("03000200-0400-0500-0006-000700080009", false, true, false, false),
        ("ffffffff-ffff-ffff-ffff-ffffffffffff", true, false, true, true),
    ];
    for (number, (told, account_is_proof, must_prove, proven, unproven)) in table.into_iter().enumerate() {
        let machines = Arc::new(Known(guid(OTHER), "b"));
        let identity = Identity { must_prove, account_is_proof, machines, ..Identity::of(OWN) };
        let told = Guid::parse(told);
        assert_eq!(identity.judge(told, true).is_ok(), proven, "row {number}, password proven");
        assert_eq!(identity.judge(told, false).is_ok(), unproven, "row {number}, password not proven");
    }
}

#[test]
fn the_error_names_both_machines() {
    let machines = Arc::new(Known(guid(OTHER), "b"));
    let identity = Identity { machines, ..Identity::of(OWN) };
    let error = identity.judge(Some(guid(OTHER)), true).unwrap_err();
    assert_eq!(error.owner.as_deref(), Some("b"));
    let text = error.to_string();
    assert!(text.contains(OTHER) && text.contains(OWN) && text.contains("Server b"), "{text}");
}

#[test]
fn a_person_may_declare_a_guid() {
    let odd = guid("99999999-9999-9999-9999-999999999990");
    let zeros = Guid::new([0; 16]);
    let identity = Identity { declared: vec![odd, zeros], must_prove: true, ..Identity::of(OWN) };
    assert_eq!(identity.judge(Some(odd), false), Ok(()));
    assert_eq!(identity.judge(Some(zeros), false), Ok(()), "a declared placeholder is the person's word");
    assert!(identity.judge(Some(guid(OTHER)), true).is_err());
}

#[test]
fn a_server_without_a_uuid_takes_no_bmc_that_tells_one() {
    let identity = Identity::of("node-1");
    assert!(identity.judge(Some(guid(OTHER)), true).is_err());
    assert_eq!(identity.judge(None, false), Ok(()));
    // A Server whose own UUID is a placeholder is not proven by the same placeholder.
    let zeros = Identity { must_prove: true, ..Identity::of("00000000-0000-0000-0000-000000000000") };
    assert!(zeros.judge(Some(Guid::new([0; 16])), true).is_err());
}

proptest! {
    #[test]
    fn text_and_octets_are_one(octets: [u8; 16]) {
        let guid = Guid::new(octets);
        prop_assert_eq!(Guid::parse(&guid.to_string()), Some(guid));
        prop_assert_eq!(guid.swapped().swapped(), guid);
        for order in guid.orders() {
            prop_assert!(order.matches(guid));
            prop_assert_eq!(order.is_placeholder(), guid.is_placeholder());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,60}") {
        let _ = Guid::parse(&text);
    }

    /// Without a declaration and the agent's account, a usable GUID that is not the machine's is always a no.
    #[test]
    fn another_guid_is_a_no(octets: [u8; 16], must_prove: bool, proven: bool) {
        let told = Guid::new(octets);
        let identity = Identity { must_prove, ..Identity::of(OWN) };
        if !told.is_placeholder() && !told.matches(guid(OWN)) {
            prop_assert!(identity.judge(Some(told), proven).is_err());
        }
    }
}
