//! The scalars of the file: each parser gives its value or the sentence that says what is allowed.

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// RFC 1035 §2.3.4, and Linux's `HOST_NAME_MAX`, which is shorter than a DNS name may be.
const MAX_HOSTNAME: usize = 64;
/// RFC 1035 §2.3.4: 255 octets on the wire are 253 characters.
const MAX_DNS_NAME: usize = 253;
/// RFC 1035 §2.3.4.
const MAX_LABEL: usize = 63;
/// `IFNAMSIZ` without the final zero.
const MAX_INTERFACE: usize = 15;
/// x86's `COMMAND_LINE_SIZE`.
const MAX_KERNEL_ARGS: usize = 2048;
/// Upstream's spelling of "nothing" in an install variable.
const NOTHING: &str = "-";

/// The flag that names a file in the place of all others.
#[cfg(feature = "clap")]
pub(crate) const FILE: &str = "options";

/// A time span in Go's notation (`20m`, `1h30m`, `90s`): the form that Sidero's flags take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GoDuration {
    text: String,
    duration: Duration,
}

impl GoDuration {
    /// So many minutes.
    pub(crate) fn minutes(minutes: u64) -> Self {
        Self { text: format!("{minutes}m"), duration: Duration::from_secs(minutes * 60) }
    }

    /// The span.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Reads Go's notation; zero and negative spans are refused, since none of the options means them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = || "a time span above zero in Go's notation, such as 20m, 90s or 1h30m".to_owned();
        let mut rest = text;
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(allowed)?;
            let (number, tail) = rest.split_at(digits);
            let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let seconds =
                number.parse::<f64>().map_err(|_| allowed())? * unit_seconds(unit).ok_or_else(allowed)?;
            let part = Duration::try_from_secs_f64(seconds).map_err(|_| allowed())?;
            total = total.checked_add(part).ok_or_else(allowed)?;
            rest = tail;
        }
        // Go counts nanoseconds in 64 bits with sign.
        if total.is_zero() || i64::try_from(total.as_nanos()).is_err() {
            return Err(allowed());
        }
        Ok(Self { text: text.to_owned(), duration: total })
    }
}

impl TryFrom<String> for GoDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<GoDuration> for String {
    fn from(GoDuration { text, duration: _ }: GoDuration) -> Self {
        text
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= MAX_LABEL
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_dns_name(text: &str, limit: usize) -> bool {
    text.len() <= limit && text.split('.').all(is_label)
}

/// RFC 1123 §2.1, lower case as Kubernetes wants it.
pub(crate) fn hostname(text: &str) -> Result<String, String> {
    // A name of digits and dots only is taken for an address by everything that reads it.
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_dns_name(text, MAX_HOSTNAME) && !numeric {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "a host name of at most {MAX_HOSTNAME} lower case letters, digits, dots and inner dashes (RFC 1123)"
        ))
    }
}

/// A host name or an address, without scheme and port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_dns_name(text, MAX_DNS_NAME) && !numeric {
        Ok(text.to_owned())
    } else {
        Err("a host name in lower case or an IP address, without scheme and port".to_owned())
    }
}

/// As [`host`]; upstream's `-` and the empty string mean none, which is the empty string.
pub(crate) fn endpoint(text: &str) -> Result<String, String> {
    match text.trim() {
        "" | NOTHING => Ok(String::new()),
        text => host(text),
    }
}

/// A number from 0 to 1.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "a number from 0 to 1".to_owned())
}

/// A kernel interface name (`dev_valid_name` in Linux's net/core/dev.c).
pub(crate) fn interface(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.len() <= MAX_INTERFACE
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("an interface name of at most {MAX_INTERFACE} characters, such as eth0"))
    }
}

/// As [`interface`], for names that are handed on in a list, where a comma would end one.
pub(crate) fn listed_interface(text: &str) -> Result<String, String> {
    if text.contains(',') { Err("an interface name without a comma".to_owned()) } else { interface(text) }
}

/// A host's own address with its prefix length.
pub(crate) fn address(text: &str) -> Result<Ipv4Net, String> {
    let allowed = || "an IPv4 host address with its prefix length, such as 192.168.1.10/24".to_owned();
    let net: Ipv4Net = text.parse().map_err(|_| allowed())?;
    let address = net.addr();
    let reserved = address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback()
        || net.prefix_len() == 0
        || (net.prefix_len() < 31 && (address == net.network() || address == net.broadcast()));
    if reserved { Err(allowed()) } else { Ok(net) }
}

/// An IPv4 address.
pub(crate) fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| "an IPv4 address, such as 192.168.1.1".to_owned())
}

/// An IPv4 or IPv6 address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "an IP address, such as 192.168.1.1".to_owned())
}

/// A network; upstream's `-` means none.
pub(crate) fn network(text: &str) -> Result<Option<String>, String> {
    if text == NOTHING {
        return Ok(None);
    }
    match text.parse::<IpNet>() {
        Ok(net) => Ok(Some(net.to_string())),
        Err(_) => Err("a network with its prefix length, such as 10.96.0.0/12".to_owned()),
    }
}

/// Kernel arguments; upstream's `-` means none.
pub(crate) fn kernel_args(text: &str) -> Result<String, String> {
    if text == NOTHING {
        return Ok(String::new());
    }
    // They end up in an iPXE script line, so they must stay on that line.
    if text.len() <= MAX_KERNEL_ARGS && text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(format!("kernel arguments in one line of at most {MAX_KERNEL_ARGS} printable ASCII characters"))
    }
}
