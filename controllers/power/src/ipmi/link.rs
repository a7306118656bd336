//! The UDP socket to one BMC: sends, waits for the answer, sends again.
//!
//! Never takes a packet for an answer by itself: the question decides, and what it refuses is skipped.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::error::{Error, ParseError};
use crate::endpoint::authority;

/// Longest datagram looked at: IPMI packets have at most a few hundred bytes.
const MAX_DATAGRAM: usize = 1500;

/// How patient a conversation is.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Wait for an answer before a packet is sent again; later waits are longer.
    pub first_wait: Duration,
    /// How often a packet is sent.
    pub tries: u32,
}

impl Default for Timing {
    fn default() -> Self {
        // BMCs answer within 100 ms, when busy within a second or two: 1 + 1 + 2 + 2 s until one counts as dead.
        Self { first_wait: Duration::from_secs(1), tries: 4 }
    }
}

/// One question to a BMC.
pub(super) trait Question {
    /// What is wanted of the answer.
    type Answer;
    /// The packet to send, anew for every try.
    fn packet(&mut self) -> Vec<u8>;
    /// Looks at a packet: `None` if it answers something else, an error if it is broken.
    fn accept(&mut self, bytes: &[u8]) -> Result<Option<Self::Answer>, ParseError>;
}

/// A question whose packet is always the same.
pub(super) struct Constant<A>(Vec<u8>, A);

impl<T, A: FnMut(&[u8]) -> Result<Option<T>, ParseError>> Constant<A> {
    /// Sends `packet`; `accept` looks at what comes.
    pub(super) const fn new(packet: Vec<u8>, accept: A) -> Self {
        Self(packet, accept)
    }
}

impl<T, A: FnMut(&[u8]) -> Result<Option<T>, ParseError>> Question for Constant<A> {
    type Answer = T;

    fn packet(&mut self) -> Vec<u8> {
        self.0.clone()
    }

    fn accept(&mut self, bytes: &[u8]) -> Result<Option<T>, ParseError> {
        (self.1)(bytes)
    }
}

#[derive(Debug)]
pub(super) struct Link {
    socket: UdpSocket,
    peer: String,
    timing: Timing,
}

impl Link {
    /// Finds the address and connects; sends nothing.
    pub(super) async fn open(host: &str, port: u16, timing: Timing) -> Result<Self, Error> {
        let failed = |source| Error::Resolve { host: host.to_owned(), source };
        let address = lookup_host((host, port))
            .await
            .map_err(|source| failed(Some(Arc::new(source))))?
            .next()
            .ok_or_else(|| failed(None))?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let peer = authority(host, port);
        let connect = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        match connect.await {
            Ok(socket) => Ok(Self { socket, peer, timing }),
            Err(error) => Err(network_error(peer, error)),
        }
    }

    /// Sends the question until it accepts an answer.
    pub(super) async fn exchange<Q: Question>(
        &self,
        step: &'static str,
        question: Q,
    ) -> Result<Q::Answer, Error> {
        self.exchange_at_most(self.timing.tries, step, question).await
    }

    /// The same with fewer tries.
    pub(super) async fn exchange_at_most<Q: Question>(
        &self,
        tries: u32,
        step: &'static str,
        mut question: Q,
    ) -> Result<Q::Answer, Error> {
        let mut buffer = [0; MAX_DATAGRAM];
        let mut ignored = 0;
        let mut last = None;
        for number in 0..tries {
            self.socket
                .send(&question.packet())
                .await
                .map_err(|error| network_error(self.peer.clone(), error))?;
            let until = Instant::now() + self.timing.first_wait * (1 + number / 2);
            while let Ok(received) = timeout_at(until, self.socket.recv(&mut buffer)).await {
                let length = received.map_err(|error| network_error(self.peer.clone(), error))?;
                match question.accept(buffer.get(..length).unwrap_or_default()) {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => {}
                    Err(error) => {
                        ignored += 1;
                        last = Some(error);
                    }
                }
            }
        }
        let peer = self.peer.clone();
        Err(match last {
            Some(source) => Error::Nonsense { peer, step, ignored, source },
            None => Error::Silent { peer, step, tries },
        })
    }

    /// Sends a packet that needs no answer, without waiting; loses it when the network is busy.
    pub(super) fn send_and_forget(&self, packet: &[u8]) {
        // Its loss is the BMC's own timeout's to mend.
        let _ = self.socket.try_send(packet);
    }
}

fn network_error(peer: String, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::ConnectionRefused => Error::PortClosed { peer },
        _ => Error::Unreachable { peer, source: Arc::new(error) },
    }
}
