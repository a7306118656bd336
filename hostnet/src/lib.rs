//! One host's links, addresses, leases and clock offset: what `init` and the agent share of networking.
//!
//! It must never know Kubernetes, the product's configuration or its files: callers say which link,
//! which `resolv.conf` and which servers. Nothing here ends the process; every failure is a value.
//!
//! * [`link`]: links, addresses and routes by rtnetlink, and a watch on their changes.
//! * [`dhcp`]: a DHCP client (IPv4) that keeps one link configured for ever.
//! * [`fixed`]: the same for addresses given by hand.
//! * [`resolv`]: writing `resolv.conf`.
//! * [`sntp`]: the offset of this host's clock.

pub mod dhcp;
pub mod fixed;
pub mod link;
pub mod mac;
pub mod network;
pub mod resolv;
pub mod sntp;

pub use link::{Link, LinkKind, Netlink};
pub use mac::MacAddr;
