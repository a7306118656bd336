//! Ports of the appliance on the host's loopback, for kubectl and browsers.
//!
//! Listens on 127.0.0.1 only; the appliance is found by its card in the lease file at each connection, so that a
//! changed address needs no restart.

use crate::{
    contract::{API_PORT, APPLIANCE_MAC, APPLIANCE_PORT, BOOT_PORT, HOST_PORT_OFFSET},
    dhcpd,
    net::connect,
    patience::POLL,
    state::LabDir,
};
use anyhow::{Context, Result, bail};
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Ports tried after the preferred one, so that a few labs can run side by side.
const PORT_TRIES: u16 = 50;

/// One forwarded port; it ends with the value.
#[derive(Debug)]
pub struct Forward {
    /// Where to connect to on the host.
    pub local: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The appliance's ports on the host.
#[derive(Debug)]
pub struct Forwards {
    /// Kubernetes API.
    pub api: Forward,
    /// Pairing, health, status.
    pub appliance: Forward,
    /// Boot files and iPXE scripts.
    pub boot: Forward,
}

impl Forwards {
    /// Opens the three ports.
    ///
    /// # Errors
    /// No port is free near the preferred one.
    pub async fn open(dir: &Arc<LabDir>) -> Result<Self> {
        Ok(Self {
            api: open(dir, API_PORT).await?,
            appliance: open(dir, APPLIANCE_PORT).await?,
            boot: open(dir, BOOT_PORT).await?,
        })
    }
}

impl Forward {
    /// Opens a port of the host for `target` in the lab's network.
    ///
    /// # Errors
    /// No port is free near the preferred one.
    pub async fn to(dir: &Arc<LabDir>, target: SocketAddr) -> Result<Self> {
        let listener = listen(target.port().saturating_add(HOST_PORT_OFFSET)).await?;
        let local = listener.local_addr().context("failed to read the forwarded port")?;
        let dir = Arc::clone(dir);
        let task = tokio::spawn(serve(listener, move |stream| join(stream, Arc::clone(&dir), target)));
        Ok(Self { local, task })
    }
}

async fn open(dir: &Arc<LabDir>, port: u16) -> Result<Forward> {
    let listener = listen(port + HOST_PORT_OFFSET).await?;
    let local = listener.local_addr().context("failed to read the forwarded port")?;
    let dir = Arc::clone(dir);
    let task = tokio::spawn(serve(listener, move |stream| join_appliance(stream, Arc::clone(&dir), port)));
    Ok(Forward { local, task })
}

async fn listen(preferred: u16) -> Result<TcpListener> {
    for port in preferred..preferred + PORT_TRIES {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).with_context(|| format!("failed to listen on 127.0.0.1:{port}")),
        }
    }
    bail!("failed to find a free port from 127.0.0.1:{preferred} on")
}

async fn serve<J>(listener: TcpListener, join: impl Fn(TcpStream) -> J)
where
    J: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(join(stream))),
            // Out of file descriptors, most likely: others will end.
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Joins one connection with the appliance; without an address of it the connection just ends.
async fn join_appliance(stream: TcpStream, dir: Arc<LabDir>, port: u16) {
    let Some(address) = dhcpd::address_of(&dir, APPLIANCE_MAC) else { return };
    join(stream, dir, SocketAddrV4::new(address, port).into()).await;
}

async fn join(mut stream: TcpStream, dir: Arc<LabDir>, target: SocketAddr) {
    let Ok(mut inner) = connect(&dir, target).await else { return };
    let _ = stream.set_nodelay(true);
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn taken_port_moves_on_to_the_next() {
        let first = listen(20_000).await.expect("a free port");
        let taken = first.local_addr().expect("a bound port").port();
        let second = listen(taken).await.expect("another free port");
        assert!(second.local_addr().expect("a bound port").port() > taken);
    }
}
