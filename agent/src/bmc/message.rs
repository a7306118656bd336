//! IPMI requests and answers as bytes (IPMI 2.0 specification, chapters 22 and 23).
//!
//! It must never read beyond an answer: a BMC may send anything.

use std::net::Ipv4Addr;

/// Network functions.
const APP: u8 = 0x06;
const TRANSPORT: u8 = 0x0c;
/// LAN parameters (table 23-4).
const IP_ADDRESS: u8 = 3;
const PRIMARY_PORT: u8 = 8;
/// Channel medium of 802.3 LANs (table 6-3).
const MEDIUM_LAN: u8 = 0x04;
/// Administrator (table 22-30).
const ADMINISTRATOR: u8 = 0x04;
/// Names and passwords are padded to this.
pub const FIELD: usize = 16;

#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub netfn: u8,
    pub command: u8,
    pub data: Vec<u8>,
    /// For messages; the data may hold a password.
    pub name: &'static str,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

fn app(name: &'static str, command: u8, data: &[u8]) -> Request {
    Request { netfn: APP, command, data: data.to_vec(), name }
}

/// What kind of channel this is (22.24).
pub fn get_channel_info(channel: u8) -> Request {
    app("Get Channel Info", 0x42, &[channel])
}

/// Whether the answer describes `channel` and that is a LAN.
pub fn is_lan_channel(channel: u8, answer: &[u8]) -> bool {
    matches!(answer, [number, medium, ..] if number & 0x0f == channel && medium & 0x7f == MEDIUM_LAN)
}

/// A LAN channel's address (23.2).
pub fn get_ip_address(channel: u8) -> Request {
    lan_parameter("Get LAN Configuration (address)", channel, IP_ADDRESS)
}

/// The address, after the parameter's revision; `None` if there is none.
pub fn ip_address(answer: &[u8]) -> Option<Ipv4Addr> {
    let address = Ipv4Addr::from(*answer.get(1..)?.first_chunk::<4>()?);
    (!address.is_unspecified() && !address.is_broadcast()).then_some(address)
}

/// A LAN channel's RMCP port (23.2).
pub fn get_port(channel: u8) -> Request {
    lan_parameter("Get LAN Configuration (port)", channel, PRIMARY_PORT)
}

/// The port, after the parameter's revision; `None` if the BMC gives none.
pub fn port(answer: &[u8]) -> Option<u16> {
    let port = u16::from_le_bytes(*answer.get(1..)?.first_chunk()?);
    (port != 0).then_some(port)
}

fn lan_parameter(name: &'static str, channel: u8, parameter: u8) -> Request {
    Request { netfn: TRANSPORT, command: 0x02, data: vec![channel & 0x0f, parameter, 0, 0], name }
}

/// How many users there can be (22.27). Any user's access tells.
pub fn get_user_access(channel: u8, user: u8) -> Request {
    app("Get User Access", 0x44, &[channel & 0x0f, user])
}

pub fn user_limit(answer: &[u8]) -> Option<u8> {
    answer.first().map(|byte| byte & 0x3f)
}

/// Whether the answer about a user says that it is disabled; BMCs of before that field say nothing.
pub fn is_disabled(answer: &[u8]) -> bool {
    answer.get(1).is_some_and(|byte| byte >> 6 == 0b10)
}

/// A user's name (22.29).
pub fn get_user_name(user: u8) -> Request {
    app("Get User Name", 0x46, &[user])
}

/// The name; `None` where the slot is free. Some BMCs say so in words.
pub fn user_name(answer: &[u8]) -> Option<String> {
    let name: Vec<u8> = answer.iter().copied().take(FIELD).take_while(|byte| *byte != 0).collect();
    // Flash that was never written.
    if name.iter().all(|byte| *byte == 0xff) {
        return None;
    }
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    (!name.is_empty() && name != "(Empty User)").then_some(name)
}

/// Names a user (22.28).
pub fn set_user_name(user: u8, name: &str) -> Request {
    let mut data = vec![user];
    data.extend(padded(name));
    app("Set User Name", 0x45, &data)
}

/// Gives a user a password of at most 16 bytes (22.30, operation 2).
pub fn set_password(user: u8, password: &str) -> Request {
    let mut data = vec![user & 0x3f, 0x02];
    data.extend(padded(password));
    app("Set User Password", 0x47, &data)
}

/// Enables a user (22.30, operation 1).
pub fn enable_user(user: u8) -> Request {
    app("Set User Password (enable)", 0x47, &[user & 0x3f, 0x01])
}

/// Makes a user an administrator with IPMI messaging on the channel (22.26), spec §5.4.
pub fn set_user_access(channel: u8, user: u8) -> Request {
    app("Set User Access", 0x43, &[0x90 | channel & 0x0f, user & 0x3f, ADMINISTRATOR, 0x00])
}

fn padded(text: &str) -> [u8; FIELD] {
    let mut field = [0; FIELD];
    field.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    field
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_the_bytes_of_the_specification() {
        for (request, netfn, command, data) in [
            (get_channel_info(1), 6, 0x42, vec![1]),
            (get_ip_address(1), 0x0c, 2, vec![1, 3, 0, 0]),
            (get_port(2), 0x0c, 2, vec![2, 8, 0, 0]),
            (get_user_access(1, 1), 6, 0x44, vec![1, 1]),
            (get_user_name(2), 6, 0x46, vec![2]),
            (set_user_name(3, "sidero"), 6, 0x45, b"\x03sidero\0\0\0\0\0\0\0\0\0\0".to_vec()),
            (set_password(3, "0123456789abcdef"), 6, 0x47, b"\x03\x020123456789abcdef".to_vec()),
            (enable_user(3), 6, 0x47, vec![3, 1]),
            (set_user_access(1, 3), 6, 0x43, vec![0x91, 3, 4, 0]),
            (set_user_access(8, 3), 6, 0x43, vec![0x98, 3, 4, 0]),
        ] {
            assert_eq!((request.netfn, request.command, request.data.clone()), (netfn, command, data));
        }
    }

    #[test]
    fn a_request_shows_no_password() {
        assert_eq!(format!("{:?}", set_password(2, "hunter2")), "Set User Password");
    }

    #[test]
    fn answers_are_understood() {
        assert!(is_lan_channel(1, &[1, 4, 1, 0x80, 0xf2, 0x1b, 0, 0, 0]));
        for other in [&[1, 0x0c, 1][..], &[2, 4, 1], &[1], &[]] {
            assert!(!is_lan_channel(1, other));
        }
        assert_eq!(ip_address(&[0x11, 10, 0, 0, 9]), Some(Ipv4Addr::new(10, 0, 0, 9)));
        for none in [&[0x11, 0, 0, 0, 0][..], &[0x11, 10, 0, 0], &[]] {
            assert_eq!(ip_address(none), None);
        }
        assert_eq!(port(&[0x11, 0x6f, 0x02]), Some(623));
        assert_eq!((port(&[0x11, 0, 0]), port(&[0x11, 1])), (None, None));
        assert_eq!(user_limit(&[0xca, 1, 1, 4]), Some(10));
        assert!(is_disabled(&[10, 0x82, 1, 4]));
        assert!(!is_disabled(&[10, 0x42, 1, 4]) && !is_disabled(&[10, 2, 1, 4]) && !is_disabled(&[10]));
        assert_eq!(user_name(b"admin\0\0\0\0\0\0\0\0\0\0\0").as_deref(), Some("admin"));
        for free in [&[0; 16][..], &[0xff; 16], b"(Empty User)\0\0\0\0", b"   ", b""] {
            assert_eq!(user_name(free), None);
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_parser_panic(answer in prop::collection::vec(any::<u8>(), 0..40), channel: u8) {
            let _ = (is_lan_channel(channel, &answer), port(&answer), user_limit(&answer));
            prop_assert!(user_limit(&answer).is_none_or(|limit| limit < 64));
            prop_assert!(user_name(&answer).is_none_or(|name| !name.is_empty()));
            prop_assert!(ip_address(&answer).is_none_or(|address| !address.is_unspecified()));
        }

        #[test]
        fn fields_have_their_length_whatever_is_put_in(text in "\\PC{0,40}") {
            prop_assert_eq!(set_user_name(1, &text).data.len(), 17);
            prop_assert_eq!(set_password(1, &text).data.len(), 18);
        }
    }
}
