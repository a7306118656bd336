//! Fuzz targets: each parser of foreign bytes, and lives of machines. `make fuzz` runs them under libFuzzer; the tests
//! of this crate replay `corpus/` and its near neighbours with the ordinary compiler.

// A target fails by a panic: that is how libFuzzer, and the test, learn of it.
#![allow(clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

pub mod dhcp;
pub mod disk;
pub mod grpc;
pub mod ipmi;
pub mod ipxe_query;
pub mod life;
pub mod smbios;
pub mod tftp;

#[cfg(test)]
mod replay;
