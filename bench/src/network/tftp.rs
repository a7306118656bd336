//! TFTP throughput: many downloads at once, with the options that firmware uses.
//!
//! The client must never be what is measured: all downloads share one socket, each with a loopback address of its own,
//! so that acknowledgements, too, are received and sent many at a time. It is the same for every server, and so is
//! what it cannot help: in lockstep a packet costs its sender's core the way through the kernel to the receiver's
//! queue, so that client and server are about equally busy when the server needs no more than that.
//! What a server needs of its core for a block is measured with it, as it depends least on the client.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bloomery_sys::datagram::{Inbox, Outbox, Wait};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Lab, RUNS, Server};
use crate::report::{Figure, Goal, Peer, Unit};

/// A large loader, with few enough blocks of 512 octets for their 16-bit numbers.
const LARGE: (&str, usize) = ("snp.efi", 8 << 20);
/// One of the usual size.
const USUAL: (&str, usize) = ("ipxe.efi", 1 << 20);
/// What is promised, times the peer's.
const TIMES: f64 = 2.0;
/// A client that hears nothing acknowledges again.
const AGAIN: Duration = Duration::from_millis(200);
/// Longest time for all downloads together.
const LIMIT: Duration = Duration::from_mins(2);
/// Datagrams received or sent with one call.
const BATCH: usize = 64;
/// Longest datagram: an Ethernet frame.
const LONGEST: usize = 1500;
/// Kernel buffer: the windows of all clients fit, bookkeeping included.
const SOCKET_BUFFER: usize = 32 << 20;
/// Clients have the addresses above this one.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 0);
/// What the clients ask for.
#[derive(Clone, Copy)]
struct Ask {
    name: [&'static str; 3],
    /// Name of the server's CPU time for a block.
    cpu: &'static str,
    clients: usize,
    /// Its name and its length.
    file: (&'static str, usize),
    block: Option<usize>,
    window: Option<u16>,
    goal: Option<Goal>,
}

const PROMISE: Option<Goal> = Some(Goal::AtLeastTimesPeer(TIMES));

const ASKS: [Ask; 4] = [
    Ask {
        name: [
            "TFTP, blocks of 512, beside dnsmasq",
            "TFTP, blocks of 512, beside tftpd-hpa",
            "TFTP, blocks of 512, beside async-tftp",
        ],
        cpu: "TFTP, blocks of 512: server's CPU for a block",
        clients: 8,
        file: LARGE,
        block: None,
        window: None,
        goal: PROMISE,
    },
    Ask {
        name: [
            "TFTP, 512, 64 clients, beside dnsmasq",
            "TFTP, 512, 64 clients, beside tftpd-hpa",
            "TFTP, 512, 64 clients, beside async-tftp",
        ],
        cpu: "TFTP, 512, 64 clients: server's CPU for a block",
        clients: 64,
        file: USUAL,
        block: None,
        window: None,
        goal: None,
    },
    Ask {
        name: [
            "TFTP, 1468 and window 4, beside dnsmasq",
            "TFTP, 1468 and window 4, beside tftpd-hpa",
            "TFTP, 1468 and window 4, beside async-tftp",
        ],
        cpu: "TFTP, 1468 and window 4: server's CPU for a block",
        clients: 8,
        file: LARGE,
        block: Some(1468),
        window: Some(4),
        goal: PROMISE,
    },
    Ask {
        name: [
            "TFTP, 1468 and window 64, beside dnsmasq",
            "TFTP, 1468 and window 64, beside tftpd-hpa",
            "TFTP, 1468 and window 64, beside async-tftp",
        ],
        cpu: "TFTP, 1468 and window 64: server's CPU for a block",
        clients: 8,
        file: LARGE,
        block: Some(1468),
        window: Some(64),
        goal: PROMISE,
    },
];

/// What was measured of one server with one ask.
#[derive(Default)]
struct Runs {
    speeds: Vec<f64>,
    cpu: Vec<f64>,
}

/// Peers, in the order of [`start`]. dnsmasq and tftpd-hpa ignore the window, as they do with real firmware.
const PEERS: [&str; 3] = ["dnsmasq", "tftpd-hpa", "async-tftp"];

/// Ours, and each peer's.
pub(crate) fn measure(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    for (name, len) in [LARGE, USUAL] {
        std::fs::write(lab.folder().join("share/ipxe").join(name), vec![7; len])?;
    }
    let mut runs: BTreeMap<(usize, usize), Runs> = BTreeMap::new();
    for _ in 0..RUNS {
        for number in 0..=PEERS.len() {
            let server = start(lab, number)?;
            lab.until("the TFTP server", || Ask { clients: 1, ..ASKS[2] }.download())?;
            for (index, ask) in ASKS.iter().enumerate() {
                let before = server.cpu_time()?;
                let speed = ask.download()?;
                let cpu = server.cpu_time()?.saturating_sub(before);
                let runs = runs.entry((number, index)).or_default();
                runs.speeds.push(speed);
                runs.cpu.push(cpu.as_secs_f64() * 1e6 / ask.blocks());
            }
        }
    }
    let mut figures = Vec::new();
    for (index, ask) in ASKS.iter().enumerate() {
        for (peer, name) in PEERS.into_iter().enumerate() {
            let (ours, theirs) = (&runs[&(0, index)], &runs[&(peer + 1, index)]);
            figures.push(Figure {
                name: ask.name[peer],
                unit: Unit::MegabytesPerSecond,
                ours: ours.speeds.clone(),
                peer: Some(Peer { name, values: theirs.speeds.clone(), parts: BTreeMap::new() }),
                goal: ask.goal,
                parts: BTreeMap::new(),
            });
        }
        // tftpd-hpa forks, and nobody adds up what its children used.
        let peer = Peer { name: "dnsmasq", values: runs[&(1, index)].cpu.clone(), parts: BTreeMap::new() };
        figures.push(Figure {
            name: ask.cpu,
            unit: Unit::Microseconds,
            ours: runs[&(0, index)].cpu.clone(),
            peer: Some(peer),
            goal: None,
            parts: BTreeMap::new(),
        });
    }
    Ok(figures)
}

/// Ours is the first, then the peers.
fn start(lab: &Lab, number: usize) -> anyhow::Result<Server> {
    let root = lab.folder().join("share/ipxe").display().to_string();
    match number {
        0 => lab.start_ours(),
        1 => lab.start(
            &lab.peer("dnsmasq"),
            &[
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--user=root",
                "--port=0",
                "--interface=lo",
                "--enable-tftp",
                // Its limit of 50 would make the others wait.
                "--tftp-max=1000",
                "--log-facility=/dev/null",
                &format!("--tftp-root={root}"),
            ],
        ),
        2 => lab.start(&lab.peer("in.tftpd"), &["-L", "-a", "127.0.0.1:69", "-u", "root", "-s", &root]),
        _ => {
            let program = std::env::current_exe().context("failed to name this program")?;
            lab.start(&program.with_file_name("bench-async-tftp"), &[&root])
        }
    }
}

impl Ask {
    /// MB/s of all clients together.
    fn download(self) -> anyhow::Result<f64> {
        let mut downloads = Downloads::new(self.clients)?;
        let begin = Instant::now();
        downloads.request(&self.request());
        while downloads.open > 0 {
            anyhow::ensure!(begin.elapsed() < LIMIT, "the downloads take too long");
            downloads.step()?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        anyhow::ensure!(downloads.clients.iter().all(|it| it.octets == self.file.1), "a file is not whole");
        #[allow(clippy::cast_precision_loss)]
        Ok((self.clients * self.file.1) as f64 / 1e6 / seconds)
    }

    fn request(self) -> Vec<u8> {
        let mut request = format!("\0\x01{}\0octet\0", self.file.0).into_bytes();
        if let Some(block) = self.block {
            request.extend_from_slice(format!("blksize\0{block}\0").as_bytes());
        }
        if let Some(window) = self.window {
            request.extend_from_slice(format!("windowsize\0{window}\0").as_bytes());
        }
        request
    }

    #[allow(clippy::cast_precision_loss)]
    fn blocks(self) -> f64 {
        (self.clients * (self.file.1 / self.block.unwrap_or(512) + 1)) as f64
    }
}

/// Downloads under way, each from an address of its own.
struct Downloads {
    socket: UdpSocket,
    inbox: Inbox,
    outbox: Outbox,
    clients: Vec<Client>,
    /// How many are not done.
    open: usize,
}

impl Downloads {
    fn new(count: usize) -> anyhow::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER)?;
        socket.set_read_timeout(Some(AGAIN))?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
        let clients = (1..).take(count).map(|number| Client::new(u32::from(CLIENTS) + number)).collect();
        Ok(Self {
            socket: socket.into(),
            inbox: Inbox::new(BATCH, LONGEST),
            outbox: Outbox::new(BATCH, LONGEST),
            clients,
            open: count,
        })
    }

    fn request(&mut self, request: &[u8]) {
        for client in &self.clients {
            push(&mut self.outbox, &self.socket, client, request);
        }
        self.outbox.flush(&self.socket);
    }

    /// Takes what is there and answers it.
    fn step(&mut self) -> anyhow::Result<()> {
        let count = match self.inbox.receive(&self.socket, Wait::ForOne) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return self.again(),
            other => other.context("failed to receive")?,
        };
        for index in 0..count {
            let datagram = self.inbox.get(index);
            let number = u32::from(datagram.local).wrapping_sub(u32::from(CLIENTS) + 1);
            let client = usize::try_from(number).ok().and_then(|number| self.clients.get_mut(number));
            let client = client.context("a packet for nobody")?;
            if client.done {
                continue;
            }
            client.server = datagram.source;
            if client.take(datagram.payload)? {
                push(&mut self.outbox, &self.socket, client, &client.acknowledgement());
            }
            self.open -= usize::from(client.done);
        }
        self.outbox.flush(&self.socket);
        Ok(())
    }

    /// Nothing came: who is not done acknowledges again.
    fn again(&mut self) -> anyhow::Result<()> {
        for client in self.clients.iter().filter(|client| !client.done) {
            anyhow::ensure!(client.received > 0, "no answer");
            push(&mut self.outbox, &self.socket, client, &client.acknowledgement());
        }
        self.outbox.flush(&self.socket);
        Ok(())
    }
}

fn push(outbox: &mut Outbox, socket: &UdpSocket, client: &Client, datagram: &[u8]) {
    if outbox.is_full() {
        outbox.flush(socket);
    }
    outbox.push(&[datagram], Some(client.address), client.server);
}

struct Client {
    address: Ipv4Addr,
    server: SocketAddrV4,
    block: usize,
    window: u64,
    received: u64,
    octets: usize,
    done: bool,
}

impl Client {
    fn new(address: u32) -> Self {
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 69);
        Self { address: address.into(), server, block: 512, window: 1, received: 0, octets: 0, done: false }
    }

    /// Takes one packet; gives whether it is to be acknowledged.
    fn take(&mut self, packet: &[u8]) -> anyhow::Result<bool> {
        match packet {
            [0, 6, options @ ..] => {
                let words: Vec<&[u8]> = options.split(|&octet| octet == 0).collect();
                for pair in words.chunks_exact(2) {
                    let value: u32 = String::from_utf8_lossy(pair[1]).parse()?;
                    match pair[0] {
                        b"blksize" => self.block = value as usize,
                        b"windowsize" => self.window = value.into(),
                        _ => {}
                    }
                }
                Ok(true)
            }
            [0, 3, high, low, content @ ..] => {
                let expected = self.received + 1;
                let [.., h, l] = expected.to_be_bytes();
                if [*high, *low] != [h, l] {
                    return Ok(false);
                }
                self.received = expected;
                self.octets += content.len();
                self.done = content.len() < self.block;
                Ok(self.done || expected.is_multiple_of(self.window))
            }
            [0, 5, text @ ..] => bail!("the server refused: {}", String::from_utf8_lossy(text)),
            _ => bail!("an unknown packet"),
        }
    }

    fn acknowledgement(&self) -> [u8; 4] {
        let [.., high, low] = self.received.to_be_bytes();
        [0, 4, high, low]
    }
}
