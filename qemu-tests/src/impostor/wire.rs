//! Connections from one of the host's addresses, of both families.

use bloomery_agent_api::{TOKEN_METADATA, agent_client::AgentClient};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io,
    net::{SocketAddr, SocketAddrV6},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tonic::transport::{Channel, Endpoint};

/// A plane on the same network answers a connection at once.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// One question, its time in the queue included.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// One call, the same.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// Longest answer that is read.
const LONGEST: u64 = 64 * 1024;
/// Open files: all held connections, and some to spare.
const FILES: u64 = 8192;

/// One address of the host, and the plane's as it is reached from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The host's.
    pub from: SocketAddr,
    /// The plane's HTTP port.
    pub plane: SocketAddr,
}

impl Way {
    /// The plane as URLs name it.
    fn authority(self) -> String {
        match self.plane {
            SocketAddr::V4(plane) => plane.to_string(),
            SocketAddr::V6(plane) => SocketAddrV6::new(*plane.ip(), plane.port(), 0, 0).to_string(),
        }
    }

    /// `v4` or `v6`.
    pub fn family(self) -> &'static str {
        if self.plane.is_ipv4() { "v4" } else { "v6" }
    }

    /// A connection.
    ///
    /// # Errors
    /// The plane refuses it or does not answer.
    pub async fn connect(self) -> io::Result<TcpStream> {
        let socket = if self.plane.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(self.from)?;
        tokio::time::timeout(CONNECT_LIMIT, socket.connect(self.plane)).await.map_err(io::Error::other)?
    }

    /// Asks for a path; gives the status and what follows the head.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(self, path: &str) -> io::Result<(u16, String)> {
        let talk = async {
            let mut stream = self.connect().await?;
            let host = self.authority();
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.take(LONGEST).read_to_end(&mut answer).await?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = tokio::time::timeout(ANSWER_LIMIT, talk).await.map_err(io::Error::other)??;
        parse(&answer).ok_or_else(|| io::Error::other("the answer is none"))
    }

    /// The agent's service, over a connection of its own.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn agent(self) -> Result<AgentClient<Channel>, tonic::transport::Error> {
        let connector =
            tower::service_fn(move |_: http::Uri| async move { self.connect().await.map(TokioIo::new) });
        let endpoint = Endpoint::from_shared(format!("http://{}", self.authority()))?;
        let endpoint = endpoint.connect_timeout(CONNECT_LIMIT).timeout(CALL_LIMIT);
        endpoint.connect_with_connector(connector).await.map(AgentClient::new)
    }
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A call that shows a token, or none.
pub fn call<T>(message: T, token: Option<&str>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token.and_then(|token| token.parse().ok()) {
        request.metadata_mut().insert(TOKEN_METADATA, token);
    }
    request
}

/// Index of a card, by which addresses of its link are told.
///
/// # Errors
/// There is no such card here.
pub fn scope(card: &str) -> io::Result<u32> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    Ok(rustix::net::netdevice::name_to_index(&socket, card)?)
}

/// As many files as allowed: fewer only make the attack smaller.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(FILES).min(FILES);
    if limit.current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        assert_eq!(
            parse("HTTP/1.1 200 OK\r\na: b\r\n\r\n#!ipxe\nexit\n"),
            Some((200, "#!ipxe\nexit\n".to_owned()))
        );
        assert_eq!(parse("HTTP/1.1 503 x\r\n\r\n"), Some((503, String::new())));
        for none in ["", "\r\n\r\n", "HTTP/1.1 x\r\n\r\n"] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_link_address_is_named_without_its_scope() {
        let plane = SocketAddr::V6(SocketAddrV6::new([0xfe80, 0, 0, 0, 0, 0, 0, 1].into(), 8081, 0, 3));
        assert_eq!(Way { from: plane, plane }.authority(), "[fe80::1]:8081");
    }
}
