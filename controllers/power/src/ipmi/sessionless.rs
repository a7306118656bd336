//! Commands outside a session: IPMI 1.5 packets without authentication, which every BMC understands.
//!
//! Never sends anything secret.

use super::error::{Error, ParseError};
use super::lan15::{AuthType, packet, parse_session_packet};
use super::link::{Constant, Link};
use super::message::Request;
use super::rmcp;
use super::rmcp_plus::{PayloadType, open_plain};

const NO_PASSWORD: [u8; 16] = [0; 16];

/// Asks and gives the data. Requests of the same command differ in `number`, so that a late answer fits none but its own.
pub(super) async fn ask(link: &Link, number: u8, request: Request<'_>) -> Result<Vec<u8>, Error> {
    let message = request.encode(number);
    let (code, data) = link
        .exchange(
            request.step,
            Constant::new(packet(AuthType::None, &NO_PASSWORD, 0, 0, &message), |bytes| {
                request.answer(number, payload(bytes)?)
            }),
        )
        .await?;
    if code == 0 { Ok(data) } else { Err(Error::Refused { step: request.step, code }) }
}

/// The message in an answer. BMCs made with pyghmi (`VirtualBMC`) list their cipher suites in a packet of RMCP+.
fn payload(bytes: &[u8]) -> Result<&[u8], ParseError> {
    open_plain(bytes, PayloadType::Ipmi)
        .or_else(|_| Ok(parse_session_packet(rmcp::parse_ipmi(bytes)?)?.payload))
}
