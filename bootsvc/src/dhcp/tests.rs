//! Packets of real firmware (tests/captures) and hand-made ones, answered and taken apart.

mod capture;
mod replay;
mod robustness;
mod socket;
mod vectors;

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::Decoder;
use dhcproto::v4::{self, Decodable, DhcpOption, OptionCode};

use super::decide::{Listener, Server};
use super::serve::respond;
use crate::metrics::Metrics;

/// Our address in these tests, and in the captures.
const SERVER: Server = Server { address: Ipv4Addr::new(10, 77, 0, 3), http_port: 8081 };
/// A client without address.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);

/// The answer to one datagram, and where it goes.
fn answer(datagram: &[u8], source: SocketAddrV4, listener: Listener) -> Option<(Answer, SocketAddrV4)> {
    let (reply, destination) = respond(datagram, source, listener, SERVER, &Metrics::default())?;
    assert!(reply.len() >= 300, "{} octets", reply.len());
    Some((decode(&reply), destination))
}

fn decode(reply: &[u8]) -> Answer {
    Answer(v4::Message::decode(&mut Decoder::new(reply)).unwrap())
}

/// A decoded answer.
#[derive(Debug)]
struct Answer(v4::Message);

impl Answer {
    /// An option's octets as they are on the wire.
    fn option(&self, code: u8) -> Option<Vec<u8>> {
        let option = self.0.opts().get(OptionCode::from(code))?;
        let mut octets = Vec::new();
        let mut encoder = dhcproto::Encoder::new(&mut octets);
        dhcproto::Encodable::encode(option, &mut encoder).unwrap();
        Some(octets.split_off(2))
    }

    fn text(&self, code: u8) -> Option<String> {
        self.option(code).map(|octets| String::from_utf8(octets).unwrap())
    }

    fn message_type(&self) -> Option<v4::MessageType> {
        match self.0.opts().get(OptionCode::MessageType) {
            Some(DhcpOption::MessageType(kind)) => Some(*kind),
            _ => None,
        }
    }
}
