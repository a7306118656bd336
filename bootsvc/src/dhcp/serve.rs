//! The DHCP sockets: two for each interface, opened and closed as interfaces come and go.
//!
//! A socket is bound to its interface, so that an answer goes out where the question came in, and
//! another DHCP server on the same machine is not disturbed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use bloomery_sys::datagram::{Inbox, Outbox, Wait};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admit::admit;
use super::decide::{self, Listener, Means, Offer, Server, Silence};
use super::log::OfferLog;
use super::wire::Request;
use crate::edge::Edge;
use crate::health::{Health, State, Weight};
use crate::interfaces::Interface;
use crate::machines::Machines;
use crate::servers::Servers;
use crate::supervise;
use crate::trace::Identity;

/// Largest datagram looked at; DHCP over Ethernet stays below 1,500.
const RECEIVE_LEN: usize = 2048;
/// Usual length of an answer.
const ANSWER_LEN: usize = 512;
/// Datagrams received or sent with one call: a rack that is switched on asks all at once.
const BATCH: usize = 32;
/// Kernel buffer: 2,000 requests may wait.
const SOCKET_BUFFER: usize = 4 << 20;

/// A socket could not be opened, or broke.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// Port taken, interface gone, or no right to bind it.
    #[error("failed to bind DHCP port {port} on {interface}")]
    Bind { interface: String, port: u16, source: std::io::Error },
    #[error("failed to receive on DHCP port {port} of {interface}")]
    Receive { interface: String, port: u16, source: std::io::Error },
}

#[derive(Clone)]
pub struct Context {
    /// Addresses, loaders, and where what happens is noted.
    pub edge: Edge,
    /// Which offers are worth a line.
    pub log: Arc<OfferLog>,
    /// Whether this plane is the one in charge; while it is not, nobody gets an answer.
    pub acts: watch::Receiver<bool>,
    pub machines: Machines,
    /// Tell which machines a person accepted.
    pub servers: Servers,
}

/// Serves all interfaces until `shutdown`.
pub async fn run(
    context: Context,
    mut interfaces: watch::Receiver<Vec<Interface>>,
    health: Health,
    shutdown: CancellationToken,
) {
    // A plane that waits for its own address is as ready as it can be; each interface counts for itself.
    let part = health.register("dhcp", Weight::Shown);
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
            State::Down("no provisioning interface has an IPv4 address; name one under network.interfaces if it is no physical one".to_owned())
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
        // Beyond the system's limit only with CAP_NET_ADMIN; the limit will do without.
        if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
            socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        }
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
    let mut inbox = Inbox::new(BATCH, RECEIVE_LEN);
    let mut outbox = Outbox::new(BATCH, ANSWER_LEN);
    let mut reply = Vec::with_capacity(ANSWER_LEN);
    loop {
        let count = socket
            .async_io(Interest::READABLE, || inbox.receive(socket, Wait::Never))
            .await
            .map_err(|source| DhcpError::Receive {
                interface: interface.name.clone(),
                port: listener.port(),
                source,
            })?;
        let server = Server {
            interface: &interface.name,
            on: interface.address,
            address: context.edge.advertise.dhcp_server(interface.address),
            http_port: context.edge.advertise.port(),
        };
        for index in 0..count {
            let datagram = inbox.get(index);
            if let Some(destination) =
                respond(datagram.payload, datagram.source, listener, server, context, &mut reply)
            {
                outbox.push(&[&reply], None, destination);
            }
        }
        if let (_, Some(error)) = outbox.flush(socket)
            && context.log.may_warn()
        {
            tracing::warn!(interface = interface.name, %error, "dhcp answer not sent");
        }
    }
}

/// One datagram in, at most one out, which is then in `reply`.
pub fn respond(
    datagram: &[u8],
    source: SocketAddrV4,
    listener: Listener,
    server: Server<'_>,
    context: &Context,
    reply: &mut Vec<u8>,
) -> Option<SocketAddrV4> {
    let request = match Request::parse(datagram) {
        Ok(request) => request,
        Err(error) => {
            context.edge.metrics.dhcp_malformed.inc();
            tracing::debug!(%source, %error, "dhcp packet dropped");
            return None;
        }
    };
    let is_accepted = |card: Option<&str>, uuid: Option<&str>| context.servers.is_accepted(card, uuid);
    let means = Means {
        acts: *context.acts.borrow(),
        has: &|loader| context.edge.loaders.is_servable(loader),
        admission: admit(&context.machines, is_accepted, &request, source, server),
    };
    match decide::decide(&request, server, listener, means) {
        Ok(offer) => {
            offer.reply.encode(&request, reply);
            if listener == Listener::Dhcp && !request.giaddr.is_unspecified() {
                context.edge.sources.relayed(request.giaddr);
            }
            let destination = decide::destination(&request, source, listener);
            note_offer(&request, &offer, listener, destination, context);
            Some(destination)
        }
        Err(silence) => {
            note_silence(&request, silence, listener, context);
            None
        }
    }
}

fn identity(request: &Request<'_>) -> Identity {
    Identity { mac: request.mac(), uuid: request.machine_uuid().ok().flatten(), address: None }
}

fn note_silence(request: &Request<'_>, silence: Silence, listener: Listener, context: &Context) {
    let netboots = request.architectures().is_some();
    let architecture = request.architectures().and_then(|mut list| list.next_back());
    context.edge.metrics.dhcp_ignored(silence.name(), architecture);
    tracing::debug!(mac = %request.hardware_address(), reason = %silence, "dhcp request not answered");
    match silence {
        Silence::MessageType => {
            // A booting client's request for its address tells us where it will speak from.
            if netboots
                && listener == Listener::Dhcp
                && let (Some(mac), Some(address)) = (request.mac(), request.wanted_address())
            {
                context.edge.trace.address(mac, IpAddr::V4(address));
            }
        }
        Silence::NotNetbooting => {}
        Silence::MachineId
        | Silence::Architecture
        | Silence::LoaderMissing
        | Silence::Fenced
        | Silence::Denied
        | Silence::Ignored => {
            let who = identity(request);
            context.edge.trace.discover(who);
            context.edge.trace.silent(who, silence.name());
            if context.log.is_news(request.mac(), silence.name()) {
                tracing::warn!(mac = %request.hardware_address(), arch = architecture, reason = %silence, "booting machine not answered");
            }
        }
    }
}

fn note_offer(
    request: &Request<'_>,
    offer: &Offer<'_>,
    listener: Listener,
    destination: SocketAddrV4,
    context: &Context,
) {
    let (via, name) = (offer.boot_file.via(), offer.boot_file.name());
    let who = identity(request);
    match listener {
        Listener::Dhcp => {
            context.edge.metrics.dhcp_answered("offer", offer.architecture, via);
            context.edge.trace.discover(who);
            context.edge.trace.offer(who, via, name);
        }
        Listener::Pxe => {
            context.edge.metrics.dhcp_answered("ack", offer.architecture, via);
            let address = Some(*destination.ip()).filter(|ip| !ip.is_broadcast()).map(IpAddr::V4);
            context.edge.trace.acknowledged(Identity { address, ..who }, via, name);
        }
    }
    if context.log.is_news(request.mac(), name) {
        tracing::info!(
            mac = %request.hardware_address(),
            uuid = who.uuid.map(|uuid| uuid.to_string()),
            arch = offer.architecture,
            file = %offer.reply.boot_file,
            port = listener.port(),
            %destination,
            "boot file offered"
        );
    }
}
