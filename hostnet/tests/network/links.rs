//! Links, addresses, routes and the watch, on a cable between two namespaces.

use bloomery_hostnet::fixed::Fixed;
use bloomery_hostnet::link::{Change, Error, IpNet, Route, Watch};
use bloomery_hostnet::{LinkKind, MacAddr, Netlink};

use super::namespace::{CLIENT, Mode, Network, client_link, inside, limit, read, routes, wait_for_carrier};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Waits for a change that `wanted` accepts.
async fn change(watch: &mut Watch, what: &str, wanted: impl Fn(&Change) -> bool) {
    let found = tokio::time::timeout(limit(10), async {
        loop {
            let change = watch.next().await.expect("the watch goes on");
            if wanted(&change) {
                return;
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("no change {what:?} in {:?}", limit(10)));
}

#[test]
fn lists_links_and_finds_them_by_hardware_address() {
    inside(Mode::User, "network::links::lists_links_and_finds_them_by_hardware_address", async || {
        let _network = Network::new();
        let netlink = Netlink::connect().unwrap();
        let links = netlink.links().await.unwrap();
        assert_eq!(links[0].kind, LinkKind::Loopback);
        assert_eq!((links[0].name.as_str(), links[0].mac), ("lo", None));
        let link = client_link(&netlink).await;
        assert_eq!((&link.kind, link.mtu), (&LinkKind::Virtual("veth".to_owned()), 1500));
        assert!(!link.is_up() && !link.carrier);
        let mac = link.mac.unwrap();
        assert_eq!(netlink.find_by_mac(mac).await.unwrap().unwrap().name, CLIENT);
        assert_eq!(netlink.find_by_mac(MacAddr([2, 0, 0, 0, 0, 9])).await.unwrap(), None);
        assert!(matches!(netlink.link(999).await, Err(Error::NoLink { index: 999 })));
        let error = netlink.set_up(999).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to set up on the link with index 999");
        assert_eq!(error.errno(), Some(19));
    });
}

#[test]
fn puts_and_removes_addresses_and_routes_any_number_of_times() {
    inside(
        Mode::User,
        "network::links::puts_and_removes_addresses_and_routes_any_number_of_times",
        async || {
            let _network = Network::new();
            let netlink = Netlink::connect().unwrap();
            let index = client_link(&netlink).await.index;
            netlink.set_up(index).await.unwrap();
            netlink.set_mtu(index, 1300).await.unwrap();
            wait_for_carrier(&netlink, true).await;
            let route = Route {
                destination: "10.9.0.0/16".parse().unwrap(),
                gateway: Some("10.77.0.1".parse().unwrap()),
                onlink: false,
                metric: 7,
            };
            for _ in 0..2 {
                netlink.put_address(index, net("10.77.0.5/24")).await.unwrap();
                netlink.put_address(index, net("fd77::5/64")).await.unwrap();
                netlink.put_route(index, &route).await.unwrap();
            }
            let link = client_link(&netlink).await;
            assert_eq!(link.mtu, 1300);
            assert!(
                link.addresses.contains(&net("10.77.0.5/24")) && link.addresses.contains(&net("fd77::5/64"))
            );
            assert!(routes().contains("10.9.0.0/16 via 10.77.0.1 metric 7"), "{}", routes());
            for _ in 0..2 {
                netlink.remove_route(index, &route).await.unwrap();
                netlink.remove_address(index, net("10.77.0.5/24")).await.unwrap();
            }
            assert!(!client_link(&netlink).await.addresses.contains(&net("10.77.0.5/24")));
            assert_eq!(routes(), "");
        },
    );
}

#[test]
fn the_watch_sees_carrier_and_addresses_come_and_go() {
    inside(Mode::User, "network::links::the_watch_sees_carrier_and_addresses_come_and_go", async || {
        let network = Network::new();
        let netlink = Netlink::connect().unwrap();
        let index = client_link(&netlink).await.index;
        let mut watch = Watch::open().unwrap();
        netlink.set_up(index).await.unwrap();
        let carrier = |wanted| move |change: &Change| matches!(change, Change::Link(l) if l.index == index && l.carrier == wanted);
        change(&mut watch, "carrier", carrier(true)).await;
        let address = net("10.77.0.5/24");
        netlink.put_address(index, address).await.unwrap();
        change(&mut watch, "address", |change| *change == Change::Address { index, address }).await;
        netlink.remove_address(index, address).await.unwrap();
        change(&mut watch, "address gone", |change| *change == Change::AddressGone { index, address }).await;
        network.unplug(&netlink).await;
        change(&mut watch, "no carrier", carrier(false)).await;
        assert!(!client_link(&netlink).await.carrier);
        network.plug(&netlink).await;
        change(&mut watch, "carrier again", carrier(true)).await;
    });
}

#[test]
fn a_fixed_configuration_is_put_on_the_link_and_into_resolv_conf() {
    inside(
        Mode::User,
        "network::links::a_fixed_configuration_is_put_on_the_link_and_into_resolv_conf",
        async || {
            let network = Network::new();
            let netlink = Netlink::connect().unwrap();
            let index = client_link(&netlink).await.index;
            let fixed = Fixed {
                address: "10.77.0.5/24".parse().unwrap(),
                gateway: Some("10.77.0.1".parse().unwrap()),
                nameservers: vec!["fd00::53".parse().unwrap()],
                domain: None,
                mtu: Some(1400),
            };
            let mut configured = fixed.apply(&netlink, index, &network.resolv_conf()).await.unwrap();
            let link = client_link(&netlink).await;
            assert!(link.is_up() && link.addresses.contains(&net("10.77.0.5/24")) && link.mtu == 1400);
            assert!(routes().contains("default via 10.77.0.1"), "{}", routes());
            assert_eq!(read(&network.resolv_conf()), "nameserver fd00::53\n");
            configured.clear(&netlink).await.unwrap();
            assert!(!client_link(&netlink).await.addresses.contains(&net("10.77.0.5/24")));
            assert_eq!(routes(), "");
        },
    );
}
