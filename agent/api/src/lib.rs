//! The gRPC wire between the agent and the boot services (`api.Agent`, spec/sidero.md §5.3).
//!
//! Generated from `proto/agent.proto`. Fields of ours are numbered from 100 on; it must never change or reuse one of
//! upstream's.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, reason = "most of it is generated")]

pub mod contents;
pub mod seal;

/// Kernel argument that ties an agent to the boot it was given: `bloomery.token=TOKEN`.
pub const TOKEN_ARGUMENT: &str = "bloomery.token";
/// gRPC metadata key under which the agent shows that token with every call.
pub const TOKEN_METADATA: &str = "bloomery-boot-token";
/// Kernel argument with the SHA-256 of the plane's sealing key, in base64url without padding: `bloomery.plane=HASH`.
pub const PLANE_ARGUMENT: &str = "bloomery.plane";

tonic::include_proto!("api");
