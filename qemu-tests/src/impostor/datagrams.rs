//! TFTP requests whose answers hit somebody else, with blind acknowledgements, and floods of DHCP.

use super::Stage;
use crate::{
    contract::BROADCAST,
    simulate::{
        config::Firmware,
        dhcp::{self, Speaker},
        inventory::Identity,
    },
};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

/// Between two transfers.
const TRANSFER_EVERY: Duration = Duration::from_millis(300);
/// Longer than the plane repeats anything for.
const LISTENS: Duration = Duration::from_secs(7);
/// Transfers that run side by side.
const TRANSFERS: usize = 8;
/// Between two DHCP requests as of a relay, and as of a machine of this network.
const RELAYED_EVERY: Duration = Duration::from_millis(4);
const BROADCAST_EVERY: Duration = Duration::from_millis(50);
const TFTP_PORT: u16 = 69;
const DHCP_PORT: u16 = 67;
/// A read of a loader in large windows (RFC 7440), and its first acknowledgement.
const READ: &[u8] = b"\x00\x01snp.efi\0octet\0blksize\x001468\0windowsize\x0064\0timeout\x001\0";
const ACKNOWLEDGEMENT: &[u8] = b"\x00\x04\x00\x00";
/// Numbers of machines that do not exist begin here; 24 bits of them are in their cards.
const NOBODY: u32 = 0x80_0000;

/// Starts the floods.
pub(super) fn spawn(stage: &Arc<Stage>, tasks: &mut JoinSet<()>) {
    for _ in 0..TRANSFERS {
        let stage = Arc::clone(stage);
        tasks.spawn(async move { stage.repeat(TRANSFER_EVERY, |_| reflect(&stage)).await });
    }
    let (relayed, plain) = (Arc::clone(stage), Arc::clone(stage));
    tasks.spawn(async move {
        let Some(relay) = relayed.order.sources.first().copied() else { return };
        let Ok(socket) = UdpSocket::bind((relay, DHCP_PORT)).await else {
            return relayed.count("DHCP: no socket", 1);
        };
        relayed.repeat(RELAYED_EVERY, |_| discover(&relayed, &socket, relay, relayed.order.plane)).await;
    });
    tasks.spawn(async move {
        let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await else { return };
        if socket.set_broadcast(true).is_ok() {
            let nobody = Ipv4Addr::UNSPECIFIED;
            plain.repeat(BROADCAST_EVERY, |_| discover(&plain, &socket, nobody, BROADCAST)).await;
        }
    });
}

/// Two packets as of the victim's address; counts what hits it.
async fn reflect(stage: &Stage) {
    let Ok(socket) = UdpSocket::bind((stage.order.reflected, 0)).await else { return };
    let plane = (stage.order.plane, TFTP_PORT);
    for packet in [READ, ACKNOWLEDGEMENT] {
        if socket.send_to(packet, plane).await.is_err() {
            return;
        }
    }
    let mut packets = 0;
    let listen = async {
        let mut buffer = [0; 2048];
        while socket.recv(&mut buffer).await.is_ok() {
            packets += 1;
        }
    };
    let whole = timeout(LISTENS, listen).await.is_err();
    if whole {
        stage.count("TFTP: transfers", 1);
        stage.count("TFTP: packets", packets);
        if packets > MOST_REFLECTED {
            stage.gain(format!("{packets} packets of TFTP for two"));
        }
    }
}

/// Packets that two may cause: a window of four, and its repetitions.
const MOST_REFLECTED: u64 = 8;

async fn discover(stage: &Stage, socket: &UdpSocket, relay: Ipv4Addr, to: Ipv4Addr) {
    let index = NOBODY | (rand::random::<u32>() & (NOBODY - 1));
    let identity = Identity::new(index, Ipv4Addr::UNSPECIFIED, Firmware::Uefi);
    let message = dhcp::request(&identity, Speaker::Firmware, rand::random(), relay);
    if let Ok(octets) = dhcp::encode(&message)
        && socket.send_to(&octets, (to, DHCP_PORT)).await.is_ok()
    {
        stage.count("DHCP: requests", 1);
    }
}
