//! How long a caller waits for a node.

use std::time::Duration;

/// How long is waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to one address, TLS included.
    pub connect: Duration,
    /// For the whole answer to a question.
    pub ask: Duration,
    /// For a node to leave etcd: it moves the leadership and waits for the cluster's consent.
    pub leave: Duration,
    /// For the next event of those that the node remembers.
    pub event: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            // Upstream's.
            ask: Duration::from_secs(5),
            leave: Duration::from_secs(30),
            event: Duration::from_secs(1),
        }
    }
}
