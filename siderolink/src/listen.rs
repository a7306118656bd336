//! Sockets on the plane's address in the tunnel, and the connections that come in there.
//!
//! They are bound to the interface besides the address: the kernel hands a packet for an address of this host to its
//! socket whatever interface it came in by, and a host of the machines' network could speak in a node's name then.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use bloomery_api::siderolink::INTERFACE;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::bounds::{Admission, Slot};

/// Waiting connections; a hall of machines that is switched on at once connects at once.
const BACKLOG: i32 = 1024;
/// After an error of accept, mostly "too many open files": time for others to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A node that was switched off is noticed after these: idle time, time between two probes, probes.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(15), 4);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on [{address}]:{port}")]
pub struct ListenError {
    address: Ipv6Addr,
    port: u16,
    source: std::io::Error,
}

/// Listens on a port of the plane's address in the tunnel.
pub fn bind(address: Ipv6Addr, port: u16) -> Result<TcpListener, ListenError> {
    listen(address, port).map_err(|source| ListenError { address, port, source })
}

fn listen(address: Ipv6Addr, port: u16) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(INTERFACE.as_bytes()))?;
    // The address may be of no use yet, just after it was given.
    socket.set_freebind_v6(true)?;
    socket.bind(&SocketAddr::from(SocketAddrV6::new(address, port, 0, 0)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves each connection that is let in, for ever. One ends when a newer one of its node takes its place.
pub async fn serve<F>(
    listener: &TcpListener,
    admission: &Admission,
    connection: impl Fn(TcpStream, Ipv6Addr) -> F,
) -> Infallible
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let (stream, node, slot) = tokio::select! {
            accepted = accept(listener, admission) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let served = connection(stream, node);
        connections.spawn(async move {
            tokio::select! {
                () = served => {}
                () = slot.evicted.cancelled() => tracing::debug!(%node, "connection ended: a newer one came"),
            }
        });
    }
}

/// The next connection that is let in. Others are closed at once.
async fn accept(listener: &TcpListener, admission: &Admission) -> (TcpStream, Ipv6Addr, Slot) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let IpAddr::V6(address) = peer.ip() else { continue };
                let Some(slot) = admission.admit(address) else {
                    tracing::debug!(%peer, "connection refused: too many");
                    continue;
                };
                keep_alive(&stream);
                return (stream, address, slot);
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn keep_alive(stream: &TcpStream) {
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes);
    // Without it a dead connection stays until its place is needed.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
}
