//! A bad network: a UDP proxy that loses, doubles, delays and corrupts datagrams.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// How often it does what, of a hundred datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) lose: u32,
    pub(crate) double: u32,
    pub(crate) delay: u32,
    pub(crate) corrupt: u32,
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Chance from a fixed start, so that a failure can be had again.
struct Chance(TestRng);

impl Chance {
    fn hits(&mut self, percent: u32) -> bool {
        self.0.next_u32() % 100 < percent
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next_u32()).unwrap() % limit
    }
}

impl Proxy {
    /// Starts one in front of `port`.
    pub(crate) async fn start(port: u16, faults: Faults, seed: u8) -> Self {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let bmc = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let own = front.local_addr().unwrap().port();
        let chance = Chance(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]));
        let task = tokio::spawn(run(front, back, bmc, faults, chance)).abort_handle();
        Self { port: own, task }
    }
}

async fn run(
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    bmc: SocketAddr,
    faults: Faults,
    mut chance: Chance,
) {
    let (mut to_bmc, mut to_client) = ([0; 2048], [0; 2048]);
    let mut client = None;
    loop {
        // An error here is a port unreachable for a client that has gone.
        tokio::select! {
            received = front.recv_from(&mut to_bmc) => if let Ok((length, from)) = received {
                client = Some(from);
                forward(&back, bmc, to_bmc[..length].to_vec(), faults, &mut chance).await;
            },
            received = back.recv_from(&mut to_client) => if let (Ok((length, _)), Some(client)) = (received, client) {
                forward(&front, client, to_client[..length].to_vec(), faults, &mut chance).await;
            },
        }
    }
}

async fn forward(
    socket: &Arc<UdpSocket>,
    to: SocketAddr,
    mut data: Vec<u8>,
    faults: Faults,
    chance: &mut Chance,
) {
    if chance.hits(faults.lose) {
        return;
    }
    if chance.hits(faults.corrupt) {
        let bit = chance.below(data.len() * 8);
        data[bit / 8] ^= 1 << (bit % 8);
    }
    let copies = if chance.hits(faults.double) { 2 } else { 1 };
    for _ in 0..copies {
        if chance.hits(faults.delay) {
            // Long enough for others to overtake it.
            let wait = Duration::from_millis(u64::try_from(chance.below(120)).unwrap());
            let (socket, data) = (Arc::clone(socket), data.clone());
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let _ = socket.send_to(&data, to).await;
            });
        } else {
            let _ = socket.send_to(&data, to).await;
        }
    }
}
