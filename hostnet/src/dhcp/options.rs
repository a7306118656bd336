//! DHCP options as raw bytes by code: the tolerant half of reading a reply.
//!
//! It must never drop good options because of a bad one beside them. dhcproto stops at the first option
//! it cannot decode and keeps only the last part of a split one, so replies are walked here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// RFC 2132 §3.1 and §3.2.
const PAD: u8 = 0;
const END: u8 = 255;
/// RFC 2132 §9.3: options continue in `file` (1), `sname` (2) or both (3).
const OVERLOAD: u8 = 52;
/// Bytes of an IPv4 address.
const ADDRESS: usize = 4;

/// Option codes (RFC 2132; 121: RFC 3442).
pub(super) mod codes {
    pub(crate) const SUBNET_MASK: u8 = 1;
    pub(crate) const ROUTERS: u8 = 3;
    pub(crate) const NAME_SERVERS: u8 = 6;
    pub(crate) const HOST_NAME: u8 = 12;
    pub(crate) const DOMAIN: u8 = 15;
    pub(crate) const MTU: u8 = 26;
    pub(crate) const NTP_SERVERS: u8 = 42;
    pub(crate) const LEASE_TIME: u8 = 51;
    pub(crate) const MESSAGE_TYPE: u8 = 53;
    pub(crate) const SERVER: u8 = 54;
    pub(crate) const MESSAGE: u8 = 56;
    pub(crate) const T1: u8 = 58;
    pub(crate) const T2: u8 = 59;
    pub(crate) const CLASSLESS_ROUTES: u8 = 121;
}

/// Whether one host can have this address: not 0/8, loopback, multicast, reserved or broadcast.
pub(super) fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// Options by code; parts of split options are joined (RFC 3396).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Reads the options field, and `file` and `sname` when it says that they hold options.
    pub(super) fn read(options: &[u8], file: &[u8], sname: &[u8]) -> Self {
        let mut all = Self::default();
        all.walk(options);
        let overload = all.byte(OVERLOAD).unwrap_or(0);
        if overload & 1 != 0 {
            all.walk(file);
        }
        if overload & 2 != 0 {
            all.walk(sname);
        }
        all
    }

    /// A truncated option at the end is left out; everything before it counts.
    fn walk(&mut self, mut rest: &[u8]) {
        while let Some((&code, after)) = rest.split_first() {
            rest = match code {
                PAD => after,
                END => return,
                code => {
                    let Some((&length, body)) = after.split_first() else { return };
                    let Some((value, next)) = body.split_at_checked(length.into()) else { return };
                    self.0.entry(code).or_default().extend_from_slice(value);
                    next
                }
            };
        }
    }

    pub(super) fn bytes(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    pub(super) fn byte(&self, code: u8) -> Option<u8> {
        match self.bytes(code)? {
            [byte] => Some(*byte),
            _ => None,
        }
    }

    pub(super) fn u16(&self, code: u8) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(code)?.try_into().ok()?))
    }

    pub(super) fn u32(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(code)?.try_into().ok()?))
    }

    pub(super) fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.u32(code).map(Ipv4Addr::from)
    }

    /// All whole addresses of a list option; broken lengths give none.
    pub(super) fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let bytes = self.bytes(code).unwrap_or_default();
        let (whole, rest) = bytes.as_chunks::<ADDRESS>();
        if rest.is_empty() { whole.iter().copied().map(Ipv4Addr::from).collect() } else { Vec::new() }
    }

    /// Text without the NULs that some servers append; none when it is not UTF-8 or empty.
    pub(super) fn text(&self, code: u8) -> Option<&str> {
        let text = std::str::from_utf8(self.bytes(code)?).ok()?.trim_end_matches('\0');
        (!text.is_empty()).then_some(text)
    }

    /// Classless static routes (RFC 3442): prefix length, the significant octets, router.
    /// None when any of it is malformed: half a routing table is worse than the default route.
    pub(super) fn classless_routes(&self, code: u8) -> Option<Vec<(Ipv4Net, Ipv4Addr)>> {
        let mut rest = self.bytes(code)?;
        let mut routes = Vec::new();
        while let Some((&width, after)) = rest.split_first() {
            let significant = usize::from(width.div_ceil(8));
            let (prefix, after) = after.split_at_checked(significant)?;
            let (gateway, next) = after.split_first_chunk::<ADDRESS>()?;
            let mut network = [0; ADDRESS];
            network.get_mut(..significant)?.copy_from_slice(prefix);
            let destination = Ipv4Net::new(Ipv4Addr::from(network), width).ok()?.trunc();
            routes.push((destination, Ipv4Addr::from(*gateway)));
            rest = next;
        }
        (!routes.is_empty()).then_some(routes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(bytes: &[u8]) -> Options {
        Options::read(bytes, &[], &[])
    }

    #[test]
    fn joins_split_options_and_keeps_what_stands_before_a_truncated_one() {
        let read = options(&[12, 2, b'a', b'b', 0, 0, 1, 4, 255, 255, 255, 0, 12, 1, b'c', 3, 9, 1]);
        assert_eq!(read.text(12), Some("abc"));
        assert_eq!(read.address(1), Some(Ipv4Addr::new(255, 255, 255, 0)));
        assert_eq!(read.bytes(3), None);
    }

    #[test]
    fn reads_overloaded_fields_only_when_told() {
        let file = [6, 4, 10, 0, 0, 1, 255];
        let sname = [42, 4, 10, 0, 0, 2, 255];
        for (overload, dns, ntp) in [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)] {
            let read = Options::read(&[52, 1, overload, 255], &file, &sname);
            assert_eq!((read.addresses(6).len(), read.addresses(42).len()), (dns, ntp), "{overload}");
        }
    }

    #[test]
    fn reads_the_examples_of_rfc_3442() {
        let bytes = [
            121, 28, 0, 10, 0, 0, 1, 8, 10, 10, 0, 0, 2, 24, 10, 1, 2, 10, 0, 0, 3, 32, 10, 1, 2, 9, 10, 0,
            0, 4,
        ];
        let routes = options(&bytes).classless_routes(121).unwrap();
        let texts: Vec<String> = routes.iter().map(|(net, via)| format!("{net} {via}")).collect();
        assert_eq!(
            texts,
            ["0.0.0.0/0 10.0.0.1", "10.0.0.0/8 10.0.0.2", "10.1.2.0/24 10.0.0.3", "10.1.2.9/32 10.0.0.4",]
        );
    }

    #[test]
    fn malformed_values_are_none_rather_than_guesses() {
        let read = options(&[
            6, 5, 1, 2, 3, 4, 5, 51, 3, 0, 0, 1, 12, 2, 0xff, 0xfe, 121, 5, 33, 1, 2, 3, 4, 15, 2, 0, 0,
        ]);
        assert!(read.addresses(6).is_empty());
        assert_eq!(read.u32(51), None);
        assert_eq!(read.text(12), None);
        assert_eq!(read.text(15), None);
        assert_eq!(read.classless_routes(121), None);
        assert_eq!(options(&[121, 4, 24, 10, 1, 2]).classless_routes(121), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, file: Vec<u8>, sname: Vec<u8>, code: u8) {
            let read = Options::read(&bytes, &file, &sname);
            let _ = (read.addresses(code), read.text(code), read.classless_routes(code), read.u16(code));
        }
    }
}
