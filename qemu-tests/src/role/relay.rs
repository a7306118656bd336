//! A bad line: datagrams between clients and one server, of which some are lost and all are late.
//!
//! It never changes a datagram. Loss is drawn from a generator with a fixed seed, so that runs are alike.

use anyhow::{Context, Result, bail};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::net::UdpSocket;

/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// How bad the line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    /// How many of a hundred datagrams are lost, in each direction.
    pub loss_percent: u8,
    /// How late the others are, in each direction.
    pub delay: Duration,
}

/// `LISTEN SERVER LOSS_PERCENT DELAY_MS SEED`; returns only on a failure.
pub(super) async fn run(words: &[&str]) -> Result<()> {
    let [listen, server, loss, delay, seed] = words else {
        bail!("failed to relay: usage: ADDRESS:PORT ADDRESS:PORT LOSS_PERCENT DELAY_MS SEED");
    };
    let line = Line {
        loss_percent: loss.parse().context("failed to read the loss")?,
        delay: Duration::from_millis(delay.parse().context("failed to read the delay")?),
    };
    let server: SocketAddr = server.parse().context("failed to read the server's address")?;
    let seed = seed.parse().context("failed to read the seed")?;
    let front = UdpSocket::bind(listen).await.with_context(|| format!("failed to listen at {listen}"))?;
    relay(Arc::new(front), server, line, seed).await
}

async fn relay(front: Arc<UdpSocket>, server: SocketAddr, line: Line, seed: u64) -> Result<()> {
    let mut dice = StdRng::seed_from_u64(seed);
    // A socket of its own for each client: the server tells them apart by their ports.
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let (length, client) = front.recv_from(&mut buffer).await.context("failed to receive")?;
        let back = if let Some(back) = clients.get(&client) {
            Arc::clone(back)
        } else {
            let back = connected(server).await?;
            clients.insert(client, Arc::clone(&back));
            tokio::spawn(answers(Arc::clone(&back), Arc::clone(&front), client, line, dice.random()));
            back
        };
        if is_lost(&mut dice, line) {
            continue;
        }
        let datagram = buffer[..length].to_vec();
        tokio::spawn(async move {
            tokio::time::sleep(line.delay).await;
            // A server that is not there (yet) is like a lost datagram.
            let _ = back.send(&datagram).await;
        });
    }
}

async fn connected(server: SocketAddr) -> Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("failed to open a socket")?;
    socket.connect(server).await.context("failed to name the server")?;
    Ok(Arc::new(socket))
}

/// The way back to one client.
async fn answers(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr, line: Line, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error only says that an earlier datagram did not arrive.
        let Ok(length) = back.recv(&mut buffer).await else { continue };
        if is_lost(&mut dice, line) {
            continue;
        }
        let (datagram, front) = (buffer[..length].to_vec(), Arc::clone(&front));
        tokio::spawn(async move {
            tokio::time::sleep(line.delay).await;
            let _ = front.send_to(&datagram, client).await;
        });
    }
}

fn is_lost(dice: &mut StdRng, line: Line) -> bool {
    dice.random_range(0..100) < line.loss_percent
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server behind a relay with `line`.
    async fn behind(line: Line) -> SocketAddr {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a server");
        let address = server.local_addr().expect("its address");
        tokio::spawn(async move {
            let mut buffer = [0; 100];
            while let Ok((length, from)) = server.recv_from(&mut buffer).await {
                let _ = server.send_to(&buffer[..length], from).await;
            }
        });
        let front = UdpSocket::bind("127.0.0.1:0").await.expect("a relay");
        let listen = front.local_addr().expect("its address");
        tokio::spawn(async move { relay(Arc::new(front), address, line, 1).await });
        listen
    }

    #[tokio::test]
    async fn good_line_passes_and_delays_everything() {
        let delay = Duration::from_millis(50);
        let relay = behind(Line { loss_percent: 0, delay }).await;
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("a client");
        client.connect(relay).await.expect("a relay");
        for word in ["one", "two", "three"] {
            let began = std::time::Instant::now();
            client.send(word.as_bytes()).await.expect("a datagram");
            let mut buffer = [0; 100];
            let length = client.recv(&mut buffer).await.expect("an answer");
            assert_eq!(&buffer[..length], word.as_bytes());
            assert!(began.elapsed() >= 2 * delay, "{:?}", began.elapsed());
        }
    }

    #[test]
    fn loss_is_about_what_was_asked_for() {
        let mut dice = StdRng::seed_from_u64(7);
        for percent in [0, 30, 100] {
            let line = Line { loss_percent: percent, ..Line::default() };
            let lost = (0..10_000).filter(|_| is_lost(&mut dice, line)).count();
            assert!(lost.abs_diff(usize::from(percent) * 100) < 300, "{percent} %: {lost} of 10000");
        }
    }
}
