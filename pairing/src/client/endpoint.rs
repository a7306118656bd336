//! Where an appliance is: `HOST` or `HOST:PORT`, as people write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::wire::APPLIANCE_PORT;

/// Longest DNS name (RFC 1035 §2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// Host and port of the appliance's HTTPS interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// `host` is a DNS name or an address, an IPv6 one without brackets.
    pub fn new(host: &str, port: u16) -> Result<Self, EndpointError> {
        let address = host.parse::<IpAddr>().is_ok();
        let name = !host.is_empty()
            && host.len() <= MAX_HOST_BYTES
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        if address || name {
            Ok(Self { host: host.to_owned(), port })
        } else {
            Err(EndpointError::Host { host: host.to_owned() })
        }
    }

    /// DNS name or address; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `https://HOST:PORT` for another port of the same host.
    pub fn url(&self, port: u16) -> String {
        format!("https://{}", Self { host: self.host.clone(), port })
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let text = text.strip_prefix("https://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        // An IPv6 address without a port needs no brackets.
        if text.parse::<Ipv6Addr>().is_ok() {
            return Self::new(text, APPLIANCE_PORT);
        }
        if let Some((host, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            if host.parse::<Ipv6Addr>().is_err() {
                return Err(EndpointError::Host { host: host.to_owned() });
            }
            return match port.strip_prefix(':') {
                Some(port) => Self::new(host, parse_port(port)?),
                None if port.is_empty() => Self::new(host, APPLIANCE_PORT),
                None => Err(EndpointError::Port { port: port.to_owned() }),
            };
        }
        match text.rsplit_once(':') {
            Some((host, port)) => Self::new(host, parse_port(port)?),
            None => Self::new(text, APPLIANCE_PORT),
        }
    }
}

fn parse_port(text: &str) -> Result<u16, EndpointError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(EndpointError::Port { port: text.to_owned() }),
        Ok(port) => Ok(port),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EndpointError {
    #[error("failed to read the endpoint: {host:?} is neither a DNS name nor an IP address")]
    Host { host: String },
    #[error("failed to read the endpoint: {port:?} is not a port (1 to 65535)")]
    Port { port: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, shown) in [
            ("192.0.2.7", "192.0.2.7:8443"),
            ("192.0.2.7:443", "192.0.2.7:443"),
            ("bloomery.example", "bloomery.example:8443"),
            (" https://bloomery.example:8443/ ", "bloomery.example:8443"),
            ("2001:db8::7", "[2001:db8::7]:8443"),
            ("[2001:db8::7]", "[2001:db8::7]:8443"),
            ("[2001:db8::7]:443", "[2001:db8::7]:443"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!("2001:db8::7".parse::<Endpoint>().unwrap().url(6443), "https://[2001:db8::7]:6443");
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            ":8443",
            "http://host",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
            "[host]:1",
            "a b",
            "[::1]x",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(text in "[a-z0-9.:\\[\\]/-]{0,20}|.*") {
            if let Ok(endpoint) = text.parse::<Endpoint>() {
                prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint));
            }
        }
    }
}
