//! The log receiver: kernel logs of nodes, as `talos.logging.kernel` sends them, into one bounded log for each machine.

pub mod line;
pub mod store;

use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::bounds::{Admission, Pace};
use crate::listen;
use crate::nodes::Nodes;
use line::Reader;
use store::Store;

/// Connections: a node has one for its kernel and one for each service that sends its log here.
const MOST_CONNECTIONS: usize = 4096;
const CONNECTIONS_EACH: usize = 8;
/// Octets of one node: a boot has some hundred KiB. A node that sends more is read more slowly.
const OCTETS_EACH_SECOND: u32 = 64 << 10;
const BURST_OF_OCTETS: u32 = 2 << 20;
/// Octets read at once.
const PIECE: usize = 16 << 10;

/// What came in, for the metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lines that were kept.
    pub lines: AtomicU64,
    /// Connections that ended because of what they sent.
    pub refused: AtomicU64,
}

/// The receiver.
#[derive(Clone)]
pub struct Receiver(Arc<Inner>);

struct Inner {
    nodes: Nodes,
    store: Store,
    counters: Arc<Counters>,
    admission: Admission,
    pace: Pace,
}

impl Receiver {
    /// Of these nodes, into this store.
    pub fn new(nodes: Nodes, store: Store, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Inner {
            nodes,
            store,
            counters,
            admission: Admission::new(MOST_CONNECTIONS, CONNECTIONS_EACH),
            pace: Pace::new(OCTETS_EACH_SECOND, BURST_OF_OCTETS),
        }))
    }

    /// Takes logs for ever.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        listen::serve(&listener, &self.0.admission, |stream, node| self.clone().connection(stream, node))
            .await
    }

    async fn connection(self, mut stream: TcpStream, node: Ipv6Addr) {
        let mut reader = Reader::default();
        let mut piece = vec![0; PIECE];
        loop {
            let length = match stream.read(&mut piece).await {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) => return tracing::debug!(%node, %error, "connection ended"),
            };
            // Looked up each time: the machine may have been given to another cluster meanwhile.
            let binding = self.0.nodes.at(node);
            let Some(name) = binding.as_ref().and_then(|binding| binding.metadata.name.as_deref()) else {
                return tracing::debug!(%node, "connection ended: no ServerBinding has this address");
            };
            let mut text = String::new();
            let outcome = reader.read(&piece[..length], Timestamp::now(), &mut text);
            // Lines can be longer than what they were made of.
            self.0.pace.take(node, length.max(text.len())).await;
            self.keep(name, text).await;
            if let Err(error) = outcome {
                self.0.counters.refused.fetch_add(1, Ordering::Relaxed);
                return tracing::info!(%node, server = name, %error, "connection of a log ended");
            }
        }
    }

    async fn keep(&self, name: &str, text: String) {
        if text.is_empty() {
            return;
        }
        let lines = text.lines().count();
        let (store, name) = (self.0.store.clone(), name.to_owned());
        // A file; the disk may be slow.
        let kept = tokio::task::spawn_blocking(move || store.append(&name, &text)).await;
        match kept {
            Ok(Ok(())) => {
                self.0.counters.lines.fetch_add(lines as u64, Ordering::Relaxed);
            }
            Ok(Err(error)) => {
                tracing::warn!(error = bloomery_base::chain(&error), "log of a machine not kept");
            }
            Err(error) => tracing::error!(%error, "log of a machine not kept"),
        }
    }
}
