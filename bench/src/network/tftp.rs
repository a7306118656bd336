//! TFTP throughput: eight clients at once on one core, with the options that firmware uses.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::poll::{PollFd, PollFlags, poll};

use super::{Lab, RUNS};
use crate::report::{Figure, Goal, Peer, Unit};

/// Downloads at once.
const CLIENTS: usize = 8;
/// Size of the file: a large loader, and few enough blocks of 512 octets for their 16-bit numbers.
const FILE_LEN: usize = 8 << 20;
/// What is promised, times the peer's.
const TIMES: f64 = 2.0;
/// A client that hears nothing acknowledges again.
const AGAIN_MS: u16 = 200;

/// What the client asks for.
#[derive(Clone, Copy)]
struct Ask {
    name: [&'static str; 2],
    block: Option<usize>,
    window: Option<u16>,
}

const ASKS: [Ask; 3] = [
    Ask {
        name: ["TFTP, blocks of 512, beside dnsmasq", "TFTP, blocks of 512, beside tftpd-hpa"],
        block: None,
        window: None,
    },
    Ask {
        name: ["TFTP, 1468 and window 4, beside dnsmasq", "TFTP, 1468 and window 4, beside tftpd-hpa"],
        block: Some(1468),
        window: Some(4),
    },
    Ask {
        name: ["TFTP, 1468 and window 64, beside dnsmasq", "TFTP, 1468 and window 64, beside tftpd-hpa"],
        block: Some(1468),
        window: Some(64),
    },
];

/// Ours, dnsmasq's and tftpd-hpa's. The peers ignore the window, as they do with real firmware.
pub(crate) fn measure(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let folder = lab.folder().join("share/ipxe");
    std::fs::write(folder.join("snp.efi"), vec![7; FILE_LEN])?;
    let root = folder.display().to_string();
    let mut values: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for _ in 0..RUNS {
        for server in 0..3 {
            let running = match server {
                0 => lab.start_ours()?,
                1 => lab.start(
                    &lab.peer("dnsmasq"),
                    &[
                        "--keep-in-foreground",
                        "--conf-file=/dev/null",
                        "--user=root",
                        "--port=0",
                        "--interface=lo",
                        "--enable-tftp",
                        "--log-facility=/dev/null",
                        &format!("--tftp-root={root}"),
                    ],
                )?,
                _ => lab
                    .start(&lab.peer("in.tftpd"), &["-L", "-a", "127.0.0.1:69", "-u", "root", "-s", &root])?,
            };
            lab.until("the TFTP server", || Ask { window: None, ..ASKS[1] }.download(1))?;
            for (index, ask) in ASKS.iter().enumerate() {
                values.entry((server, index)).or_default().push(ask.download(CLIENTS)?);
            }
            drop(running);
        }
    }
    let mut figures = Vec::new();
    for (index, ask) in ASKS.iter().enumerate() {
        for (peer, name) in ["dnsmasq", "tftpd-hpa"].into_iter().enumerate() {
            figures.push(Figure {
                name: ask.name[peer],
                unit: Unit::MegabytesPerSecond,
                ours: values[&(0, index)].clone(),
                peer: Some(Peer { name, values: values[&(peer + 1, index)].clone(), parts: BTreeMap::new() }),
                goal: Some(Goal::AtLeastTimesPeer(TIMES)),
                parts: BTreeMap::new(),
            });
        }
    }
    Ok(figures)
}

struct Client {
    socket: UdpSocket,
    peer: SocketAddr,
    block: usize,
    window: u64,
    received: u64,
    octets: usize,
    done: bool,
}

impl Ask {
    /// MB/s of `count` downloads at once.
    fn download(self, count: usize) -> anyhow::Result<f64> {
        let begin = Instant::now();
        let mut clients = (0..count).map(|_| self.client()).collect::<anyhow::Result<Vec<_>>>()?;
        let mut buffer = vec![0; 2048];
        while clients.iter().any(|client| !client.done) {
            let mut open: Vec<&mut Client> = clients.iter_mut().filter(|client| !client.done).collect();
            let mut waiting: Vec<PollFd<'_>> =
                open.iter().map(|client| PollFd::new(client.socket.as_fd(), PollFlags::POLLIN)).collect();
            let ready = poll(&mut waiting, AGAIN_MS).context("failed to poll")?;
            let ready: Vec<bool> = waiting.iter().map(|fd| ready > 0 && fd.any() == Some(true)).collect();
            for (client, ready) in open.iter_mut().zip(&ready) {
                if *ready {
                    client.drain(&mut buffer)?;
                } else if !ready && begin.elapsed() > Duration::from_mins(2) {
                    bail!("a download takes too long");
                }
            }
            if !ready.contains(&true) {
                for client in open {
                    if client.received == 0 {
                        bail!("no answer");
                    }
                    client.acknowledge()?;
                }
            }
        }
        anyhow::ensure!(clients.iter().all(|client| client.octets == FILE_LEN), "a file is not whole");
        #[allow(clippy::cast_precision_loss)]
        Ok((count * FILE_LEN) as f64 / 1e6 / begin.elapsed().as_secs_f64())
    }

    fn client(self) -> anyhow::Result<Client> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let mut request = b"\0\x01snp.efi\0octet\0".to_vec();
        if let Some(block) = self.block {
            request.extend_from_slice(format!("blksize\0{block}\0").as_bytes());
        }
        if let Some(window) = self.window {
            request.extend_from_slice(format!("windowsize\0{window}\0").as_bytes());
        }
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 69));
        socket.send_to(&request, peer)?;
        Ok(Client { socket, peer, block: 512, window: 1, received: 0, octets: 0, done: false })
    }
}

impl Client {
    fn drain(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        loop {
            let (len, peer) = match self.socket.recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("failed to receive"),
            };
            self.peer = peer;
            match (buffer[1], &buffer[2..len]) {
                (6, options) => {
                    let words: Vec<&[u8]> = options.split(|&octet| octet == 0).collect();
                    for pair in words.chunks_exact(2) {
                        let value: u32 = String::from_utf8_lossy(pair[1]).parse()?;
                        match pair[0] {
                            b"blksize" => self.block = value as usize,
                            b"windowsize" => self.window = value.into(),
                            _ => {}
                        }
                    }
                    self.acknowledge()?;
                }
                (3, [high, low, content @ ..]) => {
                    let expected = self.received + 1;
                    let [.., h, l] = expected.to_be_bytes();
                    if [*high, *low] != [h, l] {
                        continue;
                    }
                    self.received = expected;
                    self.octets += content.len();
                    self.done = content.len() < self.block;
                    if self.done || expected.is_multiple_of(self.window) {
                        self.acknowledge()?;
                    }
                    // In lockstep nothing can have come yet.
                    if self.done || self.window == 1 {
                        return Ok(());
                    }
                }
                (5, text) => bail!("the server refused: {}", String::from_utf8_lossy(text)),
                _ => bail!("an unknown packet"),
            }
        }
    }

    fn acknowledge(&self) -> anyhow::Result<()> {
        let [.., high, low] = self.received.to_be_bytes();
        self.socket.send_to(&[0, 4, high, low], self.peer).context("failed to acknowledge")?;
        Ok(())
    }
}
