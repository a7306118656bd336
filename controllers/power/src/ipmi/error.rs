//! What goes wrong with IPMI: in a packet (`ParseError`), or in a conversation (`Error`).
//!
//! Never contains a password or a user name.

use std::io;
use std::sync::Arc;

use crate::error::DriverError;

/// Why bytes are not the packet they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum ParseError {
    #[error("failed to parse {what}: too short")]
    Short { what: &'static str },
    #[error("failed to parse {what}: {field} is 0x{value:02x}")]
    Field { what: &'static str, field: &'static str, value: u8 },
    #[error("failed to parse {what}: its length field is wrong")]
    Length { what: &'static str },
    #[error("failed to parse an IPMI message: wrong checksum")]
    Checksum,
    /// The authentication code is wrong: corrupted or forged.
    #[error("failed to verify a packet: wrong authentication code")]
    Integrity,
    #[error("failed to decrypt a packet")]
    Decrypt,
}

/// Why a conversation with a BMC failed.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to find the address of {host}; check the BMC's endpoint")]
    Resolve {
        host: String,
        /// Resolver's words; none when there is no address.
        source: Option<Arc<io::Error>>,
    },
    #[error("failed to reach {peer}; check the BMC's address and the route to it")]
    Unreachable { peer: String, source: Arc<io::Error> },
    #[error("failed to reach {peer}: nothing listens on that UDP port; is IPMI over LAN enabled in the BMC?")]
    PortClosed { peer: String },
    #[error(
        "failed to get an answer to {step} from {peer} in {tries} tries; check the address, and whether IPMI over LAN is enabled"
    )]
    Silent { peer: String, step: &'static str, tries: u32 },
    #[error("failed to understand {peer}: {ignored} packets came, none was an answer to {step}")]
    Nonsense { peer: String, step: &'static str, ignored: u32, source: ParseError },
    /// A well-formed answer that makes no sense.
    #[error("failed to understand the BMC's answer to {step}")]
    Answer { step: &'static str, source: ParseError },
    #[error(
        "failed to log in: the BMC's proof does not fit the password; wrong password, or a BMC key (Kg) is set"
    )]
    Password,
    /// Silence where a proof was expected.
    #[error("failed to log in: the BMC ignores {step}, as BMCs do when the password is wrong")]
    Ignored { step: &'static str },
    #[error("failed to log in: the BMC refused {step} with status 0x{status:02x}, {}", login_status(*status))]
    Login { step: &'static str, status: u8 },
    #[error("failed to log in: the BMC offers none of cipher suites 17 and 3; enable one in the BMC")]
    NoSuite,
    /// Interface `lanplus` with a BMC of IPMI 1.5.
    #[error("failed to log in: the BMC speaks only IPMI 1.5; set the interface to \"lan\"")]
    OnlyV15,
    /// Interface `lan` with a BMC that has no usable authentication.
    #[error(
        "failed to log in: the BMC offers no IPMI 1.5 authentication of MD5, straight and none; set the interface to \"lanplus\""
    )]
    NoAuthType,
    #[error("failed to log in: the {what} is longer than the {max} bytes that IPMI allows")]
    TooLong { what: &'static str, max: usize },
    #[error("failed at {step}: the BMC refused with code 0x{code:02x}, {}", completion(*code))]
    Refused { step: &'static str, code: u8 },
}

/// Completion code of a privilege that is too low.
const INSUFFICIENT_PRIVILEGE: u8 = 0xd4;

impl DriverError for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Resolve { .. } | Self::Unreachable { .. } => "unreachable",
            Self::Silent { .. } => "timeout",
            Self::Nonsense { .. } | Self::Answer { .. } => "protocol",
            Self::Login { status, .. } if is_busy(*status) => "refused",
            Self::Refused { code: INSUFFICIENT_PRIVILEGE, .. }
            | Self::Login { .. }
            | Self::Password
            | Self::Ignored { .. }
            | Self::TooLong { .. } => "auth",
            Self::NoSuite | Self::OnlyV15 | Self::NoAuthType => "unsupported",
            Self::PortClosed { .. } | Self::Refused { .. } => "refused",
        }
    }
}

/// The BMC has no room for a session now (table 13-15), or is busy (table 5-2).
const fn is_busy(status: u8) -> bool {
    matches!(status, 0x01 | 0xc0)
}

/// Table 13-15 of the specification, and the completion codes of the 1.5 log-in, in a person's words.
const fn login_status(status: u8) -> &'static str {
    match status {
        0x01 | 0xc0 => "it has no free session; try again in a minute",
        0x02 | 0x08 => "it has forgotten the session",
        0x09 | 0xd4 => "the user may not be administrator over LAN",
        0x0c => "it considers a field invalid",
        0x0d => "the user may not log in; check the user name and its privilege on the LAN channel",
        0x0e | 0x0f => "it does not accept the proof of the password; wrong password?",
        0x81 | 0x82 => "it does not know the user name",
        0x04 | 0x05 | 0x10 | 0x11 => "it does not accept the cipher suite",
        _ => "see the IPMI specification, table 13-15",
    }
}

/// Table 5-2 of the specification, in a person's words.
const fn completion(code: u8) -> &'static str {
    match code {
        0xc0 => "it is busy",
        0xc1 => "it does not know the command",
        0xc3 => "it gave up waiting for a part of the machine",
        0xc4 => "it is out of space",
        0xc7..=0xc9 | 0xcc => "it considers the data invalid",
        0xd2 | 0xd3 => "a part of the machine does not answer it",
        INSUFFICIENT_PRIVILEGE => "the user's privilege is too low",
        0xd5 => "the machine's present state does not allow it",
        0xd6 => "the function is disabled",
        _ => "see the IPMI specification, table 5-2",
    }
}
