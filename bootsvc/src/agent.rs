//! gRPC `api.Agent`: machines that netbooted into the agent register here, are told what to do, and say how
//! it went (spec/sidero.md §5.3).
//!
//! Orders, and what is believed of their outcome, belong to one boot: the agent shows the token that boot was
//! given. Registering needs none, so it never leads to a write on a disk, to a clean Server or to a changed
//! management controller by itself; and nothing here ever touches a Server's `accepted`.
//!
//! What remains of upstream's open door (spec/sidero.md §11 number 18): the token travels in the clear, over
//! HTTP and on the kernel's command line. Who can listen to a machine's traffic, who takes its hardware address
//! on its own network, and who from behind a router knows UUID and card of a machine that is to be wiped, can
//! act as its agent until it boots again: say that it is wiped when it is not, and name a management controller
//! where there is none. He can wipe nothing and learns no secret.

pub mod addresses;
pub mod bmc;
mod create;
pub mod decide;
pub mod heartbeat;
mod instruct;
pub mod objects;
pub mod progress;
pub mod register;
pub mod serve;
mod strangers;
pub mod wiped;
pub mod wire;

#[cfg(test)]
mod tests;
