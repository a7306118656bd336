//! The protocols, generated from `proto/`. It must never change a field's number: nodes of other makers speak them.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "it is generated")]

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
