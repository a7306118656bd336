//! Every request that firmware sent in the lab gets an answer that this firmware takes
//! (notes of the netboot lab, section 1, "What the proxy must answer").

use dhcproto::v4::MessageType;

use super::super::decide::{DHCP_PORT, Listener, PXE_PORT};
use super::super::wire::{Request, option};
use super::{Answer, SERVER, answer, capture};

/// Requests of booting clients in a capture, with the listener that they are for.
fn requests(name: &str) -> Vec<(capture::Datagram, Listener)> {
    capture::read(name)
        .into_iter()
        .filter_map(|datagram| {
            let listener = match datagram.destination.port() {
                DHCP_PORT => Listener::Dhcp,
                PXE_PORT => Listener::Pxe,
                _ => return None,
            };
            Request::parse(&datagram.payload).ok()?;
            Some((datagram, listener))
        })
        .collect()
}

fn check(name: &str, request: &Request<'_>, answer: &Answer) {
    let note = || format!("{name}: {}", request.hardware_address());
    let message = &answer.0;
    assert_eq!(message.xid(), request.xid, "{}", note());
    assert_eq!(message.chaddr(), &request.chaddr[..usize::from(request.hlen)], "{}", note());
    assert!(message.yiaddr().is_unspecified(), "{}: an address was handed out", note());
    assert!(message.ciaddr().is_unspecified(), "{}", note());
    assert_eq!(message.siaddr(), SERVER.address, "{}", note());
    // Without 53, 54 and 60 the offer is ignored.
    assert!(answer.message_type().is_some(), "{}", note());
    assert_eq!(answer.option(option::SERVER_ID), Some(SERVER.address.octets().to_vec()), "{}", note());
    let class = answer.text(option::VENDOR_CLASS).unwrap();
    assert_eq!(
        answer.option(option::MACHINE_ID).as_deref(),
        request.option(option::MACHINE_ID),
        "{}",
        note()
    );
    assert_eq!(answer.option(option::CLIENT_ID).as_deref(), request.option(option::CLIENT_ID), "{}", note());
    let file = answer.text(option::BOOT_FILE).unwrap();
    assert_eq!(message.fname_str().unwrap().unwrap().trim_end_matches('\0'), file, "{}", note());
    let architectures: Vec<u16> = request.architectures().unwrap().collect();
    if request.option(option::USER_CLASS).is_some_and(|class| class.starts_with(b"iPXE")) {
        assert_eq!(file, "http://10.77.0.3:8081/boot.ipxe", "{}", note());
    } else {
        let expected = match architectures[..] {
            [0] => "undionly.kpxe",
            [7] => "snp.efi",
            [11] => "snp-arm64.efi",
            [16] => "http://10.77.0.3:8081/tftp/snp.efi",
            [19] => "http://10.77.0.3:8081/tftp/snp-arm64.efi",
            _ => panic!("{}: architectures {architectures:?}", note()),
        };
        assert_eq!(file, expected, "{}", note());
    }
    if class.starts_with("PXEClient") {
        // Discovery control "boot the named file", or the client asks port 4011 first.
        let item = request.boot_item().filter(|_| answer.message_type() == Some(MessageType::Ack));
        let expected = item.map_or(vec![6, 1, 8, 255], |[a, b, c, d]| vec![6, 1, 8, 71, 4, a, b, c, d, 255]);
        assert_eq!(answer.option(option::VENDOR_SPECIFIC), Some(expected), "{}", note());
    } else {
        assert!(class.starts_with("HTTPClient"), "{}: {class}", note());
        assert_eq!(answer.option(option::VENDOR_SPECIFIC), None, "{}", note());
    }
}

#[test]
fn answers_every_captured_discover_as_the_firmware_needs() {
    let mut discovers = 0;
    for name in capture::names() {
        for (datagram, listener) in requests(&name) {
            let request = Request::parse(&datagram.payload).unwrap();
            if listener != Listener::Dhcp || request.message_type() != Some(MessageType::Discover) {
                continue;
            }
            let (answer, destination) = answer(&datagram.payload, datagram.source, listener)
                .unwrap_or_else(|| panic!("{name}: silent"));
            assert_eq!(destination.to_string(), "255.255.255.255:68", "{name}");
            assert_eq!(answer.message_type(), Some(MessageType::Offer), "{name}");
            check(&name, &request, &answer);
            discovers += 1;
        }
    }
    assert!(discovers >= 30, "only {discovers} in the captures");
}

#[test]
fn answers_every_captured_request_on_port_4011_to_its_sender() {
    let mut asked = 0;
    for name in capture::names() {
        for (datagram, listener) in requests(&name) {
            let request = Request::parse(&datagram.payload).unwrap();
            if listener != Listener::Pxe {
                continue;
            }
            let (answer, destination) = answer(&datagram.payload, datagram.source, listener)
                .unwrap_or_else(|| panic!("{name}: silent"));
            assert_eq!(destination, datagram.source, "{name}");
            assert_eq!(answer.message_type(), Some(MessageType::Ack), "{name}");
            check(&name, &request, &answer);
            asked += 1;
        }
    }
    assert!(asked >= 4, "only {asked} in the captures");
}

#[test]
fn leaves_the_requests_for_an_address_to_the_dhcp_server() {
    for name in capture::names() {
        for (datagram, listener) in requests(&name) {
            let request = Request::parse(&datagram.payload).unwrap();
            if listener == Listener::Dhcp && request.message_type() == Some(MessageType::Request) {
                assert!(answer(&datagram.payload, datagram.source, listener).is_none(), "{name}");
            }
        }
    }
}

#[test]
fn other_servers_answers_are_no_requests() {
    let replies = capture::read("bios-ipxe-rom.pcap");
    let replies = replies.iter().filter(|datagram| datagram.source.port() == DHCP_PORT);
    assert!(replies.inspect(|datagram| assert!(Request::parse(&datagram.payload).is_err())).count() > 0);
}

#[test]
fn the_machine_is_named_in_logs_as_the_system_names_itself() {
    let (datagram, _) = requests("uefi-pxe-snponly.pcap").remove(0);
    let request = Request::parse(&datagram.payload).unwrap();
    let uuid = request.machine_uuid().unwrap().unwrap();
    assert_eq!(uuid.to_string(), "4c4c4544-0042-3110-8051-b7c04f4e3332");
    assert_eq!(request.hardware_address().to_string(), "52:54:00:77:00:01");
}
