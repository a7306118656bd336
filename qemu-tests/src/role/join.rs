//! TCP ports of the lab's network whose servers are in the lab's own process: it is in no network of theirs.
//!
//! Bytes are passed on as they are.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinSet,
};

/// `LISTEN SOCKET …`: listens at each address and joins its connections with the socket; returns only on a failure.
pub(super) async fn run(words: &[&str]) -> Result<()> {
    if words.is_empty() || !words.len().is_multiple_of(2) {
        bail!("failed to join: usage: ADDRESS:PORT SOCKET …");
    }
    let mut ports = JoinSet::new();
    for pair in words.chunks_exact(2) {
        let listener =
            TcpListener::bind(pair[0]).await.with_context(|| format!("failed to listen at {}", pair[0]))?;
        ports.spawn(serve(listener, PathBuf::from(pair[1])));
    }
    match ports.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(error).context("failed to serve a port"),
        None => Ok(()),
    }
}

async fn serve(listener: TcpListener, socket: PathBuf) -> Result<()> {
    loop {
        let (outer, _) = listener.accept().await.context("failed to accept a connection")?;
        tokio::spawn(join(outer, socket.clone()));
    }
}

async fn join(mut outer: TcpStream, socket: PathBuf) {
    // Either side may hang up at any time; the other one then sees the end, too.
    if let Ok(mut inner) = UnixStream::connect(socket).await {
        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
    }
}
