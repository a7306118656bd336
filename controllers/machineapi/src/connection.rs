//! The connection to one node: its addresses are tried in turn.

use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::credentials::Credentials;
use crate::error::Error;
use crate::limits::Limits;
use crate::node::Node;

/// Where the Talos API listens.
pub const PORT: u16 = 50_000;

/// Connects to the first of a node's addresses that answers and proves to be it.
pub async fn connect(
    credentials: &Credentials,
    node: &str,
    addresses: &[String],
    limits: Limits,
) -> Result<Node, Error> {
    let mut last = Error::NoAddress { node: node.to_owned() };
    for address in addresses {
        match dial(credentials, address, limits.connect).await {
            Ok(channel) => return Ok(Node::new(channel, address.clone(), limits)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn dial(credentials: &Credentials, address: &str, limit: Duration) -> Result<Channel, Error> {
    let unusable = || Error::Address { address: address.to_owned() };
    let (host, port) = host_and_port(address).ok_or_else(unusable)?;
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let failed = |source| Error::Connect { address: address.to_owned(), source: Box::new(source) };
    let endpoint = Endpoint::from_shared(format!("https://{authority}"))
        .map_err(|_| unusable())?
        .connect_timeout(limit)
        .tls_config(credentials.tls(&host))
        .map_err(failed)?;
    match tokio::time::timeout(limit, endpoint.connect()).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(Error::TimedOut { operation: "connect", address: address.to_owned(), limit }),
    }
}

/// An address may be `host`, `host:port`, an IPv6 address, or that in brackets with a port.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    if address.parse::<IpAddr>().is_ok() {
        return Some((address.to_owned(), PORT));
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (address, PORT),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_usable = !inner.is_empty() && !inner.contains(['[', ']', '/', '@', ' ']);
    (is_usable && port != 0).then(|| (inner.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_have_a_port() {
        let at = |host: &str, port| Some((host.to_owned(), port));
        for (address, expected) in [
            ("10.0.0.1", at("10.0.0.1", PORT)),
            ("10.0.0.1:1234", at("10.0.0.1", 1234)),
            ("fd00::1", at("fd00::1", PORT)),
            ("[fd00::1]:1234", at("fd00::1", 1234)),
            ("[fd00::1]", None),
            ("node.example", at("node.example", PORT)),
            ("node.example:1", at("node.example", 1)),
            ("", None),
            (":50000", None),
            ("10.0.0.1:0", None),
            ("10.0.0.1:99999", None),
            ("user@10.0.0.1", None),
            ("10.0.0.1/evil:80", None),
        ] {
            assert_eq!(host_and_port(address), expected, "{address}");
        }
    }
}
