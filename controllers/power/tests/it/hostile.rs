//! Whatever a BMC sends, no parser panics.

use bloomery_power::http_api::parse_status;
use bloomery_power::ipmi::{
    Keys, Suite, open_packet, parse_activated, parse_auth_capabilities, parse_challenge,
    parse_chassis_status, parse_cipher_suites, parse_open_session_response, parse_rakp2, parse_rakp4,
    parse_response, parse_rmcp, parse_session_header, parse_session_packet, parse_system_guid,
};
use proptest::prelude::*;

/// Bytes that get past the first checks more often than chance would.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let starts: [&[u8]; 6] = [
        &[],
        &[6, 0, 0xff, 7],
        &[6, 0, 0xff, 7, 6, 0xc0, 42, 0, 0, 0],
        &[6, 0, 0xff, 7, 6, 0x13],
        &[6, 0, 0xff, 7, 2],
        &[6, 0xc0, 42, 0, 0, 0, 1, 0, 0, 0, 32, 0],
    ];
    (proptest::sample::select(starts.to_vec()), proptest::collection::vec(any::<u8>(), 0..120))
        .prop_map(|(start, rest)| [start, &rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_packet_makes_a_parser_panic(bytes in packet(), data in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok((_, rest)) = parse_rmcp(&bytes) {
            let _ = parse_session_header(rest);
            let _ = parse_session_packet(rest);
        }
        let _ = parse_session_header(&bytes);
        let _ = parse_session_packet(&bytes);
        for suite in [Suite::Three, Suite::Seventeen] {
            prop_assert!(open_packet(&Keys::derive(suite, b"key"), 42, &bytes).is_err());
        }
        let _ = parse_response(&data);
        let _ = parse_open_session_response(&data);
        let _ = parse_rakp2(&data);
        let _ = parse_rakp4(&data);
        let _ = parse_challenge(&data);
        let _ = parse_activated(&data);
        let _ = parse_auth_capabilities(&data);
        let _ = parse_chassis_status(&data);
        let _ = parse_cipher_suites(&data);
        let _ = parse_system_guid(&data);
        let _ = parse_status(&data);
    }

    /// A status of zeros reaches the fields behind it, where most of the length checks are.
    #[test]
    fn cut_log_in_answers_are_errors(length in 0_usize..36, tag: u8) {
        let mut bytes = vec![0; length];
        if let Some(first) = bytes.first_mut() {
            *first = tag;
        }
        prop_assert!(parse_open_session_response(&bytes).is_err());
        prop_assert!(parse_rakp2(&bytes).is_err());
        prop_assert_eq!(parse_rakp4(&bytes).is_err(), length < 8);
    }
}
