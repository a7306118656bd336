//! The commands, byte by byte (spec/sidero.md §6), and the data that comes back.
//!
//! Never sends anything.

use super::error::ParseError;
use super::lan15::AuthType;
use super::message::Request;
use super::rakp::ADMINISTRATOR;
use super::suite::Suite;
use crate::bmc::{Action, Power, PxeMode};
use crate::identity::Guid;

const CHASSIS: u8 = 0x00;
const APP: u8 = 0x06;
/// Chassis commands.
const GET_STATUS: u8 = 0x01;
const CONTROL: u8 = 0x02;
const SET_BOOT_OPTIONS: u8 = 0x08;
/// App commands.
const GET_AUTH_CAPABILITIES: u8 = 0x38;
const GET_CHALLENGE: u8 = 0x39;
const ACTIVATE: u8 = 0x3a;
const SET_PRIVILEGE: u8 = 0x3b;
const CLOSE: u8 = 0x3c;
const GET_CIPHER_SUITES: u8 = 0x54;
const GET_SYSTEM_GUID: u8 = 0x37;
/// Parameter 3, bit 3: the time since Chassis Control does not clear the boot flags' valid bit.
const KEEP_FOR_SLOW_BOOTS: u8 = 0x08;
/// "The channel this came through".
const THIS_CHANNEL: u8 = 0x0e;
/// Ask for what IPMI 2.0 added.
const WITH_V2: u8 = 0x80;

/// One command of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What to send.
    pub request: Request<'static>,
    /// A refusal of it does not matter.
    pub optional: bool,
}

const fn step(step: &'static str, command: u8, data: &'static [u8]) -> Step {
    Step { request: Request { step, netfn: CHASSIS, command, data }, optional: false }
}

pub(super) const STATUS: Request<'static> =
    Request { step: "Get Chassis Status", netfn: CHASSIS, command: GET_STATUS, data: &[] };

const OFF: [Step; 1] = [step("Chassis Control (off)", CONTROL, &[0x00])];
const ON: [Step; 1] = [step("Chassis Control (on)", CONTROL, &[0x01])];
const CYCLE: [Step; 1] = [step("Chassis Control (cycle)", CONTROL, &[0x02])];
const PXE_BIOS: [Step; 6] = pxe(&[0x05, 0x80, 0x04, 0x00, 0x00, 0x00]);
const PXE_UEFI: [Step; 6] = pxe(&[0x05, 0xa0, 0x04, 0x00, 0x00, 0x00]);

/// A step about parameter 0, the lock around the others, or 3: many BMCs have none of it and refuse it, and set the
/// boot flags all the same.
const fn optional(name: &'static str, data: &'static [u8]) -> Step {
    Step { request: step(name, SET_BOOT_OPTIONS, data).request, optional: true }
}

const fn pxe(flags: &'static [u8]) -> [Step; 6] {
    [
        optional("Set Boot Options (set in progress)", &[0x00, 0x01]),
        // Else the flags lose their valid bit 60 s after the last Chassis Control (table 28-14), and a self-test that
        // takes longer ends at the disk.
        optional("Set Boot Options (valid until used)", &[0x03, KEEP_FOR_SLOW_BOOTS]),
        step("Set Boot Options (acknowledge)", SET_BOOT_OPTIONS, &[0x04, 0x01, 0x01]),
        step("Set Boot Options (boot flags)", SET_BOOT_OPTIONS, flags),
        optional("Set Boot Options (commit)", &[0x00, 0x02]),
        optional("Set Boot Options (set complete)", &[0x00, 0x00]),
    ]
}

/// The commands of an action, in order.
pub const fn steps(action: Action) -> &'static [Step] {
    match action {
        Action::On => &ON,
        Action::Off => &OFF,
        Action::Cycle => &CYCLE,
        Action::PxeOnce(PxeMode::Bios) => &PXE_BIOS,
        Action::PxeOnce(PxeMode::Uefi) => &PXE_UEFI,
    }
}

pub(super) const SYSTEM_GUID: Request<'static> =
    Request { step: "Get System GUID", netfn: APP, command: GET_SYSTEM_GUID, data: &[] };

/// Parses the data of Get System GUID, as the octets came.
pub fn parse_system_guid(data: &[u8]) -> Result<Guid, ParseError> {
    let (octets, _) = data.split_first_chunk::<16>().ok_or(ParseError::Short { what: "a system GUID" })?;
    Ok(Guid::new(*octets))
}

/// Parses the data of Get Chassis Status.
pub fn parse_chassis_status(data: &[u8]) -> Result<Power, ParseError> {
    match data {
        [state, ..] => Ok(if state & 1 == 0 { Power::Off } else { Power::On }),
        [] => Err(ParseError::Short { what: "a chassis status" }),
    }
}

/// Get Channel Authentication Capabilities, of IPMI 2.0 or 1.5.
pub(super) const fn auth_capabilities(v2: bool) -> Request<'static> {
    let data: &[u8] =
        if v2 { &[THIS_CHANNEL | WITH_V2, ADMINISTRATOR] } else { &[THIS_CHANNEL, ADMINISTRATOR] };
    Request {
        step: "Get Channel Authentication Capabilities",
        netfn: APP,
        command: GET_AUTH_CAPABILITIES,
        data,
    }
}

/// What a BMC offers for a log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthCapabilities {
    /// Bits of the 1.5 authentication types.
    types: u8,
    /// Sessions of IPMI 2.0; none if the BMC did not say.
    pub v2: Option<bool>,
}

impl AuthCapabilities {
    /// The best 1.5 authentication.
    pub fn best_auth_type(&self) -> Option<AuthType> {
        [AuthType::Md5, AuthType::Straight, AuthType::None]
            .into_iter()
            .find(|kind| self.types & (1 << kind.byte()) != 0)
    }
}

/// Parses the data of Get Channel Authentication Capabilities.
pub fn parse_auth_capabilities(data: &[u8]) -> Result<AuthCapabilities, ParseError> {
    match data {
        [_channel, types, _status, extended, ..] => {
            let v2 = (types & WITH_V2 != 0).then_some(extended & 2 != 0);
            Ok(AuthCapabilities { types: types & 0x3f, v2 })
        }
        _ => Err(ParseError::Short { what: "authentication capabilities" }),
    }
}

/// Data of Get Channel Cipher Suites: the 16 bytes of records number `index`.
pub(super) const fn cipher_suites_data(index: u8) -> [u8; 3] {
    [THIS_CHANNEL, 0x00, 0x80 | index]
}

pub(super) const fn cipher_suites(data: &[u8]) -> Request<'_> {
    Request { step: "Get Channel Cipher Suites", netfn: APP, command: GET_CIPHER_SUITES, data }
}

/// Finds our suites in cipher suite records, the best first; anything else is skipped.
pub fn parse_cipher_suites(records: &[u8]) -> Vec<Suite> {
    // A standard record is its start, then the id; bytes below 0xc0 are algorithms of the record before.
    let listed = |id: u8| records.windows(2).any(|pair| pair == [0xc0, id]);
    [(17, Suite::Seventeen), (3, Suite::Three)]
        .into_iter()
        .filter_map(|(id, suite)| listed(id).then_some(suite))
        .collect()
}

pub(super) const fn challenge(data: &[u8]) -> Request<'_> {
    Request { step: "Get Session Challenge", netfn: APP, command: GET_CHALLENGE, data }
}

pub(super) const fn activate(data: &[u8]) -> Request<'_> {
    Request { step: "Activate Session", netfn: APP, command: ACTIVATE, data }
}

/// Set Session Privilege Level to administrator: sessions start with the user's.
pub(super) const SET_ADMINISTRATOR: Request<'static> = Request {
    step: "Set Session Privilege Level",
    netfn: APP,
    command: SET_PRIVILEGE,
    data: &[ADMINISTRATOR],
};

pub(super) const fn close(session: &[u8; 4]) -> Request<'_> {
    Request { step: "Close Session", netfn: APP, command: CLOSE, data: session }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(action: Action) -> Vec<(u8, u8, &'static [u8], bool)> {
        steps(action)
            .iter()
            .map(|Step { request, optional }| (request.netfn, request.command, request.data, *optional))
            .collect()
    }

    #[test]
    fn sends_the_bytes_of_the_specification() {
        assert_eq!((STATUS.netfn, STATUS.command, STATUS.data), (0, 1, &[][..]));
        assert_eq!(bytes(Action::Off), [(0, 2, &[0][..], false)]);
        assert_eq!(bytes(Action::On), [(0, 2, &[1][..], false)]);
        assert_eq!(bytes(Action::Cycle), [(0, 2, &[2][..], false)]);
        for (mode, flags) in [(PxeMode::Bios, 0x80), (PxeMode::Uefi, 0xa0)] {
            let expected = [
                (0, 8, &[0, 1][..], true),
                (0, 8, &[3, 8], true),
                (0, 8, &[4, 1, 1], false),
                (0, 8, &[5, flags, 4, 0, 0, 0], false),
                (0, 8, &[0, 2], true),
                (0, 8, &[0, 0], true),
            ];
            assert_eq!(bytes(Action::PxeOnce(mode)), expected);
        }
    }

    #[test]
    fn power_is_the_lowest_bit_of_the_first_byte() {
        assert_eq!(parse_chassis_status(&[0x21, 0, 0]).unwrap(), Power::On);
        assert_eq!(parse_chassis_status(&[0x60, 0xff, 0xff, 0]).unwrap(), Power::Off);
        assert!(parse_chassis_status(&[]).is_err());
    }

    #[test]
    fn a_system_guid_has_sixteen_octets() {
        let octets: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(parse_system_guid(&octets).unwrap(), Guid::new(octets));
        assert!(parse_system_guid(octets.get(1..).unwrap()).is_err());
    }

    #[test]
    fn prefers_md5_and_says_whether_ipmi_2_is_there() {
        let parse = |types, extended| parse_auth_capabilities(&[1, types, 0, extended, 0, 0, 0, 0]).unwrap();
        assert_eq!(parse(0x97, 2).best_auth_type(), Some(AuthType::Md5));
        assert_eq!(parse(0x13, 2).best_auth_type(), Some(AuthType::Straight));
        assert_eq!(parse(0x01, 2).best_auth_type(), Some(AuthType::None));
        assert_eq!(parse(0x02, 2).best_auth_type(), None);
        assert_eq!(
            (parse(0x80, 2).v2, parse(0x80, 1).v2, parse(0x04, 0).v2),
            (Some(true), Some(false), None)
        );
        assert!(parse_auth_capabilities(&[1, 2, 3]).is_err());
    }

    #[test]
    fn finds_cipher_suites_in_records() {
        let record =
            |id, algorithms: [u8; 3]| [0xc0, id, algorithms[0], algorithms[1] | 0x40, algorithms[2] | 0x80];
        let records = [record(1, [1, 0, 0]), record(3, [1, 1, 1]), record(17, [3, 4, 1])].concat();
        assert_eq!(parse_cipher_suites(&records), [Suite::Seventeen, Suite::Three]);
        assert_eq!(parse_cipher_suites(&records[..10]), [Suite::Three]);
        // Suite 0x80 of a vendor, whose bytes look like nothing of ours.
        assert!(parse_cipher_suites(&[0xc1, 0x80, 0x57, 0x01, 0x00, 0x03, 0x44, 0x81]).is_empty());
        assert!(parse_cipher_suites(&[0xc0]).is_empty());
    }
}
