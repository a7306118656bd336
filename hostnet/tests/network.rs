//! Links and the DHCP client on real kernel interfaces, in network namespaces of their own.

mod network {
    mod dhcp;
    mod links;
    mod namespace;
}
