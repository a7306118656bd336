//! What client and supervisor say to each other: one JSON object per line.
//!
//! Names and paths are relative to the lab's folder, which is the supervisor's current folder.

use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

/// Socket on which the supervisor joins connections from the host with the lab's network.
pub const FORWARD_SOCKET: &str = "run/forward.sock";

/// One request; `id` comes back in the reply.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client, unique per connection.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub op: Op,
}

/// What the supervisor can do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// Run a command to its end, feed it `stdin`, reply with its output.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Fed to its standard input.
        stdin: String,
        /// It is killed after so long.
        limit: Duration,
    },
    /// Start a child that goes on running.
    Spawn {
        /// Unique among running children.
        name: String,
        /// Program and arguments.
        argv: Vec<String>,
        /// Where its output is appended.
        log: String,
    },
    /// Kill a child (SIGKILL) that was started with [`Op::Spawn`].
    Kill { name: String },
    /// Send one datagram, broadcast included, from the lab's own address.
    Datagram {
        /// Receiver.
        to: SocketAddr,
        /// Content.
        payload: Vec<u8>,
    },
}

/// What the supervisor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub enum Message {
    /// The request was done.
    Done {
        /// Of the request.
        id: u64,
        /// Output of [`Op::Run`], else empty.
        output: String,
    },
    /// The request was not done.
    Failed {
        /// Of the request.
        id: u64,
        /// The chain of causes.
        error: String,
    },
    /// A child has ended.
    Exited {
        name: String,
        /// How, for people.
        status: String,
    },
}
