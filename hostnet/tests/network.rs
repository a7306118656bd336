//! Links and the DHCP client on real kernel interfaces, in network namespaces of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod network {
    mod dhcp;
    mod links;
    mod namespace;
}
