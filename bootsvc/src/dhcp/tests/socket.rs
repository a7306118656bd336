//! The socket of one interface, on loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::super::decide::Listener;
use super::super::serve;
use super::{Answer, capture, decode};
use crate::interfaces::Interface;

#[tokio::test]
async fn answers_from_the_interface_whatever_junk_came_before() {
    let interface = Interface {
        name: "lo".to_owned(),
        address: Ipv4Addr::LOCALHOST,
        networks: vec!["127.0.0.1/8".parse().unwrap()],
    };
    let socket = serve::bind(&interface.name, 0).unwrap();
    let server = (Ipv4Addr::LOCALHOST, socket.local_addr().unwrap().port());
    let context = super::context(super::COMPLETE.0.path());
    let metrics = context.edge.metrics.clone();
    let serving =
        tokio::spawn(async move { serve::answer(&socket, Listener::Dhcp, &interface, &context).await });

    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    for junk in [&b""[..], &[0; 1], &[0xff; 300], &[1; 4000]] {
        client.send_to(junk, server).await.unwrap();
    }
    let discover = capture::read("uefi-pxe-snponly.pcap").remove(0);
    client.send_to(&discover.payload, server).await.unwrap();
    let mut buffer = [0; 2048];
    let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let limit = Duration::from_secs(10).mul_f64(patience);
    let (len, _) = tokio::time::timeout(limit, client.recv_from(&mut buffer)).await.unwrap().unwrap();
    let answer: Answer = decode(&buffer[..len]);
    assert_eq!(answer.0.siaddr(), Ipv4Addr::LOCALHOST);
    assert_eq!(answer.text(67).as_deref(), Some("snp.efi"));
    let series = |name: &str| metrics.series(name);
    assert_eq!(series(r#"bootsvc_dhcp_answers_total{type="offer",architecture="7",by="tftp"}"#), Some(1));
    assert_eq!(metrics.dhcp_malformed.get(), 3);
    // The last piece of junk reads as a request, of nobody who netboots.
    assert_eq!(series(r#"bootsvc_dhcp_ignored_total{reason="message-type",architecture="none"}"#), Some(1));
    serving.abort();
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_an_error_with_its_name() {
    let error = serve::bind("nosuch0", 0).unwrap_err();
    assert!(bloomery_base::chain(&error).starts_with("failed to bind DHCP port 0 on nosuch0: "), "{error}");
}
