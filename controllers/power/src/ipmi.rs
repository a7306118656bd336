//! IPMI over LAN: RMCP+ sessions of IPMI 2.0 (cipher suites 17 and 3) and sessions of IPMI 1.5.
//!
//! Own wire code, not the crate `ipmi-rs`: its 0.6 has cipher suite 3 only, sends nothing twice, closes no session,
//! checks neither sequence numbers nor checksums, and panics on packets a BMC may send.
//! The wire modules are sans-IO: bytes in, type or typed error out, and nothing a BMC sends makes them panic.

mod commands;
mod driver;
mod error;
mod lan15;
mod link;
mod message;
mod rakp;
mod rmcp;
mod rmcp_plus;
mod session;
mod session15;
mod session20;
mod sessionless;
mod suite;

pub use commands::{
    AuthCapabilities, Step, parse_auth_capabilities, parse_chassis_status, parse_cipher_suites,
    parse_system_guid, steps,
};
pub use driver::Ipmi;
pub use error::{Error, ParseError};
pub use lan15::{AuthType, SessionPacket, parse_activated, parse_challenge, parse_session_packet};
pub use link::Timing;
pub use message::{Request, Response, parse_response};
pub use rakp::{OpenSession, Rakp2, Rakp4, parse_open_session_response, parse_rakp2, parse_rakp4};
pub use rmcp::{Class, parse_rmcp};
pub use rmcp_plus::{Header, PayloadType, open_packet, parse_session_header};
pub use session::Credentials;
pub use suite::{Keys, Suite};
