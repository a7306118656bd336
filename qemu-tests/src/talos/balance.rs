//! The control plane's endpoint of a workload cluster: a balancer of TCP connections in front of all nodes.
//!
//! Workers refuse the port and are passed over; so is a control plane that is off. A site has such a thing, or an
//! address that the control planes share.

use crate::{
    dhcpd,
    net::{BRIDGE, Net},
};
use anyhow::{Context, Result, bail};
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// The endpoint of the workload cluster's control plane: below the addresses of BMCs.
pub const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 10), 6443);

/// The role that balances.
pub const ROLE: &str = "balance";
/// A node of the same bridge answers within milliseconds, if at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// `ADDRESS:PORT`.
    Fixed(SocketAddr),
    /// `MAC@PORT`: the address that this card has by DHCP. It changes with each system that asks for one.
    Leased(String, u16),
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || format!("failed to parse the target {text:?}");
        match text.split_once('@') {
            Some((mac, port)) => Ok(Self::Leased(mac.to_owned(), port.parse().with_context(wrong)?)),
            None => text.parse().map(Self::Fixed).with_context(wrong),
        }
    }
}

impl Target {
    /// Its address now; the current folder is the lab's.
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Fixed(address) => Some(*address),
            Self::Leased(mac, port) => Some((dhcpd::address_in(Path::new("."), mac)?, *port).into()),
        }
    }
}

/// Starts it at [`ENDPOINT`] in front of `targets`, each `ADDRESS:PORT` or `MAC@PORT`.
///
/// # Errors
/// The address cannot be made.
pub(super) async fn start(net: &Net, targets: impl Iterator<Item = String>) -> Result<()> {
    let own = format!("{}/32", ENDPOINT.ip());
    net.run(&["ip", "addr", "add", &own, "dev", BRIDGE], "").await?;
    let words: Vec<String> = [ROLE.to_owned(), ENDPOINT.to_string()].into_iter().chain(targets).collect();
    net.spawn("balancer", net.helper(&words), "balancer.log").await.map(drop)
}

/// `LISTEN TARGET…`: serves for ever.
///
/// # Errors
/// The port is taken.
pub async fn run(words: &[&str]) -> Result<()> {
    let [listen, targets @ ..] = words else { bail!("failed to balance: usage: ADDRESS:PORT TARGET…") };
    let targets: Result<Vec<Target>> = targets.iter().map(|target| target.parse()).collect();
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("failed to listen at {listen}"))?;
    serve(listener, targets?.into()).await
}

async fn serve(listener: TcpListener, targets: Arc<[Target]>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    loop {
        let (outer, _) = listener.accept().await.context("failed to accept a connection")?;
        let (targets, first) = (Arc::clone(&targets), next.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(join(outer, targets, first));
    }
}

/// Joins a connection with the first target that accepts it; without any it ends.
async fn join(mut outer: TcpStream, targets: Arc<[Target]>, first: usize) {
    for index in 0..targets.len() {
        let Some(target) = targets[(first + index) % targets.len()].address() else { continue };
        if let Ok(Ok(mut inner)) = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await {
            // Either side may hang up at any time; the other one then sees the end, too.
            let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A target that says its number, or only an address that refuses.
    async fn target(number: Option<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        if let Some(number) = number {
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.write_all(&[number]).await;
                }
            });
        }
        address
    }

    #[tokio::test]
    async fn targets_take_turns_and_those_that_refuse_are_passed_over() {
        let targets = [target(Some(1)).await, target(None).await, target(Some(3)).await];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, targets.map(Target::Fixed).into()));
        let mut answers = Vec::new();
        for _ in 0..6 {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            answers.push(stream.read_u8().await.expect("an answer"));
        }
        assert_eq!(answers, [1, 3, 3, 1, 3, 3]);
    }

    #[test]
    fn targets_are_addresses_or_cards() {
        let card = Target::Leased("52:54:00:77:01:01".to_owned(), 6443);
        assert_eq!("52:54:00:77:01:01@6443".parse::<Target>().expect("a card"), card);
        assert_eq!(card.address(), None, "there is no lease here");
        let fixed = Target::Fixed(([10, 77, 0, 201], 6443).into());
        assert_eq!("10.77.0.201:6443".parse::<Target>().expect("an address"), fixed);
        for wrong in ["10.77.0.201", "52:54:00:77:01:01@", "52:54:00:77:01:01"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
