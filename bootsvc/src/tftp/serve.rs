//! The TFTP service: a thread of its own receives, asks [`super::transfer`], sends through [`super::link`].
//!
//! A thread, because each step is a few microseconds of work between two system calls, and going
//! through the runtime's event queue would cost more than the work. In lockstep with blocks of 512
//! octets 19 of 20 of its cycles are the kernel's, for the way of a datagram in or out, so that there
//! is next to nothing left to save here. A bad packet is counted and dropped; only a broken socket
//! ends the service, and its supervisor opens a new one.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::decide::{self, File};
use super::link::{Link, Peer};
use super::transfer::{End, Path, Step, Transfer};
use super::transfers::{Live, Transfers};
use super::wire::{self, ErrorCode, Packet, ReadRequest};
use crate::boot_script;
use crate::edge::Edge;
use crate::trace::{Moment, Via};

/// IANA port of TFTP.
pub const TFTP_PORT: u16 = 69;
/// How often deadlines are looked at: a tenth of the retry time.
const TICK: Duration = Duration::from_millis(100);
/// What clients that want to write are told (spec/sidero.md §3.2).
const READ_ONLY: &str = "server does not support write requests";

#[derive(Debug, thiserror::Error)]
pub enum TftpError {
    /// The port is taken, or not allowed to us.
    #[error("failed to bind TFTP socket {address}")]
    Bind { address: SocketAddrV4, source: std::io::Error },
    #[error("failed to receive on the TFTP socket")]
    Receive(#[source] std::io::Error),
    #[error("failed to start the TFTP thread")]
    Thread(#[source] std::io::Error),
    /// The thread ended without a word; it panicked.
    #[error("failed to keep the TFTP thread running")]
    Ended,
}

/// The server on a bound socket.
pub struct Server {
    link: Link,
    edge: Edge,
    transfers: Transfers,
}

/// Stops the thread when the future that waits for it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Server {
    /// Binds `address`.
    pub fn bind(address: SocketAddrV4, edge: Edge) -> Result<Self, TftpError> {
        let link = Link::bind(address, TICK).map_err(|source| TftpError::Bind { address, source })?;
        Ok(Self { link, edge, transfers: Transfers::default() })
    }

    pub fn local_addr(&self) -> std::io::Result<std::net::SocketAddr> {
        self.link.local_addr()
    }

    /// Serves until the socket breaks, or this future is dropped.
    pub async fn run(mut self) -> Result<(), TftpError> {
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let stopped = stop.0.clone();
        let (report, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("tftp".to_owned())
            .spawn(move || {
                let result = self.serve(&stopped);
                // Free the port before anybody is told.
                drop(self);
                let _ = report.send(result);
            })
            .map_err(TftpError::Thread)?;
        ended.await.unwrap_or(Err(TftpError::Ended))
    }

    fn serve(&mut self, stop: &AtomicBool) -> Result<(), TftpError> {
        let mut inbox = Link::inbox();
        let mut next_tick = Instant::now() + TICK;
        while !stop.load(Ordering::Relaxed) {
            let count = self.link.receive(&mut inbox).map_err(TftpError::Receive)?;
            let now = Instant::now();
            for index in 0..count {
                let datagram = inbox.get(index);
                self.handle((datagram.source, datagram.local), datagram.payload, now);
            }
            if now >= next_tick {
                self.expire(now);
                next_tick = now + TICK;
            }
            self.link.flush();
        }
        Ok(())
    }

    fn handle(&mut self, peer: Peer, datagram: &[u8], now: Instant) {
        // Not even told so: the address may be of one that asked for nothing.
        if !self.edge.sources.serves(*peer.0.ip()) || !self.edge.sources.answers_at(peer.1.into()) {
            self.edge.metrics.tftp_malformed.inc();
            tracing::debug!(client = %peer.0, at = %peer.1, "tftp packet dropped: not from a provisioning network");
            return;
        }
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => self.read(peer, request, now),
            Ok(Packet::Write) => self.refuse(peer, ErrorCode::FileNotFound, READ_ONLY),
            Ok(Packet::Ack(block)) => {
                if let Some(live) = self.transfers.get_mut(peer) {
                    let step = live.transfer.acknowledge(block, now);
                    self.take(peer, step);
                }
            }
            Ok(Packet::Error { code, text }) => {
                if let Some(live) = self.transfers.remove(peer) {
                    self.aborted(peer, &live, code, &text);
                }
            }
            Ok(Packet::ServerOnly) => {
                self.edge.metrics.tftp_malformed.inc();
            }
            Err(error) => {
                self.edge.metrics.tftp_malformed.inc();
                tracing::debug!(client = %peer.0, %error, "tftp packet dropped");
                // Only requests can be answered; an answer to other junk could start a storm.
                if matches!(error, wire::ParseError::Mode | wire::ParseError::Text) {
                    self.refuse(peer, ErrorCode::IllegalOperation, "malformed request");
                }
            }
        }
    }

    fn read(&mut self, peer: Peer, request: ReadRequest, now: Instant) {
        if let Some(live) = self.transfers.get_mut(peer)
            && live.request == request
            && live.transfer.is_repeated_request(now.saturating_duration_since(live.started))
        {
            let step = live.transfer.repeat_request(now);
            return self.take(peer, step);
        }
        // RFC 1350 section 4: both ports together are the transfer, so that a new request ends the old one.
        if let Some(live) = self.transfers.remove(peer) {
            self.aborted(peer, &live, 0, "the client asks anew");
        }
        let Some(file) = decide::find(&request.path) else {
            self.edge.metrics.tftp_transfer(Moment::Refused);
            tracing::debug!(client = %peer.0, path = request.path, "tftp file not found");
            return self.refuse(peer, ErrorCode::FileNotFound, "file not found");
        };
        if self.transfers.is_full(peer, request.mode) {
            self.edge.metrics.tftp_transfer(Moment::Refused);
            return self.refuse(peer, ErrorCode::Undefined, "too many transfers, try again");
        }
        let bytes = match self.open(file, peer.1) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.edge.metrics.tftp_transfer(Moment::Refused);
                self.trace(peer, file, Moment::Refused);
                tracing::warn!(client = %peer.0, file = file.name(), error = bloomery_base::chain(&error), "tftp file cannot be served");
                return self.refuse(peer, ErrorCode::FileNotFound, "file not available");
            }
        };
        let mtu = Link::mtu(peer.0);
        let path = Path { mtu, is_proven: self.edge.paths.is_proven(*peer.0.ip()) };
        let (transfer, first) = Transfer::start(&request, bytes, path, now);
        self.trace(peer, file, Moment::Started);
        self.transfers.insert(peer, Live { transfer, request, file, mtu, started: now });
        self.take(peer, first);
    }

    fn open(&self, file: File, local: Ipv4Addr) -> Result<Bytes, crate::loaders::LoaderError> {
        match file {
            File::Loader(loader) => self.edge.loaders.read(loader),
            File::Script => {
                let endpoint = self.edge.advertise.endpoint_at(local.into());
                Ok(Bytes::from(boot_script::render(&endpoint)))
            }
        }
    }

    fn take(&mut self, peer: Peer, step: Step) {
        match step {
            Step::Wait => {}
            Step::Offer => {
                if let Some(offer) = self.transfers.get(peer).and_then(|live| live.transfer.offer()) {
                    self.link.send(peer, &[offer]);
                }
            }
            Step::Blocks(blocks) => {
                if let Some(live) = self.transfers.get(peer) {
                    self.link.send_blocks(peer, &live.transfer, blocks, live.mtu);
                }
            }
            Step::End(end) => {
                if let Some(live) = self.transfers.remove(peer) {
                    self.ended(peer, &live, end);
                }
            }
        }
    }

    fn ended(&self, peer: Peer, live: &Live, end: End) {
        let (client, file) = (peer.0, live.file.name());
        let milliseconds = live.started.elapsed().as_millis();
        match end {
            End::Complete => {
                self.count(peer, live, Moment::Complete);
                tracing::info!(%client, file, bytes = live.transfer.file_len(), milliseconds, "tftp file sent");
            }
            // Size probes that end without a word never acknowledge a block.
            End::TimedOut if !live.transfer.has_progressed() => {
                self.count(peer, live, Moment::NotTakenUp);
                tracing::debug!(%client, file, "tftp transfer not taken up");
            }
            End::TimedOut => {
                self.count(peer, live, Moment::TimedOut);
                tracing::warn!(%client, file, milliseconds, "tftp client went silent");
            }
        }
    }

    /// The client ended it. UEFI ends its size probe this way, so it is a failure only later on.
    fn aborted(&self, peer: Peer, live: &Live, code: u16, text: &str) {
        let (client, file) = (peer.0, live.file.name());
        if live.transfer.has_progressed() {
            self.count(peer, live, Moment::Aborted);
            tracing::warn!(%client, file, code, text, "tftp transfer ended by client");
        } else {
            self.count(peer, live, Moment::Probed);
            tracing::debug!(%client, file, code, text, "tftp size probe");
        }
    }

    fn count(&self, peer: Peer, live: &Live, end: Moment) {
        self.edge.metrics.tftp_transfer(end);
        self.edge.metrics.tftp_bytes.inc_by(live.transfer.octets_acknowledged());
        self.trace(peer, live.file, end);
    }

    fn trace(&self, peer: Peer, file: File, moment: Moment) {
        self.edge.trace.loader(IpAddr::V4(*peer.0.ip()), Via::Tftp, file.name(), moment);
    }

    fn refuse(&mut self, peer: Peer, code: ErrorCode, text: &str) {
        self.link.send(peer, &[&wire::error(code, text)]);
    }

    fn expire(&mut self, now: Instant) {
        let due = self.transfers.tick(now);
        for (peer, step) in due {
            self.take(peer, step);
        }
    }
}
