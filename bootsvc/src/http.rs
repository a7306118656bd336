//! HTTP on port 8081 (HTTP/1.1 and HTTP/2 without TLS): scripts, the `/ipxe` decision, configurations, boot files,
//! and the agent's gRPC on the same port.
//!
//! Files are served whether or not the Kubernetes API answers; decisions are not.

pub mod admission;
pub mod architecture;
pub mod claim;
pub mod configdata;
pub mod context;
pub mod decide;
pub mod download;
pub mod files;
pub mod grant;
pub mod hand_out;
pub mod intake;
pub mod ipxe;
pub mod lookup;
pub mod pulse;
pub mod query;
pub mod route;
pub mod serve;
pub mod startup;
pub mod tapped;

#[cfg(test)]
pub(crate) mod tests;
