//! The endpoint of a BMC as people write it: a host, `host:port`, or the URL of a Redfish service.
//!
//! Pure; never resolves a name.

use std::fmt::{Display, Formatter};
use std::net::Ipv6Addr;

/// The port of IPMI, where nothing else is given.
pub const DEFAULT_PORT: u16 = 623;

/// Why nothing can be selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum SelectError {
    #[error("unsupported interface: {interface}")]
    Interface { interface: String },
    /// `open` is the machine's own /dev/ipmi0.
    #[error("interface \"open\" works only on the machine itself; use lanplus, lan or redfish")]
    Open,
    #[error("failed to understand the endpoint {endpoint:?}; give a host, host:port or https://host[:port]")]
    Endpoint { endpoint: String },
}

impl SelectError {
    /// Somebody has to change the Server first.
    pub const fn is_retryable(&self) -> bool {
        false
    }

    /// One word for metrics.
    pub const fn category(&self) -> &'static str {
        "unsupported"
    }
}

/// HTTP with or without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where an HTTP service is: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// With or without TLS.
    pub scheme: Scheme,
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Origin {
    /// `host:port` for a `Host` header, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

impl Display for Origin {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A parsed endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port of its own, `host:port`.
    pub port: Option<u16>,
    /// It was a URL: Redfish is there and nowhere else.
    pub url: Option<Origin>,
}

impl Endpoint {
    /// UDP port of IPMI: a port in the endpoint counts more than the separate one; a URL's port is not for IPMI.
    pub fn ipmi_port(&self, port: u16) -> u16 {
        self.port.unwrap_or(port)
    }

    /// Where Redfish may be, in the order of asking. A port other than IPMI's may be meant for Redfish; without TLS only
    /// where a URL says so, as nothing there shows who answers.
    pub fn redfish_origins(&self, port: u16) -> Vec<Origin> {
        if let Some(origin) = &self.url {
            return vec![origin.clone()];
        }
        let origin = |scheme, port| Origin { scheme, host: self.host.clone(), port };
        let given = self.ipmi_port(port);
        let mut origins = Vec::new();
        if self.port.is_none() {
            origins.push(origin(Scheme::Https, Scheme::Https.port()));
        }
        if given != DEFAULT_PORT && (given != Scheme::Https.port() || self.port.is_some()) {
            origins.push(origin(Scheme::Https, given));
        }
        origins
    }
}

/// Longest endpoint looked at: a DNS name has at most 253 characters.
const MAX_LEN: usize = 300;

/// Parses an endpoint.
pub fn parse_endpoint(text: &str) -> Result<Endpoint, SelectError> {
    let bad = || SelectError::Endpoint { endpoint: text.chars().take(MAX_LEN).collect() };
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > MAX_LEN {
        return Err(bad());
    }
    let (scheme, rest) = match trimmed.split_once("://") {
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(_) => return Err(bad()),
        None => (None, trimmed),
    };
    // A URL's path is not used: Redfish starts at /redfish/v1/ by its specification.
    let rest = if scheme.is_some() { rest.split('/').next().unwrap_or_default() } else { rest };
    let (host, port) = host_and_port(rest).ok_or_else(bad)?;
    let url = scheme.map(|scheme| Origin {
        scheme,
        host: host.clone(),
        port: port.unwrap_or_else(|| scheme.port()),
    });
    Ok(Endpoint { host, port: if url.is_some() { None } else { port }, url })
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((address.to_owned(), None)),
            _ => Some((address.to_owned(), Some(port(rest.strip_prefix(':')?)?))),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text.to_owned(), None));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, text)) => (host, Some(port(text)?)),
        None => (text, None),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!host.is_empty() && host.chars().all(allowed)).then(|| (host.to_owned(), port))
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_redfish_candidates_and_the_ipmi_port() {
        let table: [(&str, u16, &[&str], u16); 10] = [
            ("192.0.2.1", 623, &["https://192.0.2.1:443"], 623),
            ("bmc-1.example", 8000, &["https://bmc-1.example:443", "https://bmc-1.example:8000"], 8000),
            ("192.0.2.1", 443, &["https://192.0.2.1:443"], 443),
            ("192.0.2.1:8443", 623, &["https://192.0.2.1:8443"], 8443),
            ("192.0.2.1:443", 623, &["https://192.0.2.1:443"], 443),
            ("https://bmc", 623, &["https://bmc:443"], 623),
            ("http://bmc:8000/redfish/v1/", 6230, &["http://bmc:8000"], 6230),
            ("2001:db8::1", 623, &["https://[2001:db8::1]:443"], 623),
            ("[2001:db8::1]:6230", 623, &["https://[2001:db8::1]:6230"], 6230),
            ("https://[2001:db8::1]/", 623, &["https://[2001:db8::1]:443"], 623),
        ];
        for (text, port, origins, ipmi) in table {
            let endpoint = parse_endpoint(text).unwrap();
            let found: Vec<String> = endpoint.redfish_origins(port).iter().map(Origin::to_string).collect();
            assert_eq!(found, origins, "{text}");
            assert_eq!(endpoint.ipmi_port(port), ipmi, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_endpoint() {
        let long = "a".repeat(301);
        for text in [
            "",
            " ",
            "ftp://bmc",
            "bmc:0",
            "bmc:65536",
            "bmc:",
            ":623",
            "a b",
            "user@bmc",
            "[::1",
            "[bmc]:1",
            "bmc/path",
            "https://",
            "https://user:pass@bmc",
            "bmc\r\nX: y",
            &long,
        ] {
            assert!(matches!(parse_endpoint(text), Err(SelectError::Endpoint { .. })), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,320}", port: u16) {
            if let Ok(endpoint) = parse_endpoint(&text) {
                prop_assert!(endpoint.redfish_origins(port).iter().all(|origin| !origin.host.is_empty()));
            }
        }
    }
}
