//! Proxy DHCP (UDP 67 and 4011): tells a machine that is already getting an address from the
//! site's DHCP server what to boot, and nothing else.
//!
//! It must never hand out an address, and never answer a request that does not ask to boot.

pub mod admit;
pub mod decide;
pub mod log;
pub mod serve;
pub mod wire;

#[cfg(test)]
mod tests;
