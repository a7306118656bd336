//! The other services' loopback health addresses, asked for what the network may see through 8443: metrics and traces.
//!
//! Never asks anything but loopback, and never waits for long: a service that hangs is left out and said to be down.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, header};
use bloomery_pairing::http::{self, ExchangeError, Full};
use tokio::net::TcpStream;

/// Everything about one question; the services answer in milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Traces of 10,000 machines fit.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A service and its health address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name, as in the table of services.
    pub name: String,
    /// Where it serves `/metrics`, on loopback.
    pub address: SocketAddr,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read {0:?} as NAME=ADDRESS:PORT with a loopback address")]
pub struct NotANeighbour(String);

impl FromStr for Neighbour {
    type Err = NotANeighbour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || NotANeighbour(text.to_owned());
        let (name, address) = text.split_once('=').ok_or_else(refuse)?;
        let address: SocketAddr = address.parse().map_err(|_| refuse())?;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if name.is_empty() || !plain || !address.ip().is_loopback() {
            return Err(refuse());
        }
        Ok(Self { name: name.to_owned(), address })
    }
}

/// Why a service gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("failed to connect")]
    Connect(#[source] std::io::Error),
    #[error("failed to ask")]
    Ask(#[source] ExchangeError),
    #[error("failed to make the request")]
    Request(#[source] axum::http::Error),
    #[error("failed to get an answer: HTTP {0}")]
    Refused(StatusCode),
    #[error("failed to get an answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Late,
}

impl Neighbour {
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, AskError> {
        tokio::time::timeout(ANSWER_TIMEOUT, self.ask(path)).await.unwrap_or(Err(AskError::Late))
    }

    async fn ask(&self, path: &str) -> Result<Bytes, AskError> {
        let stream = TcpStream::connect(self.address).await.map_err(AskError::Connect)?;
        let request = Request::get(path)
            .header(header::HOST, self.address.to_string())
            .body(Full::default())
            .map_err(AskError::Request)?;
        let answer = http::exchange(stream, request, MAX_ANSWER_BYTES).await.map_err(AskError::Ask)?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => Err(AskError::Refused(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_loopback_addresses_are_neighbours() {
        let good: Neighbour = "bootsvc=127.0.0.1:9442".parse().unwrap();
        assert_eq!((good.name.as_str(), good.address.port()), ("bootsvc", 9442));
        for bad in
            ["127.0.0.1:1", "=127.0.0.1:1", "a=10.0.0.1:1", "a=localhost:1", "a\"=127.0.0.1:1", "a=::1"]
        {
            assert_eq!(bad.parse::<Neighbour>(), Err(NotANeighbour(bad.to_owned())), "{bad}");
        }
    }
}
