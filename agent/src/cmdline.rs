//! The kernel arguments that say which plane started this machine and over which network card (spec §3.4).
//!
//! It must never guess an argument that is not there.

use bloomery_agent_api::{PLANE_ARGUMENT, TOKEN_ARGUMENT};
use bloomery_hostnet::MacAddr;
use bloomery_hostnet::mac::ParseMacError;

use crate::token::Token;

/// Where the kernel shows its arguments.
pub const PATH: &str = "/proc/cmdline";
/// The hardware address of the card that the machine booted from.
const MAC: &str = "sidero.mac";
/// `host:port` of the plane's HTTP and gRPC.
const ENDPOINT: &str = "sidero.endpoint";

/// What the boot script told the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// The card that the machine booted from.
    pub mac: MacAddr,
    /// `host:port`, an IPv6 host in brackets.
    pub endpoint: String,
    /// What ties this agent to its boot; other planes' scripts give none.
    pub token: Option<Token>,
    /// Fingerprint of the plane's sealing key; other planes' scripts give none.
    pub plane: Option<String>,
}

/// What is wrong with the kernel arguments.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not given, or empty.
    #[error("failed to find the kernel argument {name}")]
    Missing { name: &'static str },
    #[error("failed to read the kernel argument {MAC}")]
    Mac(#[source] ParseMacError),
    /// Not the address of one card (zero or a group).
    #[error("failed to accept {mac} as the hardware address of a network card")]
    NoCard { mac: MacAddr },
    /// Not `host:port`.
    #[error("failed to read {endpoint:?} as HOST:PORT in the kernel argument {ENDPOINT}")]
    Endpoint { endpoint: String },
}

/// Reads the arguments from the kernel's command line. The last of several wins, as in the kernel.
pub fn parse(cmdline: &str) -> Result<Arguments, Error> {
    let arguments = split(cmdline);
    let value = |name: &'static str| {
        arguments
            .iter()
            .rev()
            .filter_map(|argument| argument.split_once('='))
            .find(|(key, value)| *key == name && !value.is_empty())
            .map(|(_, value)| value)
            .ok_or(Error::Missing { name })
    };
    let mac: MacAddr = value(MAC)?.parse().map_err(Error::Mac)?;
    if !mac.is_unicast() {
        return Err(Error::NoCard { mac });
    }
    let endpoint = value(ENDPOINT)?;
    if !is_host_and_port(endpoint) {
        return Err(Error::Endpoint { endpoint: endpoint.to_owned() });
    }
    let token = value(TOKEN_ARGUMENT).ok().and_then(Token::new);
    let plane = value(PLANE_ARGUMENT).ok().map(str::to_owned);
    Ok(Arguments { mac, endpoint: endpoint.to_owned(), token, plane })
}

/// The arguments, separated by blanks outside of double quotes (kernel: `lib/cmdline.c`), without the quotes.
fn split(cmdline: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let mut quoted = false;
    for character in cmdline.chars() {
        match character {
            '"' => quoted = !quoted,
            blank if blank.is_whitespace() && !quoted => arguments.push(String::new()),
            other => arguments.last_mut().into_iter().for_each(|last| last.push(other)),
        }
    }
    arguments
}

/// `name:port`, `1.2.3.4:port` or `[v6]:port`, with nothing that would change the meaning of a URL.
fn is_host_and_port(endpoint: &str) -> bool {
    let Some((host, port)) = endpoint.rsplit_once(':') else { return false };
    if port.parse::<u16>().is_ok_and(|port| port != 0) && port.bytes().all(|byte| byte.is_ascii_digit()) {
        match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(address)) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            Some(None) => false,
            None => {
                bloomery_sys::host::is_valid_name(host) || bloomery_hostnet::resolv::host_name(host).is_some()
            }
        }
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "console=ttyS0 sidero.mac=52-54-00-AB-CD-EF sidero.endpoint=10.0.0.1:8081 panic=30";

    #[test]
    fn reads_mac_in_any_notation_and_endpoint() {
        let arguments = parse(GOOD).unwrap();
        assert_eq!(arguments.mac.to_string(), "52:54:00:ab:cd:ef");
        assert_eq!(arguments.endpoint, "10.0.0.1:8081");
    }

    #[test]
    fn the_last_of_several_wins_and_quotes_are_undone() {
        let line = format!(
            "{GOOD} sidero.mac= \"sidero.endpoint=plane.example:80\" x=\"a b sidero.endpoint=no:1\"\n"
        );
        assert_eq!(parse(&line).unwrap().endpoint, "plane.example:80");
        assert_eq!(parse(&line).unwrap().mac.to_string(), "52:54:00:ab:cd:ef");
    }

    #[test]
    fn takes_the_token_if_there_is_one() {
        assert_eq!(parse(GOOD).unwrap().token, None);
        assert_eq!(parse(&format!("{GOOD} bloomery.token=")).unwrap().token, None);
        assert_eq!(parse(&format!("{GOOD} bloomery.token=AbC-_1")).unwrap().token, Token::new("AbC-_1"));
    }

    #[test]
    fn takes_the_fingerprint_of_the_planes_key_if_there_is_one() {
        assert_eq!(parse(GOOD).unwrap().plane, None);
        assert_eq!(parse(&format!("{GOOD} bloomery.plane=")).unwrap().plane, None);
        let given = parse(&format!("{GOOD} bloomery.plane=47DEQpj8HBSa-_TImW")).unwrap();
        assert_eq!(given.plane.as_deref(), Some("47DEQpj8HBSa-_TImW"));
    }

    #[test]
    fn says_which_argument_is_missing() {
        assert_eq!(parse("sidero.endpoint=a:1"), Err(Error::Missing { name: MAC }));
        assert_eq!(parse("sidero.mac=52:54:00:ab:cd:ef"), Err(Error::Missing { name: ENDPOINT }));
        assert_eq!(parse("sidero.mac= sidero.endpoint=a:1"), Err(Error::Missing { name: MAC }));
    }

    #[test]
    fn refuses_what_the_boot_script_did_not_fill_in() {
        for mac in ["${net0/mac}", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "1"] {
            let line = format!("sidero.mac={mac} sidero.endpoint=a:1");
            assert!(matches!(parse(&line), Err(Error::Mac(_) | Error::NoCard { .. })), "{mac}");
        }
        for endpoint in
            ["host", ":1", "a:0", "a:65536", "a:+1", "a/b:1", "u@h:1", "[::1:1", "[x]:1", "::1:1", "a:1/x"]
        {
            let line = format!("sidero.mac=52:54:00:ab:cd:ef sidero.endpoint={endpoint}");
            assert!(matches!(parse(&line), Err(Error::Endpoint { .. })), "{endpoint}");
        }
        assert!(parse("sidero.mac=525400abcdef sidero.endpoint=[fd00::1]:8081").is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(line in "(\\PC|sidero|=|\\.mac|\\.endpoint|\"|:| ){0,60}") {
            let _ = parse(&line);
        }
    }
}
