//! Reads the UDP datagrams of a classic pcap file (Ethernet, IPv4).

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

/// One datagram of a capture.
pub(super) struct Datagram {
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    pub(super) payload: Vec<u8>,
}

/// All UDP datagrams of `tests/captures/NAME`, in order.
pub(super) fn read(name: &str) -> Vec<Datagram> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name);
    let file = std::fs::read(&path).unwrap();
    let little = file[..4] == [0xd4, 0xc3, 0xb2, 0xa1];
    assert!(little || file[..4] == [0xa1, 0xb2, 0xc3, 0xd4], "{name} is no classic pcap");
    let mut rest = &file[24..];
    let mut datagrams = Vec::new();
    while let Some((header, tail)) = rest.split_at_checked(16) {
        let len: [u8; 4] = header[8..12].try_into().unwrap();
        let len = if little { u32::from_le_bytes(len) } else { u32::from_be_bytes(len) };
        let (frame, next) = tail.split_at(len as usize);
        datagrams.extend(udp(frame));
        rest = next;
    }
    datagrams
}

/// Names of all captures.
pub(super) fn names() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "pcap"))
        .collect();
    names.sort();
    names
}

fn udp(frame: &[u8]) -> Option<Datagram> {
    const ETHERNET: usize = 14;
    const UDP_PROTOCOL: u8 = 17;
    let ip = frame.get(ETHERNET..).filter(|_| frame[12..14] == [0x08, 0x00])?;
    let header = usize::from(ip[0] & 0x0f) * 4;
    if ip[9] != UDP_PROTOCOL {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let udp = &ip[header..];
    let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    Some(Datagram {
        source: SocketAddrV4::new(address(12), word(0)),
        destination: SocketAddrV4::new(address(16), word(2)),
        payload: udp[8..usize::from(word(4))].to_vec(),
    })
}
