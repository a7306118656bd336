//! The control plane's endpoint of a workload cluster: a balancer of TCP connections in front of all nodes.
//!
//! Workers refuse the port and are passed over; so is a control plane that is off. A site has such a thing, or an
//! address that the control planes share.

use anyhow::{Context, Result, bail};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// The role that balances.
pub const ROLE: &str = "balance";
/// A node of the same bridge answers within milliseconds, if at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// `LISTEN TARGET…`: serves for ever.
///
/// # Errors
/// The port is taken.
pub async fn run(words: &[&str]) -> Result<()> {
    let [listen, targets @ ..] = words else { bail!("failed to balance: usage: ADDRESS:PORT TARGET…") };
    let targets: Result<Vec<SocketAddr>, _> = targets.iter().map(|target| target.parse()).collect();
    let targets: Arc<[SocketAddr]> = targets.context("failed to parse a target")?.into();
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("failed to listen at {listen}"))?;
    serve(listener, targets).await
}

async fn serve(listener: TcpListener, targets: Arc<[SocketAddr]>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    loop {
        let (outer, _) = listener.accept().await.context("failed to accept a connection")?;
        let (targets, first) = (Arc::clone(&targets), next.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(join(outer, targets, first));
    }
}

/// Joins a connection with the first target that accepts it; without any it ends.
async fn join(mut outer: TcpStream, targets: Arc<[SocketAddr]>, first: usize) {
    for index in 0..targets.len() {
        let target = targets[(first + index) % targets.len()];
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
        tokio::spawn(serve(listener, targets.into()));
        let mut answers = Vec::new();
        for _ in 0..6 {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            answers.push(stream.read_u8().await.expect("an answer"));
        }
        assert_eq!(answers, [1, 3, 3, 1, 3, 3]);
    }
}
