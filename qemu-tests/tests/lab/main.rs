//! The whole plane. `make test-namespaces` and `make test-qemu` name these tests, which need the image's root tree or
//! the image; a plain `cargo test` leaves them alone (`test = false`).

// All of it is tests: a broken expectation is the failure.
#![allow(clippy::expect_used, clippy::panic)]

mod clusterctl;
mod in_namespaces;
mod in_qemu;
