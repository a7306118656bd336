//! etcd's own troubles, which nobody else on an appliance without a shell could end: a database that has reached its
//! quota takes no write any more until it is compacted, defragmented and its alarm is taken back.
//!
//! PID 1 looks every few seconds, with a client certificate that it makes for itself and keeps in memory. The rules
//! are in `decide.rs`. It must never take back an alarm about damage, and never delete a key.

mod client;
pub mod decide;
mod keep;
mod wire;

pub use client::{Client, Error};
pub use keep::{Told, keep_room, watch};
