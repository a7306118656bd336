//! The DHCP client against ISC dhcpd in private network namespaces, as root and as anybody.

use std::time::Duration;

use super::namespace::{Mode, Network, client_link, inside, read, routes};
use bloomery_hostnet::dhcp::{Event, Lease, LossReason};
use bloomery_hostnet::{Netlink, link::IpNet};

/// Seconds of a lease in tests that wait for its end.
const SHORT: u32 = 6;

fn subnet(prefix: &str, seconds: u32, more: &str) -> String {
    format!(
        "authoritative; ping-check false; min-lease-time 1; default-lease-time {seconds}; max-lease-time {seconds};
         option rfc3442 code 121 = array of unsigned integer 8;
         subnet {prefix}.0 netmask 255.255.255.0 {{ range {prefix}.100 {prefix}.110; {more} }}"
    )
}

fn bound(event: &Event) -> bool {
    matches!(event, Event::Bound(_))
}

fn lease(event: Event) -> Lease {
    match event {
        Event::Bound(lease) | Event::Renewed(lease) | Event::Lost { lease, .. } => lease,
        Event::NoAnswer { .. } | Event::Failed { .. } => panic!("{event:?} has no lease"),
    }
}

async fn addresses(netlink: &Netlink) -> Vec<IpNet> {
    let link = client_link(netlink).await;
    link.addresses.into_iter().filter(|address| matches!(address, IpNet::V4(_))).collect()
}

async fn takes_a_lease() {
    let mut network = Network::new();
    network.serve_from("10.77.0.2/24");
    network.start_dhcpd(&subnet(
        "10.77.0",
        3600,
        "option routers 10.77.0.1; option domain-name-servers 10.77.0.8, 10.77.0.9; option host-name \"m1\";
         option domain-name \"lab.example\"; option ntp-servers 10.77.0.7; option interface-mtu 1400;",
    ));
    let netlink = Netlink::connect().unwrap();
    let mut client = network.client(&netlink).await;
    let lease = lease(network.event(&mut client, "bound", bound).await);
    assert_eq!(client.lease().borrow().as_ref(), Some(&lease));
    assert_eq!(lease.server.to_string(), "10.77.0.2");
    assert_eq!(lease.hostname.as_deref(), Some("m1"));
    assert_eq!(lease.ntp_servers, ["10.77.0.7".parse::<std::net::Ipv4Addr>().unwrap()]);
    assert_eq!(lease.times.map(|times| times.expire), Some(Duration::from_hours(1)));
    assert_eq!(addresses(&netlink).await, [IpNet::V4(lease.address)]);
    assert_eq!(client_link(&netlink).await.mtu, 1400);
    assert!(routes().contains("default via 10.77.0.1 metric 1024"), "{}", routes());
    assert_eq!(
        read(&network.resolv_conf()),
        "search lab.example\nnameserver 10.77.0.8\nnameserver 10.77.0.9\n"
    );
}

#[test]
fn takes_a_lease_and_puts_it_on_the_link() {
    inside(Mode::User, "network::dhcp::takes_a_lease_and_puts_it_on_the_link", takes_a_lease);
}

#[test]
fn takes_a_lease_as_root_without_a_user_namespace() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some(),
            "not root: run this test as root, or leave out what cannot run here with BLOOMERY_INCOMPLETE_TESTS=1"
        );
        return;
    }
    inside(Mode::Root, "network::dhcp::takes_a_lease_as_root_without_a_user_namespace", takes_a_lease);
}

#[test]
fn an_unwritable_resolv_conf_is_told_and_does_not_hold_up_the_lease() {
    inside(
        Mode::User,
        "network::dhcp::an_unwritable_resolv_conf_is_told_and_does_not_hold_up_the_lease",
        async || {
            let mut network = Network::new();
            network.serve_from("10.77.0.2/24");
            network.start_dhcpd(&subnet("10.77.0", 3600, "option domain-name-servers 10.77.0.8;"));
            // A directory stands where the file should be.
            std::fs::create_dir_all(network.resolv_conf().join("in-the-way")).unwrap();
            let netlink = Netlink::connect().unwrap();
            let mut client = network.client(&netlink).await;
            let failed =
                network.event(&mut client, "failed", |event| matches!(event, Event::Failed { .. })).await;
            assert!(format!("{failed:?}").contains("failed to write"), "{failed:?}");
            network.event(&mut client, "bound", bound).await;
            assert_eq!(addresses(&netlink).await.len(), 1);
        },
    );
}

#[test]
fn classless_routes_override_the_router() {
    inside(Mode::User, "network::dhcp::classless_routes_override_the_router", async || {
        let mut network = Network::new();
        network.serve_from("10.77.0.2/24");
        // 10.9.0.0/16 via 10.77.0.5, 10.8.8.8/32 on the link, default via a router outside of the prefix.
        network.start_dhcpd(&subnet(
            "10.77.0",
            3600,
            "option routers 10.77.0.1;
             option rfc3442 16, 10,9, 10,77,0,5, 32, 10,8,8,8, 0,0,0,0, 0, 192,0,2,1;",
        ));
        let netlink = Netlink::connect().unwrap();
        let mut client = network.client(&netlink).await;
        network.event(&mut client, "bound", bound).await;
        let routes = routes();
        for wanted in [
            "10.9.0.0/16 via 10.77.0.5 metric 1024",
            "10.8.8.8 scope link metric 1024",
            "default via 192.0.2.1 metric 1024 onlink",
        ] {
            assert!(routes.contains(wanted), "{wanted} is not in\n{routes}");
        }
        assert!(!routes.contains("10.77.0.1 "), "{routes}");
    });
}

#[test]
fn renews_before_the_lease_ends_and_keeps_the_address() {
    inside(Mode::User, "network::dhcp::renews_before_the_lease_ends_and_keeps_the_address", async || {
        let mut network = Network::new();
        network.serve_from("10.77.0.2/24");
        network.start_dhcpd(&subnet("10.77.0", SHORT, ""));
        let netlink = Netlink::connect().unwrap();
        let mut client = network.client(&netlink).await;
        let first = lease(network.event(&mut client, "bound", bound).await);
        for _ in 0..3 {
            let event = network.event(&mut client, "renewed or lost", |event| {
                matches!(event, Event::Renewed(_) | Event::Lost { .. })
            });
            let event = event.await;
            assert!(matches!(event, Event::Renewed(_)), "{event:?}");
            assert_eq!(lease(event).address, first.address);
            assert_eq!(addresses(&netlink).await, [IpNet::V4(first.address)]);
        }
        // Renewals go to the server alone: only the first exchange has a DISCOVER.
        assert_eq!(network.log().matches("DHCPDISCOVER").count(), 1, "{}", network.log());
    });
}

#[test]
fn starts_over_when_the_server_refuses_to_renew() {
    inside(Mode::User, "network::dhcp::starts_over_when_the_server_refuses_to_renew", async || {
        let mut network = Network::new();
        network.serve_from("10.77.0.2/24");
        network.start_dhcpd(&subnet("10.77.0", SHORT, "option routers 10.77.0.1;"));
        let netlink = Netlink::connect().unwrap();
        let mut client = network.client(&netlink).await;
        let first = lease(network.event(&mut client, "bound", bound).await);
        // The administrator reserves another address for this machine.
        let mac = client_link(&netlink).await.mac.unwrap();
        let reservation = format!("host m {{ hardware ethernet {mac}; fixed-address 10.77.0.50; }}");
        network.start_dhcpd(&format!("{}{reservation}", subnet("10.77.0", SHORT, "")));
        let lost = network.event(&mut client, "lost", |event| matches!(event, Event::Lost { .. })).await;
        assert!(
            matches!(lost, Event::Lost { reason: LossReason::Refused, .. }),
            "{lost:?}\n{}",
            network.log()
        );
        assert_eq!(lease(lost).address, first.address);
        let second = lease(network.event(&mut client, "bound", bound).await);
        assert_eq!(second.address.to_string(), "10.77.0.50/24");
        assert_eq!(addresses(&netlink).await, [IpNet::V4(second.address)]);
        assert!(!routes().contains("default"), "{}", routes());
    });
}

#[test]
fn takes_another_address_when_the_cable_is_plugged_into_another_network() {
    inside(
        Mode::User,
        "network::dhcp::takes_another_address_when_the_cable_is_plugged_into_another_network",
        async || {
            let mut network = Network::new();
            network.serve_from("10.77.0.2/24");
            network.start_dhcpd(&subnet("10.77.0", 3600, "option routers 10.77.0.1;"));
            let netlink = Netlink::connect().unwrap();
            let mut client = network.client(&netlink).await;
            network.event(&mut client, "bound", bound).await;
            network.unplug(&netlink).await;
            network.serve_from("10.78.0.2/24");
            network.start_dhcpd(&subnet("10.78.0", 3600, ""));
            network.plug(&netlink).await;
            let lost = network.event(&mut client, "lost", |event| matches!(event, Event::Lost { .. })).await;
            assert!(matches!(lost, Event::Lost { reason: LossReason::Refused, .. }), "{lost:?}");
            let second = lease(network.event(&mut client, "bound", bound).await);
            assert!(second.address.to_string().starts_with("10.78.0.1"), "{}", second.address);
            assert_eq!(addresses(&netlink).await, [IpNet::V4(second.address)]);
            assert!(!routes().contains("10.77.0"), "{}", routes());
        },
    );
}

#[test]
fn goes_on_asking_while_the_server_is_away_and_binds_when_it_is_back() {
    inside(
        Mode::User,
        "network::dhcp::goes_on_asking_while_the_server_is_away_and_binds_when_it_is_back",
        async || {
            let mut network = Network::new();
            network.serve_from("10.77.0.2/24");
            let netlink = Netlink::connect().unwrap();
            let mut client = network.client(&netlink).await;
            let silent = |event: &Event| matches!(event, Event::NoAnswer { carrier: true, .. });
            network.event(&mut client, "no answer before the server is up", silent).await;
            network.start_dhcpd(&subnet("10.77.0", SHORT, ""));
            let first = lease(network.event(&mut client, "bound", bound).await);
            network.stop_dhcpd();
            network.event(&mut client, "no answer while renewing", silent).await;
            let lost = network.event(&mut client, "lost", |event| matches!(event, Event::Lost { .. })).await;
            assert!(matches!(lost, Event::Lost { reason: LossReason::Expired, .. }), "{lost:?}");
            assert_eq!(addresses(&netlink).await, []);
            assert_eq!(*client.lease().borrow(), None);
            network.start_dhcpd(&subnet("10.77.0", SHORT, ""));
            let again = lease(network.event(&mut client, "bound", bound).await);
            assert_eq!(again.address, first.address);
        },
    );
}

#[test]
fn confirms_its_address_when_the_carrier_comes_back() {
    inside(Mode::User, "network::dhcp::confirms_its_address_when_the_carrier_comes_back", async || {
        let mut network = Network::new();
        network.serve_from("10.77.0.2/24");
        network.start_dhcpd(&subnet("10.77.0", 3600, ""));
        let netlink = Netlink::connect().unwrap();
        let mut client = network.client(&netlink).await;
        let first = lease(network.event(&mut client, "bound", bound).await);
        network.unplug(&netlink).await;
        network.plug(&netlink).await;
        let renewed = network.event(&mut client, "renewed", |event| matches!(event, Event::Renewed(_))).await;
        assert_eq!(lease(renewed).address, first.address);
    });
}
