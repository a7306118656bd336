//! The TFTP socket: receives, asks [`super::transfer`], sends.
//!
//! A bad packet is counted and dropped; only a broken socket ends the service, and its supervisor
//! opens a new one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::decide::{self, File};
use super::transfer::{End, Step, Transfer};
use super::wire::{self, ErrorCode, Packet, ReadRequest};
use crate::advertise::Advertise;
use crate::boot_script;
use crate::loaders::LoaderStore;
use crate::metrics::Metrics;
use crate::udp::AddressedSocket;

/// IANA port of TFTP.
pub const TFTP_PORT: u16 = 69;
/// Transfers at once; beyond it clients are told to come again. Each costs a few hundred bytes.
const MAX_TRANSFERS: usize = 4096;
/// How often deadlines are looked at: a tenth of the retry time.
const TICK: Duration = Duration::from_millis(100);
/// Largest datagram a client has reason to send: a request of 512 octets and its opcode.
const RECEIVE_BUFFER: usize = 2048;
/// What clients that want to write are told (spec/sidero.md §3.2).
const READ_ONLY: &str = "server does not support write requests";

/// The service could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    /// The port is taken, or not allowed to us.
    #[error("failed to bind TFTP socket {address}")]
    Bind {
        /// Address and port.
        address: SocketAddrV4,
        /// Cause.
        source: std::io::Error,
    },
    /// The socket broke.
    #[error("failed to receive on the TFTP socket")]
    Receive(#[source] std::io::Error),
}

/// What transfers are made from.
#[derive(Clone)]
pub struct Context {
    /// The iPXE binaries.
    pub loaders: Arc<LoaderStore>,
    /// Address to put into the script.
    pub advertise: Advertise,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// Both ends of a transfer: one client may use two of our addresses.
type Peer = (SocketAddrV4, Ipv4Addr);

struct Live {
    transfer: Transfer,
    request: ReadRequest,
    file: File,
    started: Instant,
}

/// The server on a bound socket.
pub struct Server {
    socket: AddressedSocket,
    context: Context,
    transfers: HashMap<Peer, Live>,
}

impl Server {
    /// Binds `address`.
    pub fn bind(address: SocketAddrV4, context: Context) -> Result<Self, TftpError> {
        let socket = AddressedSocket::bind(address).map_err(|source| TftpError::Bind { address, source })?;
        Ok(Self { socket, context, transfers: HashMap::new() })
    }

    /// The bound address.
    pub fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until the socket breaks.
    pub async fn run(mut self) -> Result<(), TftpError> {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.socket.receive(&mut buffer) => {
                    let envelope = received.map_err(TftpError::Receive)?;
                    let peer = (envelope.source, envelope.local);
                    self.handle(peer, &buffer[..envelope.len]).await;
                }
                _ = tick.tick() => self.expire().await,
            }
        }
    }

    async fn handle(&mut self, peer: Peer, datagram: &[u8]) {
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => self.read(peer, request).await,
            Ok(Packet::Write) => self.refuse(peer, ErrorCode::FileNotFound, READ_ONLY).await,
            Ok(Packet::Ack(block)) => {
                let now = Instant::now();
                let step = self.transfers.get_mut(&peer).map(|live| live.transfer.acknowledge(block, now));
                if let Some(step) = step {
                    self.take(peer, step).await;
                }
            }
            Ok(Packet::Error { code, text }) => {
                if let Some(live) = self.transfers.remove(&peer) {
                    // UEFI ends its size probe this way, so it is no failure by itself.
                    tracing::debug!(client = %peer.0, file = live.file.name(), code, text, "tftp transfer ended by client");
                }
            }
            Ok(Packet::ServerOnly) => self.context.metrics.tftp_malformed.increment(),
            Err(error) => {
                self.context.metrics.tftp_malformed.increment();
                tracing::debug!(client = %peer.0, %error, "tftp packet dropped");
                // Only requests can be answered; an answer to other junk could start a storm.
                if matches!(error, wire::ParseError::Mode | wire::ParseError::Text) {
                    self.refuse(peer, ErrorCode::IllegalOperation, "malformed request").await;
                }
            }
        }
    }

    async fn read(&mut self, peer: Peer, request: ReadRequest) {
        let now = Instant::now();
        if let Some(live) = self.transfers.get_mut(&peer)
            && live.request == request
        {
            let step = live.transfer.repeat_request(now);
            return self.take(peer, step).await;
        }
        let Some(file) = decide::find(&request.path) else {
            self.context.metrics.tftp_refused.increment();
            tracing::debug!(client = %peer.0, path = request.path, "tftp file not found");
            return self.refuse(peer, ErrorCode::FileNotFound, "file not found").await;
        };
        if self.transfers.len() >= MAX_TRANSFERS && !self.transfers.contains_key(&peer) {
            self.context.metrics.tftp_refused.increment();
            return self.refuse(peer, ErrorCode::Undefined, "too many transfers, try again").await;
        }
        let bytes = match self.open(file, peer.1) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.context.metrics.tftp_refused.increment();
                tracing::warn!(client = %peer.0, file = file.name(), error = crate::error::chain(&error), "tftp file cannot be served");
                return self.refuse(peer, ErrorCode::FileNotFound, "file not available").await;
            }
        };
        let (transfer, first) = Transfer::start(&request, bytes, now);
        self.transfers.insert(peer, Live { transfer, request, file, started: now });
        self.take(peer, Step::Send(first)).await;
    }

    fn open(&self, file: File, local: Ipv4Addr) -> Result<Bytes, crate::loaders::LoaderError> {
        match file {
            File::Loader(loader) => self.context.loaders.read(loader),
            File::Script => {
                let endpoint = self.context.advertise.endpoint_at(local.into());
                Ok(Bytes::from(boot_script::render(&endpoint)))
            }
        }
    }

    async fn take(&mut self, peer: Peer, step: Step) {
        match step {
            Step::Send(packets) => {
                for packet in packets {
                    self.send(peer, &packet).await;
                }
            }
            Step::End(end) => {
                if let Some(live) = self.transfers.remove(&peer) {
                    self.log_end(peer, &live, end);
                }
            }
        }
    }

    fn log_end(&self, peer: Peer, live: &Live, end: End) {
        let (client, file) = (peer.0, live.file.name());
        let milliseconds = live.started.elapsed().as_millis();
        let bytes = live.transfer.file_len();
        match end {
            End::Complete => {
                self.context.metrics.tftp_complete.increment();
                tracing::info!(%client, file, bytes, milliseconds, "tftp file sent");
            }
            // Size probes that end without a word never acknowledge a block.
            End::TimedOut if !live.transfer.has_progressed() => {
                tracing::debug!(%client, file, "tftp transfer not taken up");
            }
            End::TimedOut => {
                self.context.metrics.tftp_timed_out.increment();
                tracing::warn!(%client, file, milliseconds, "tftp client went silent");
            }
        }
    }

    async fn refuse(&self, peer: Peer, code: ErrorCode, text: &str) {
        self.send(peer, &wire::error(code, text)).await;
    }

    /// A datagram that cannot be sent is as good as lost; the retries deal with it.
    async fn send(&self, (client, local): Peer, packet: &[u8]) {
        if let Err(error) = self.socket.send(packet, local, client).await {
            tracing::debug!(%client, %error, "tftp packet not sent");
        }
    }

    async fn expire(&mut self) {
        let now = Instant::now();
        let due: Vec<(Peer, Step)> = self
            .transfers
            .iter_mut()
            .map(|(&peer, live)| (peer, live.transfer.tick(now)))
            .filter(|(_, step)| !matches!(step, Step::Send(packets) if packets.is_empty()))
            .collect();
        for (peer, step) in due {
            self.take(peer, step).await;
        }
    }
}
