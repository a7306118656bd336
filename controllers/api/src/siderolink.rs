//! SideroLink: the network of an installation, the addresses in it, and how a node is told of it.
//!
//! Never takes an address from a node: it has none but the one that its ServerBinding holds.

pub mod peers;
pub mod report;

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Name of the Secret that says which network an installation has and by which key the plane is known in it.
pub const SECRET_NAME: &str = "siderolink";
/// Key of that Secret: the text that the network comes from.
pub const INSTALLATION_ID: &str = "installation-id";
/// Key of that Secret: the plane's WireGuard private key, base64.
pub const PRIVATE_KEY: &str = "private-key";
/// Name of the network interface.
pub const INTERFACE: &str = "siderolink";
/// What fits into a tunnel over any IPv6 path.
pub const MTU: u32 = 1280;
/// Bits of the network.
pub const PREFIX_LENGTH: u8 = 64;
/// TCP port of the log receiver, on the plane's address in the tunnel.
pub const LOG_PORT: u16 = 4001;
/// Port of the event sink, there too.
pub const EVENT_PORT: u16 = 4002;
/// Name of the document of the kernel log.
pub const LOG_NAME: &str = "remote-log";
/// Kernel argument: where a node asks for its tunnel.
pub const API_ARGUMENT: &str = "siderolink.api";
/// Kernel argument: where a node sends its kernel log.
pub const LOG_ARGUMENT: &str = "talos.logging.kernel";
/// Kernel argument: where a node sends its events.
pub const EVENT_ARGUMENT: &str = "talos.events.sink";

/// Octets of a WireGuard key.
const KEY_LENGTH: usize = 32;
/// First octet of a unique local address (RFC 4193).
const UNIQUE_LOCAL: u8 = 0xfd;
/// Last octet of the network: the kind of network that Sidero has.
const SIDERO_METAL: u8 = 0x03;
/// The plane's address within the network.
const SERVER: u64 = 1;
const API_VERSION: &str = "v1alpha1";

/// The network of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    prefix: u64,
}

impl Network {
    /// The network that an installation id stands for.
    pub fn of_installation(id: &str) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let mut octets = [0; 8];
        // The last 16 octets are an address; its first 8 are the network.
        octets.copy_from_slice(&digest[16..24]);
        octets[0] = UNIQUE_LOCAL;
        octets[7] = SIDERO_METAL;
        Self { prefix: u64::from_be_bytes(octets) }
    }

    /// The plane's address.
    pub fn server(self) -> Ipv6Addr {
        self.host(SERVER)
    }

    /// Whether an address lies in the network.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        network_bits(address) == self.prefix
    }

    /// The address that eight random octets stand for; `None` where it is taken, the plane's or no machine's.
    pub fn node(self, random: [u8; 8], is_taken: impl Fn(Ipv6Addr) -> bool) -> Option<Ipv6Addr> {
        let host = u64::from_be_bytes(random);
        let address = self.host(host);
        // Zero is the anycast address of the network's routers (RFC 4291 section 2.6.1).
        (host > SERVER && !is_taken(address)).then_some(address)
    }

    /// The address that a ServerBinding holds, if it is one of a node of this network. One of another network is of
    /// another installation.
    pub fn kept(self, text: &str) -> Option<Ipv6Addr> {
        let (address, length) = text.split_once('/').unwrap_or((text, "64"));
        let address: Ipv6Addr = address.parse().ok()?;
        let is_whole = length.parse() == Ok(PREFIX_LENGTH);
        (is_whole && self.contains(address) && host_bits(address) > SERVER).then_some(address)
    }

    fn host(self, host: u64) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from(self.prefix) << 64 | u128::from(host))
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{PREFIX_LENGTH}", self.host(0))
    }
}

fn network_bits(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

fn host_bits(address: Ipv6Addr) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    let bits = address.to_bits() as u64;
    bits
}

/// How a ServerBinding holds an address.
pub fn with_prefix(address: Ipv6Addr) -> String {
    format!("{address}/{PREFIX_LENGTH}")
}

/// A WireGuard key in its usual text; `None` for a text of another length or alphabet.
pub fn key(text: &str) -> Option<[u8; KEY_LENGTH]> {
    data_encoding::BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// The text of a key.
pub fn key_text(key: &[u8; KEY_LENGTH]) -> String {
    data_encoding::BASE64.encode(key)
}

/// A private key of 32 random octets, as Curve25519 wants it.
pub fn private_key(mut random: [u8; KEY_LENGTH]) -> [u8; KEY_LENGTH] {
    random[0] &= 0b1111_1000;
    random[31] = random[31] & 0b0111_1111 | 0b0100_0000;
    random
}

/// The documents that tell a node of its tunnel, in the order in which they are appended. `api` is host and port of
/// the boot services as machines reach them, `server` the plane's address in the tunnel.
pub fn documents(api: &str, server: IpAddr) -> [Value; 3] {
    [
        json!({ "apiVersion": API_VERSION, "kind": "SideroLinkConfig", "apiUrl": format!("grpc://{api}") }),
        json!({ "apiVersion": API_VERSION, "kind": "EventSinkConfig", "endpoint": event_sink(server) }),
        json!({ "apiVersion": API_VERSION, "kind": "KmsgLogConfig", "name": LOG_NAME, "url": log_url(server) }),
    ]
}

/// The kernel arguments that tell a node of it before it has a configuration, key and value.
pub fn kernel_arguments(api: &str, server: IpAddr) -> [(&'static str, String); 3] {
    [(API_ARGUMENT, api.to_owned()), (LOG_ARGUMENT, log_url(server)), (EVENT_ARGUMENT, event_sink(server))]
}

fn event_sink(server: IpAddr) -> String {
    std::net::SocketAddr::new(server, EVENT_PORT).to_string()
}

fn log_url(server: IpAddr) -> String {
    format!("tcp://{}", std::net::SocketAddr::new(server, LOG_PORT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_network_comes_from_the_installation() {
        let cases = [
            (
                "AKfdafTbmPeEqjtDc3OPGK9FriGO7CCBBIOZG4RjgmY=",
                "fdae:2859:5bb1:7a03::/64",
                "fdae:2859:5bb1:7a03::1",
            ),
            ("test-installation", "fd1a:417e:7824:ca03::/64", "fd1a:417e:7824:ca03::1"),
        ];
        for (id, network, server) in cases {
            let found = Network::of_installation(id);
            assert_eq!(found.to_string(), network, "{id}");
            assert_eq!(found.server().to_string(), server, "{id}");
        }
    }

    #[test]
    fn a_node_never_gets_an_address_that_is_not_free() {
        let network = Network::of_installation("test-installation");
        let taken: Ipv6Addr = "fd1a:417e:7824:ca03::9".parse().unwrap();
        let cases = [
            ([0; 8], None),
            ([0, 0, 0, 0, 0, 0, 0, 1], None),
            ([0, 0, 0, 0, 0, 0, 0, 9], None),
            ([0, 0, 0, 0, 0, 0, 0, 2], Some("fd1a:417e:7824:ca03::2")),
            ([0xff; 8], Some("fd1a:417e:7824:ca03:ffff:ffff:ffff:ffff")),
        ];
        for (random, expected) in cases {
            let found = network.node(random, |address| address == taken);
            assert_eq!(found.map(|address| address.to_string()).as_deref(), expected, "{random:?}");
        }
    }

    #[test]
    fn only_an_address_of_a_node_of_this_network_is_kept() {
        let network = Network::of_installation("test-installation");
        let cases = [
            ("fd1a:417e:7824:ca03::9/64", true),
            ("fd1a:417e:7824:ca03::9", true),
            ("fd1a:417e:7824:ca03::9/128", false),
            ("fd1a:417e:7824:ca03::9/", false),
            ("fd1a:417e:7824:ca03::1/64", false),
            ("fd1a:417e:7824:ca03::/64", false),
            ("fd1a:417e:7824:ca04::9/64", false),
            ("10.0.0.1/64", false),
            ("", false),
        ];
        for (text, is_kept) in cases {
            assert_eq!(network.kept(text).is_some(), is_kept, "{text}");
        }
    }

    #[test]
    fn nodes_are_told_as_by_sidero() {
        let server = "fdae:41e4:649b:9303::1".parse().unwrap();
        let expected = [
            json!({ "apiVersion": "v1alpha1", "kind": "SideroLinkConfig", "apiUrl": "grpc://10.77.0.2:8081" }),
            json!({ "apiVersion": "v1alpha1", "kind": "EventSinkConfig", "endpoint": "[fdae:41e4:649b:9303::1]:4002" }),
            json!({ "apiVersion": "v1alpha1", "kind": "KmsgLogConfig", "name": "remote-log",
                "url": "tcp://[fdae:41e4:649b:9303::1]:4001" }),
        ];
        assert_eq!(documents("10.77.0.2:8081", server), expected);
        let arguments = [
            ("siderolink.api", "10.77.0.2:8081".to_owned()),
            ("talos.logging.kernel", "tcp://[fdae:41e4:649b:9303::1]:4001".to_owned()),
            ("talos.events.sink", "[fdae:41e4:649b:9303::1]:4002".to_owned()),
        ];
        assert_eq!(kernel_arguments("10.77.0.2:8081", server), arguments);
        let [_, events, log] = documents("192.168.1.1:8081", "192.168.1.1".parse().unwrap());
        assert_eq!(
            (&events["endpoint"], &log["url"]),
            (&json!("192.168.1.1:4002"), &json!("tcp://192.168.1.1:4001"))
        );
    }

    #[test]
    fn keys_are_read_as_wireguard_writes_them() {
        let text = "AKfdafTbmPeEqjtDc3OPGK9FriGO7CCBBIOZG4RjgmY=";
        assert_eq!(key(text).map(|key| key_text(&key)).as_deref(), Some(text));
        for bad in ["", "abc", "AKfdafTbmPeEqjtDc3OPGK9FriGO7CCBBIOZG4RjgmY", "AKfd", &text.repeat(2), " "] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_a_node_gets_is_kept(id in ".{0,40}", random in any::<[u8; 8]>()) {
            let network = Network::of_installation(&id);
            prop_assert_eq!(network.server().octets()[0], 0xfd);
            if let Some(address) = network.node(random, |_| false) {
                prop_assert_ne!(address, network.server());
                prop_assert_eq!(network.kept(&with_prefix(address)), Some(address));
            }
        }

        #[test]
        fn no_text_crashes_it(text in ".{0,60}") {
            Network::of_installation("a").kept(&text);
            key(&text);
        }

        #[test]
        fn a_private_key_is_clamped(random in any::<[u8; 32]>()) {
            let key = private_key(random);
            prop_assert_eq!((key[0] & 7, key[31] >> 6), (0, 1));
        }
    }
}
