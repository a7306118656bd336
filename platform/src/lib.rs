//! What every program needs that works on a Kubernetes API: the client, watches, events, health, conditional writes, errors on
//! one line. It knows no machine and no kind of the product.

pub mod client;
mod errors;
pub mod events;
pub mod health;
pub mod patch;
pub mod targets;
pub mod watch;

pub use errors::chain;
