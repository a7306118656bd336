//! Offers a second: DISCOVERs of a thousand machines, 64 under way at any time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bloomery_sys::datagram::{Inbox, Outbox, Wait};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Lab, RUNS};
use crate::report::{Figure, Goal, Peer, Unit};

/// Length of one run.
const RUN: Duration = Duration::from_secs(3);
/// Requests under way.
const WINDOW: usize = 64;
/// What is promised at least, offers a second on one core.
const LEAST: f64 = 10_000.0;

/// Ours and dnsmasq's proxy DHCP.
pub(crate) fn measure(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    for name in ["snp.efi", "undionly.kpxe", "ipxe.efi", "snp-arm64.efi", "ipxe-arm64.efi"] {
        std::fs::write(lab.folder().join("share/ipxe").join(name), vec![7; 300_000])?;
    }
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let server = lab.start_ours()?;
        ours.push(rate(lab, "bootsvc")?);
        drop(server);
        let arguments = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--port=0",
            "--interface=v0",
            "--dhcp-range=10.99.0.0,proxy,255.255.255.0",
            "--pxe-service=X86-64_EFI,boot,snp.efi",
            "--log-facility=/dev/null",
            "--quiet-dhcp",
            "--leasefile-ro",
        ];
        let server = lab.start(&lab.peer("dnsmasq"), &arguments)?;
        peers.push(rate(lab, "dnsmasq")?);
        drop(server);
    }
    let figure = |name, goal| Figure {
        name,
        unit: Unit::PerSecond,
        ours: ours.clone(),
        peer: Some(Peer { name: "dnsmasq, proxy mode", values: peers.clone(), parts: BTreeMap::new() }),
        goal: Some(goal),
        parts: BTreeMap::new(),
    };
    Ok(vec![
        figure("proxy DHCP offers on one core", Goal::AtLeast(LEAST)),
        figure("proxy DHCP offers, beside dnsmasq", Goal::AtLeastTimesPeer(1.0)),
    ])
}

fn rate(lab: &Lab, name: &str) -> anyhow::Result<f64> {
    let socket = lab.nobody.try_clone()?;
    let mut load =
        Load { socket, inbox: Inbox::new(WINDOW, 1500), outbox: Outbox::new(WINDOW, 400), next: 0 };
    lab.until(name, || {
        load.send(1);
        load.receive().context("no offer")
    })?;
    while load.receive().is_ok() {}
    let begin = Instant::now();
    let (mut offers, mut under_way) = (0, 0);
    while begin.elapsed() < RUN {
        load.send(WINDOW - under_way);
        under_way = WINDOW;
        match load.receive() {
            Ok(count) => {
                offers += count;
                under_way -= count.min(under_way);
            }
            // What is lost is lost.
            Err(_) => under_way = 0,
        }
    }
    #[allow(clippy::cast_precision_loss)]
    Ok(offers as f64 / begin.elapsed().as_secs_f64())
}

/// A socket on the client's end of the pair, which has no address.
pub(super) fn client() -> anyhow::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_broadcast(true)?;
    socket.bind_device(Some(b"v1"))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into())?;
    Ok(socket.into())
}

struct Load {
    socket: UdpSocket,
    inbox: Inbox,
    outbox: Outbox,
    next: u32,
}

impl Load {
    fn send(&mut self, count: usize) {
        for _ in 0..count {
            self.next += 1;
            let discover = discover(self.next);
            self.outbox.push(&[&discover], None, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67));
        }
        self.outbox.flush(&self.socket);
    }

    /// Number of offers that are there; waits for the first.
    fn receive(&mut self) -> std::io::Result<usize> {
        let count = self.inbox.receive(&self.socket, Wait::ForOne)?;
        Ok((0..count).filter(|&index| self.inbox.get(index).payload.first() == Some(&2)).count())
    }
}

fn discover(number: u32) -> Vec<u8> {
    let mut datagram = vec![0; 236];
    datagram[..4].copy_from_slice(&[1, 1, 6, 0]);
    datagram[4..8].copy_from_slice(&number.to_be_bytes());
    datagram[10] = 0x80;
    let [_, _, high, low] = (number % 1000).to_be_bytes();
    datagram[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, high, low]);
    datagram.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 93, 2, 0, 7, 94, 3, 1, 3, 0, 97, 17, 0]);
    datagram.extend_from_slice(&[9; 14]);
    datagram.extend_from_slice(&[high, low, 60, 32]);
    datagram.extend_from_slice(b"PXEClient:Arch:00007:UNDI:003000");
    datagram.extend_from_slice(&[55, 4, 1, 3, 43, 60, 255]);
    datagram
}
