//! What a BMC may send: IPMI packets of both versions layer by layer, Redfish documents, the HTTP API's status.
use bloomery_power::endpoint::{Origin, Scheme};
use bloomery_power::ipmi::{
    Keys, Suite, open_packet, parse_activated, parse_auth_capabilities, parse_challenge,
    parse_chassis_status, parse_cipher_suites, parse_open_session_response, parse_rakp2, parse_rakp4,
    parse_response, parse_rmcp, parse_session_header, parse_session_packet, parse_system_guid,
};
use bloomery_power::{http_api, redfish};

/// One input.
pub fn run(bytes: &[u8]) {
    if let Ok((_, rest)) = parse_rmcp(bytes) {
        let _ = parse_session_header(rest);
        let _ = parse_session_packet(rest);
    }
    let _ = parse_session_header(bytes);
    let _ = parse_session_packet(bytes);
    for suite in [Suite::Three, Suite::Seventeen] {
        assert!(
            open_packet(&Keys::derive(suite, b"key"), 42, bytes).is_err(),
            "a packet without the key was taken"
        );
    }
    let _ = parse_response(bytes);
    let _ = parse_open_session_response(bytes);
    let _ = parse_rakp2(bytes);
    let _ = parse_rakp4(bytes);
    let _ = parse_challenge(bytes);
    let _ = parse_activated(bytes);
    let _ = parse_auth_capabilities(bytes);
    let _ = parse_chassis_status(bytes);
    let _ = parse_cipher_suites(bytes);
    let _ = parse_system_guid(bytes);
    let _ = redfish::parse_boot(bytes);
    let _ = http_api::parse_status(bytes);
    let origin = Origin { scheme: Scheme::Https, host: "bmc".to_owned(), port: 443 };
    let _ = redfish::parse_service_root(&origin, bytes);
    let _ = redfish::parse_collection(&origin, bytes);
    let _ = redfish::parse_system(&origin, "/redfish/v1/Systems/1", bytes);
    let _ = redfish::parse_action_info(bytes);
}
