//! TFTP (UDP 69): gives firmware its iPXE binary and iPXE its script, read-only.
//!
//! One port serves every transfer (spec/sidero.md §3.2), which passes firewalls and NAT and keeps
//! the port table short; each datagram leaves from the address the client asked. The well-kept
//! `async-tftp` crate was looked at first and does neither; it also goes on sending for minutes
//! after a client's ERROR, which every UEFI sends to end its size probe.
//!
//! It must never write, and never open a path that a client made up.

pub mod decide;
pub mod link;
pub mod serve;
pub mod transfer;
mod transfers;
pub mod wire;

#[cfg(test)]
mod tests;
