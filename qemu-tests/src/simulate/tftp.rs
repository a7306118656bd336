//! Reading a loader by TFTP as UEFI and PXE ROMs do (RFC 1350, 2347 to 2349, 7440).
//!
//! Content is counted and thrown away, but for scripts, which are kept.

use super::{network, trouble::Trouble};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::net::UdpSocket;

/// Block size of OVMF: an Ethernet frame less its headers.
const BLOCK_SIZE: u16 = 1468;
/// The same where nothing is granted.
const DEFAULT_BLOCK_SIZE: u16 = 512;
/// Blocks without an acknowledgement, as OVMF asks since 2020.
const WINDOW: u16 = 4;
/// Wait for a packet, and how often: OVMF's figures.
const WAIT: Duration = Duration::from_secs(4);
const TRIES: u32 = 6;
/// Opcode and block number.
const HEADER: usize = 4;
const OP_READ: u16 = 1;
const OP_DATA: u16 = 3;
const OP_ACK: u16 = 4;
const OP_ERROR: u16 = 5;
const OP_OPTION_ACK: u16 = 6;
/// "Option negotiation failed" (RFC 2347): how UEFI ends its question for the size.
const TERMINATE: u16 = 8;
/// Longest script that is kept.
const KEPT: usize = 16 * 1024;

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Octets received.
    pub len: u64,
    /// Its beginning.
    pub head: Vec<u8>,
}

/// Reads `file`: first its size alone, like UEFI, then all of it, or only its first block.
///
/// # Errors
/// The server refuses, is silent, or says something else than TFTP.
pub async fn read(from: Ipv4Addr, server: SocketAddr, file: &str, whole: bool) -> Result<File, Trouble> {
    let trouble = |problem: String| Trouble::Tftp { file: file.to_owned(), problem };
    size(from, server, file).await.map_err(trouble)?;
    download(from, server, file, whole).await.map_err(trouble)
}

/// One transfer: a socket, and the server's end of it once it has answered.
struct Transfer {
    socket: UdpSocket,
    peer: SocketAddr,
    last: Vec<u8>,
    buffer: Vec<u8>,
}

impl Transfer {
    async fn open(from: Ipv4Addr, server: SocketAddr) -> Result<Self, String> {
        let socket = network::datagrams(from).await.map_err(|error| error.to_string())?;
        let buffer = vec![0; HEADER + usize::from(BLOCK_SIZE)];
        Ok(Self { socket, peer: server, last: Vec::new(), buffer })
    }

    async fn send(&mut self, packet: Vec<u8>) -> Result<(), String> {
        self.last = packet;
        self.socket.send_to(&self.last, self.peer).await.map(drop).map_err(|error| error.to_string())
    }

    /// The next packet: opcode, its second number, and the rest. Repeats the last one sent when there is none.
    async fn receive(&mut self) -> Result<(u16, u16, usize), String> {
        for _ in 0..TRIES {
            let Ok(received) = tokio::time::timeout(WAIT, self.socket.recv_from(&mut self.buffer)).await
            else {
                self.socket.send_to(&self.last, self.peer).await.map_err(|error| error.to_string())?;
                continue;
            };
            let (len, peer) = received.map_err(|error| error.to_string())?;
            // The server's transfer may be on a port of its own (RFC 1350 section 4).
            self.peer = peer;
            let [a, b, c, d, ..] = self.buffer[..len] else { continue };
            return Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), len));
        }
        Err(format!("no answer within {} s", u64::from(TRIES) * WAIT.as_secs()))
    }

    fn said(&self, len: usize) -> String {
        let text = self.buffer.get(HEADER..len).unwrap_or_default();
        String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()
    }
}

async fn size(from: Ipv4Addr, server: SocketAddr, file: &str) -> Result<(), String> {
    let mut transfer = Transfer::open(from, server).await?;
    transfer.send(request(file, &[("tsize", 0), ("blksize", BLOCK_SIZE)])).await?;
    let (op, _, len) = transfer.receive().await?;
    match op {
        OP_OPTION_ACK => {
            let mut end = [OP_ERROR.to_be_bytes(), TERMINATE.to_be_bytes()].concat();
            end.extend(b"User aborted the transfer\0");
            transfer.send(end).await
        }
        OP_ERROR => Err(transfer.said(len)),
        other => Err(format!("opcode {other} instead of the size")),
    }
}

async fn download(from: Ipv4Addr, server: SocketAddr, file: &str, whole: bool) -> Result<File, String> {
    let mut transfer = Transfer::open(from, server).await?;
    transfer.send(request(file, &[("blksize", BLOCK_SIZE), ("windowsize", WINDOW)])).await?;
    let mut got = File { len: 0, head: Vec::new() };
    let (mut next, mut in_window) = (1_u16, 0_u16);
    // What counts until the server grants more (RFC 1350).
    let (mut block_size, mut window) = (DEFAULT_BLOCK_SIZE, 1);
    loop {
        let (op, number, len) = transfer.receive().await?;
        match op {
            OP_OPTION_ACK => {
                let options = transfer.buffer.get(2..len).unwrap_or_default();
                block_size = granted(options, "blksize").unwrap_or(block_size);
                window = granted(options, "windowsize").unwrap_or(window);
                transfer.send(acknowledgement(0)).await?;
            }
            OP_ERROR => return Err(transfer.said(len)),
            OP_DATA if number == next => {
                let data = transfer.buffer.get(HEADER..len).unwrap_or_default();
                got.len += data.len() as u64;
                if got.head.len() < KEPT {
                    got.head.extend_from_slice(data);
                }
                let last = data.len() < usize::from(block_size);
                next = next.wrapping_add(1);
                in_window += 1;
                if last || !whole || in_window >= window {
                    in_window = 0;
                    transfer.send(acknowledgement(number)).await?;
                }
                if last {
                    return Ok(got);
                }
                if !whole {
                    let end = [OP_ERROR.to_be_bytes(), [0, 0]].concat();
                    transfer.send([end, b"enough\0".to_vec()].concat()).await?;
                    return Ok(got);
                }
            }
            // A gap or a repetition: the rest of the window is wanted again (RFC 7440 section 4).
            OP_DATA => {
                in_window = 0;
                transfer.send(acknowledgement(next.wrapping_sub(1))).await?;
            }
            other => return Err(format!("unexpected opcode {other}")),
        }
    }
}

fn request(file: &str, options: &[(&str, u16)]) -> Vec<u8> {
    let mut packet = OP_READ.to_be_bytes().to_vec();
    for text in [file, "octet"] {
        packet.extend(text.as_bytes());
        packet.push(0);
    }
    for (name, value) in options {
        packet.extend(format!("{name}\0{value}\0").into_bytes());
    }
    packet
}

/// An option's value in an OACK: names and values in turn, each with a NUL behind.
fn granted(options: &[u8], name: &str) -> Option<u16> {
    let mut words = options.split(|octet| *octet == 0);
    words.position(|word| word.eq_ignore_ascii_case(name.as_bytes()))?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

fn acknowledgement(block: u16) -> Vec<u8> {
    [OP_ACK.to_be_bytes(), block.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granted_options_are_read_whatever_their_order() {
        let options = b"TSIZE\x001048576\0blksize\x001432\0windowsize\x004\0";
        assert_eq!((granted(options, "blksize"), granted(options, "windowsize")), (Some(1432), Some(4)));
        assert_eq!((granted(options, "tsize"), granted(options, "timeout")), (None, None));
        assert_eq!(granted(b"blksize", "blksize"), None);
    }
}
