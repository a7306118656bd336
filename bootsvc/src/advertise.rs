//! Which address clients are sent to: the one they reached us by, or the configured one.
//!
//! A name that does not resolve, or an address that no interface has, never stops a service
//! (spec/sidero.md §11 number 19).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How often a configured name is resolved again; DNS entries of load balancers move slowly.
const RESOLVE_EVERY: Duration = Duration::from_mins(1);
/// How soon it is tried again after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Longest host name (RFC 1035 section 2.3.4), which bounds what a Host header can put into a script.
const MAX_HOST_LEN: usize = 253;

/// Host and port as they stand in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// An address, IPv6 in brackets.
    pub fn of_address(address: IpAddr, port: u16) -> Self {
        let host = match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        Self { host, port }
    }

    /// Reads a Host header or `--api-endpoint`: name, IPv4 or IPv6 address, with or without port.
    /// None if it holds anything that has no place in a URL.
    pub fn parse(text: &str, default_port: u16) -> Option<Self> {
        if let Ok(IpAddr::V6(bare)) = text.parse() {
            return Some(Self::of_address(bare.into(), default_port));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: std::net::Ipv6Addr = address.parse().ok()?;
                (format!("[{address}]"), port)
            }
            None => match text.split_once(':') {
                Some((host, port)) if !port.is_empty() => {
                    (host.to_owned(), &text[text.len() - port.len() - 1..])
                }
                Some(_) => return None,
                None => (text.to_owned(), ""),
            },
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|&port| port > 0)?,
            None if port.is_empty() => default_port,
            None => return None,
        };
        let bracketed = host.starts_with('[');
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_');
        if !bracketed && (host.is_empty() || host.len() > MAX_HOST_LEN || !host.bytes().all(plain)) {
            return None;
        }
        Some(Self { host, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Answers where a client is to go next.
#[derive(Debug, Clone)]
pub struct Advertise {
    fixed: Option<Arc<Endpoint>>,
    port: u16,
    resolved: watch::Receiver<Option<Ipv4Addr>>,
}

/// The part of [`Advertise`] that keeps a configured name resolved.
#[derive(Debug)]
pub struct Resolver {
    target: Option<Arc<Endpoint>>,
    resolved: watch::Sender<Option<Ipv4Addr>>,
}

impl Advertise {
    /// `fixed` is `--api-endpoint`; `port` is `--api-port`.
    pub fn new(fixed: Option<Endpoint>, port: u16) -> (Self, Resolver) {
        let fixed = fixed.map(Arc::new);
        let literal = fixed.as_ref().and_then(|endpoint| endpoint.host.parse().ok());
        let (sender, resolved) = watch::channel(literal);
        let advertise = Self { fixed: fixed.clone(), port, resolved };
        let target = if literal.is_some() { None } else { fixed };
        (advertise, Resolver { target, resolved: sender })
    }

    /// The port clients use.
    pub fn port(&self) -> u16 {
        self.fixed.as_ref().map_or(self.port, |endpoint| endpoint.port)
    }

    /// The endpoint for a client that asked `local`, an address of ours.
    pub fn endpoint_at(&self, local: IpAddr) -> Endpoint {
        match &self.fixed {
            Some(endpoint) => endpoint.as_ref().clone(),
            None => Endpoint::of_address(local, self.port),
        }
    }

    /// The endpoint for an HTTP client: by the name it used, else by the address it asked.
    pub fn endpoint_for(&self, host_header: Option<&str>, local: SocketAddr) -> Endpoint {
        /// Port that a Host header without one means (RFC 9110 section 4.2.1).
        const HTTP_PORT: u16 = 80;
        match &self.fixed {
            Some(endpoint) => endpoint.as_ref().clone(),
            None => host_header
                .and_then(|header| Endpoint::parse(header, HTTP_PORT))
                .unwrap_or_else(|| Endpoint::of_address(local.ip(), local.port())),
        }
    }

    /// The address for DHCP answers through the interface with address `interface`.
    pub fn dhcp_server(&self, interface: Ipv4Addr) -> Ipv4Addr {
        (*self.resolved.borrow()).unwrap_or(interface)
    }
}

impl Resolver {
    /// Keeps the configured name resolved; ends at once if there is nothing to resolve.
    pub async fn run(self) {
        let Some(target) = self.target else { return };
        loop {
            let pause = match resolve(&target).await {
                Ok(address) => {
                    if self.resolved.send_replace(Some(address)) != Some(address) {
                        tracing::info!(endpoint = %target, %address, "api endpoint resolved");
                    }
                    RESOLVE_EVERY
                }
                Err(error) => {
                    tracing::warn!(endpoint = %target, error = bloomery_base::chain(&error), "api endpoint does not resolve; dhcp answers name the interface's own address");
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

async fn resolve(target: &Endpoint) -> std::io::Result<Ipv4Addr> {
    tokio::net::lookup_host((target.host.as_str(), target.port))
        .await?
        .find_map(|address| match address.ip() {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "name has no IPv4 address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_with_and_without_port() {
        let cases = [
            ("10.0.0.1", Some("10.0.0.1:8081")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("plane.example.com:8081", Some("plane.example.com:8081")),
            ("fd00::1", Some("[fd00::1]:8081")),
            ("[fd00::1]", Some("[fd00::1]:8081")),
            ("[fd00::1]:81", Some("[fd00::1]:81")),
            ("", None),
            ("host:", None),
            ("host:0", None),
            ("host:65536", None),
            ("host:1:2", None),
            ("[fd00::1]81", None),
            ("[nope]:81", None),
            ("a b", None),
            ("x/../y", None),
            ("x\nkernel http://evil/", None),
            ("${uuid}", None),
        ];
        for (text, expected) in cases {
            let endpoint = Endpoint::parse(text, 8081).map(|endpoint| endpoint.to_string());
            assert_eq!(endpoint.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn follows_the_client_unless_an_endpoint_is_configured() {
        let local: SocketAddr = "10.77.0.3:8081".parse().unwrap();
        let (free, _resolver) = Advertise::new(None, 8081);
        assert_eq!(free.endpoint_for(Some("plane:8081"), local).to_string(), "plane:8081");
        assert_eq!(free.endpoint_for(Some("plane"), local).to_string(), "plane:80");
        assert_eq!(free.endpoint_for(Some("bad host"), local).to_string(), "10.77.0.3:8081");
        assert_eq!(
            free.endpoint_for(None, "[::ffff:10.0.0.1]:8081".parse().unwrap()).to_string(),
            "10.0.0.1:8081"
        );
        assert_eq!(free.dhcp_server(Ipv4Addr::new(10, 77, 0, 3)), Ipv4Addr::new(10, 77, 0, 3));

        let (fixed, _resolver) = Advertise::new(Endpoint::parse("192.0.2.9", 8081), 8081);
        assert_eq!(fixed.endpoint_for(Some("plane:8081"), local).to_string(), "192.0.2.9:8081");
        assert_eq!(fixed.endpoint_at(local.ip()).to_string(), "192.0.2.9:8081");
        assert_eq!(fixed.dhcp_server(Ipv4Addr::new(10, 77, 0, 3)), Ipv4Addr::new(192, 0, 2, 9));
    }

    #[tokio::test]
    async fn resolves_a_name_in_the_background() {
        let (named, resolver) = Advertise::new(Endpoint::parse("localhost", 8081), 8081);
        let interface = Ipv4Addr::new(10, 77, 0, 3);
        assert_eq!(named.dhcp_server(interface), interface);
        let mut changes = named.resolved.clone();
        let task = tokio::spawn(resolver.run());
        changes.changed().await.unwrap();
        assert_eq!(named.dhcp_server(interface), Ipv4Addr::LOCALHOST);
        task.abort();
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_breaks_a_url_gets_through(text in ".{0,64}") {
            if let Some(endpoint) = Endpoint::parse(&text, 8081) {
                let url = format!("http://{endpoint}/");
                let parsed: http::Uri = url.parse().unwrap();
                assert_eq!(parsed.path(), "/");
                assert_eq!(parsed.port_u16(), Some(endpoint.port()));
            }
        }
    }
}
