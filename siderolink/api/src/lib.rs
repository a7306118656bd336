//! The protocols that nodes speak to SideroLink (spec/sidero.md §7), generated from `proto/`.
//!
//! It must never change a field's number: nodes are of another make.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "it is generated")]

/// Metadata by which the boot services, which pass a node's call on, say at which of the plane's addresses it came in.
pub const REACHED_AT: &str = "bloomery-reached-at";
/// Longest message of a call for a tunnel; an honest one has some hundred octets.
pub const MOST_OCTETS: usize = 16 << 10;

/// How a node asks for its end of the tunnel.
pub mod link {
    tonic::include_proto!("sidero.link");
}

/// Where a node sends its events.
pub mod events {
    tonic::include_proto!("events");
}

/// The events.
pub mod machine {
    tonic::include_proto!("machine");
}
