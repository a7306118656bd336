//! Client of the Talos machine API: what a control-plane provider asks of nodes.
//!
//! Duty: mutual TLS by a talosconfig, one connection per node, each call bounded in time and size, and errors sorted by what
//! follows from them. The messages are generated at build time from Talos's own definitions.
//! Never decides what to do with an answer: that is `bloomery_api::controlplane`'s.

mod answer;
mod connection;
mod credentials;
mod error;
mod limits;
mod node;

pub use answer::{Member, Service};
pub use connection::{PORT, connect};
pub use credentials::{Credentials, CredentialsError};
pub use error::{Cause, Error};
pub use limits::Limits;
pub use node::{Bootstrapped, Node};

/// The generated messages, with client and server of the calls that are made.
#[allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "generated")]
pub mod proto {
    /// What all of Talos's APIs share.
    pub mod common {
        tonic::include_proto!("common");
    }
    /// The machine API.
    pub mod machine {
        tonic::include_proto!("machine");
    }
    /// What `common` refers to.
    pub mod google {
        /// Statuses of calls.
        pub mod rpc {
            tonic::include_proto!("google.rpc");
        }
    }
}
