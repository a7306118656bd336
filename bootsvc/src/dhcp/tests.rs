//! Packets of real firmware (tests/captures) and hand-made ones, answered and taken apart.

mod capture;
mod replay;
mod robustness;
mod socket;
mod vectors;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, LazyLock};

use dhcproto::Decoder;
use dhcproto::v4::{self, Decodable, DhcpOption, OptionCode};

use super::decide::{Listener, Server};
use super::serve::{Context, respond};
use super::wire::option;
use crate::advertise::Advertise;
use crate::edge::Edge;
use crate::loaders::{Loader, LoaderStore};
use crate::machines::Machines;
use crate::servers::Servers;

/// Our address in these tests, and in the captures.
const SERVER: Server<'_> = Server {
    interface: "eth0",
    on: Ipv4Addr::new(10, 77, 0, 3),
    address: Ipv4Addr::new(10, 77, 0, 3),
    http_port: 8081,
};
/// A client without address.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);

/// A plane with all loaders, and the directory they are in.
static COMPLETE: LazyLock<(tempfile::TempDir, Context)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    for loader in Loader::ALL {
        std::fs::write(directory.path().join(loader.file_name()), b"loader").unwrap();
    }
    let context = context(directory.path());
    (directory, context)
});

/// A plane in charge, with the loaders of `directory`.
fn context(directory: &std::path::Path) -> Context {
    // A receiver keeps its last value when the sender is gone.
    let (_, acts) = tokio::sync::watch::channel(true);
    Context {
        edge: Edge::new(Advertise::new(None, 8081).0, LoaderStore::new(directory)),
        log: Arc::default(),
        acts,
        machines: Machines::default(),
        // They are not listed: nobody can tell who is accepted.
        servers: Servers::default(),
    }
}

/// The answer to one datagram, and where it goes.
fn answer(datagram: &[u8], source: SocketAddrV4, listener: Listener) -> Option<(Answer, SocketAddrV4)> {
    let mut reply = Vec::new();
    let destination = respond(datagram, source, listener, SERVER, &COMPLETE.1, &mut reply)?;
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

    /// An option's text as clients of C read it. Names of files and servers end with a NUL (case F16).
    fn text(&self, code: u8) -> Option<String> {
        let mut octets = self.option(code)?;
        if matches!(code, option::TFTP_SERVER | option::BOOT_FILE) {
            assert_eq!(octets.pop(), Some(0), "option {code} does not end");
        }
        Some(String::from_utf8(octets).unwrap())
    }

    fn message_type(&self) -> Option<v4::MessageType> {
        match self.0.opts().get(OptionCode::MessageType) {
            Some(DhcpOption::MessageType(kind)) => Some(*kind),
            _ => None,
        }
    }
}
