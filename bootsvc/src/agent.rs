//! gRPC `api.Agent`: machines that netbooted into the agent register here (spec/sidero.md §5.3).
//!
//! Unauthenticated, as upstream's is; so nothing said here ever marks a disk clean, changes a
//! machine's management access, or touches a Server's `accepted`.

pub mod decide;
pub mod serve;
pub mod wire;

#[cfg(test)]
mod tests;
