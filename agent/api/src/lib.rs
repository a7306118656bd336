//! The gRPC wire between the agent and the boot services (`api.Agent`, spec/sidero.md §5.3).
//!
//! Generated from `proto/agent.proto`; it must never gain a field that upstream's wire does not have.
#![allow(missing_docs, unreachable_pub, clippy::pedantic)]

tonic::include_proto!("api");
