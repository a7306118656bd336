//! The DHCP sockets: two for each interface, opened and closed as interfaces come and go.
//!
//! A socket is bound to its interface, so that an answer goes out where the question came in, and
//! another DHCP server on the same machine is not disturbed.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::decide::{self, BootFile, Listener, Offer, Server};
use super::wire::Request;
use crate::advertise::Advertise;
use crate::health::{Health, State, Weight};
use crate::interfaces::Interface;
use crate::metrics::Metrics;
use crate::supervise;

/// IANA port of DHCP servers and relays.
pub const DHCP_PORT: u16 = 67;
/// Port of PXE boot servers (PXE 2.1 section 2.2.4).
pub const PXE_PORT: u16 = 4011;
/// Largest datagram looked at; DHCP over Ethernet stays below 1,500.
const RECEIVE_BUFFER: usize = 4096;

/// A socket could not be opened, or broke.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// Port taken, interface gone, or no right to bind it.
    #[error("failed to bind DHCP port {port} on {interface}")]
    Bind {
        /// Interface name.
        interface: String,
        /// UDP port.
        port: u16,
        /// Cause.
        source: std::io::Error,
    },
    /// The interface went down.
    #[error("failed to receive on DHCP port {port} of {interface}")]
    Receive {
        /// Interface name.
        interface: String,
        /// UDP port.
        port: u16,
        /// Cause.
        source: std::io::Error,
    },
}

/// What answers are made from.
#[derive(Clone)]
pub struct Context {
    /// Address to put into the answers.
    pub advertise: Advertise,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Listener {
    const fn port(self) -> u16 {
        match self {
            Self::Dhcp => DHCP_PORT,
            Self::Pxe => PXE_PORT,
        }
    }
}

/// Serves all interfaces until `shutdown`.
pub async fn run(
    context: Context,
    mut interfaces: watch::Receiver<Vec<Interface>>,
    health: Health,
    shutdown: CancellationToken,
) {
    let part = health.register("dhcp", Weight::Required);
    let mut served: HashMap<Interface, CancellationToken> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted = interfaces.borrow_and_update().clone();
        served.retain(|interface, stop| {
            let keep = wanted.contains(interface);
            if !keep {
                stop.cancel();
                tracing::info!(interface = interface.name, address = %interface.address, "proxy dhcp stops on interface");
            }
            keep
        });
        for interface in &wanted {
            if !served.contains_key(interface) {
                tracing::info!(interface = interface.name, address = %interface.address, "proxy dhcp serves interface");
                let stop = shutdown.child_token();
                for listener in [Listener::Dhcp, Listener::Pxe] {
                    tasks.spawn(serve(
                        listener,
                        interface.clone(),
                        context.clone(),
                        health.clone(),
                        stop.clone(),
                    ));
                }
                served.insert(interface.clone(), stop);
            }
        }
        part.set(if wanted.is_empty() {
            State::Down("no interface has an IPv4 address".to_owned())
        } else {
            State::Up
        });
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = interfaces.changed() => if changed.is_err() { break },
        }
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve(
    listener: Listener,
    interface: Interface,
    context: Context,
    health: Health,
    stop: CancellationToken,
) {
    let name = format!("dhcp {}:{}", interface.name, listener.port());
    let part = health.register(name, Weight::Required);
    supervise::keep_running(part, stop, move |part| {
        let (interface, context) = (interface.clone(), context.clone());
        async move {
            let socket = bind(&interface.name, listener.port())?;
            part.set(State::Up);
            answer(&socket, listener, &interface, &context).await
        }
    })
    .await;
}

/// Opens a socket for one port of one interface.
pub(super) fn bind(interface: &str, port: u16) -> Result<UdpSocket, DhcpError> {
    let open = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|source| DhcpError::Bind { interface: interface.to_owned(), port, source })
}

/// Answers requests until the socket breaks.
pub(super) async fn answer(
    socket: &UdpSocket,
    listener: Listener,
    interface: &Interface,
    context: &Context,
) -> Result<(), DhcpError> {
    let mut buffer = vec![0; RECEIVE_BUFFER];
    loop {
        let (len, source) = socket.recv_from(&mut buffer).await.map_err(|source| DhcpError::Receive {
            interface: interface.name.clone(),
            port: listener.port(),
            source,
        })?;
        let SocketAddr::V4(source) = source else { continue };
        let server = Server {
            address: context.advertise.dhcp_server(interface.address),
            http_port: context.advertise.port(),
        };
        if let Some((datagram, destination)) =
            respond(&buffer[..len], source, listener, server, &context.metrics)
            && let Err(error) = socket.send_to(&datagram, destination).await
        {
            tracing::warn!(interface = interface.name, %destination, %error, "dhcp answer not sent");
        }
    }
}

/// One datagram in, at most one out.
pub fn respond(
    datagram: &[u8],
    source: SocketAddrV4,
    listener: Listener,
    server: Server,
    metrics: &Metrics,
) -> Option<(Vec<u8>, SocketAddrV4)> {
    let request = match Request::parse(datagram) {
        Ok(request) => request,
        Err(error) => {
            metrics.dhcp_malformed.increment();
            tracing::debug!(%source, %error, "dhcp packet dropped");
            return None;
        }
    };
    let offer = match decide::decide(&request, server, listener) {
        Ok(offer) => offer,
        Err(silence) => {
            metrics.dhcp_ignored.increment();
            tracing::debug!(mac = %request.hardware_address(), reason = %silence, "dhcp request not answered");
            return None;
        }
    };
    let reply = match offer.reply.encode(&request) {
        Ok(reply) => reply,
        Err(error) => {
            tracing::warn!(mac = %request.hardware_address(), error = crate::error::chain(&error), "dhcp answer not written");
            return None;
        }
    };
    let destination = decide::destination(&request, source);
    log(&request, &offer, listener, destination, metrics);
    Some((reply, destination))
}

fn log(request: &Request, offer: &Offer, listener: Listener, destination: SocketAddrV4, metrics: &Metrics) {
    match listener {
        Listener::Dhcp => metrics.dhcp_offers.increment(),
        Listener::Pxe => metrics.dhcp_acks.increment(),
    }
    let by = match offer.boot_file {
        BootFile::Script => "script",
        BootFile::Tftp(_) => "tftp",
        BootFile::Http(_) => "http",
    };
    tracing::info!(
        mac = %request.hardware_address(),
        uuid = request.machine_uuid().ok().flatten().unwrap_or_default(),
        arch = offer.architecture,
        by,
        file = offer.reply.boot_file,
        port = listener.port(),
        %destination,
        "boot file offered"
    );
}
