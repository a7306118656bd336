//! gRPC `api.Agent`: machines that netbooted into the agent register here, are told what to do, and say how
//! it went (spec/sidero.md §5.3).
//!
//! Orders, and what is believed of their outcome, belong to one boot: the agent shows the token that boot was
//! given. Registering needs none, so it never leads to a write on a disk, to a clean Server or to a changed
//! management controller by itself; and nothing here ever touches a Server's `accepted`.

pub mod addresses;
pub mod bmc;
pub mod decide;
pub mod heartbeat;
pub mod objects;
pub mod progress;
pub mod register;
pub mod serve;
pub mod wiped;
pub mod wire;

#[cfg(test)]
mod tests;
