//! The black-box vectors of spec/sidero.md §10.3.
//!
//! One is answered otherwise on purpose: iPXE of architecture 0 is given the script and not
//! `tftp://…/undionly.kpxe`. Upstream chains to an iPXE of its own there; our iPXE is Debian's
//! without a script inside, so a second loader would ask the same question again, for ever
//! (notes of the netboot lab, section 7).

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::MessageType;

use super::super::decide::Listener;
use super::super::wire::option;
use super::{Answer, NOBODY, answer};

/// Options of a request.
type Options<'a> = &'a [(u8, &'a [u8])];

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const INFORM: u8 = 8;
const GUID: [u8; 17] =
    [0, 0x44, 0x45, 0x4c, 0x4c, 0x42, 0, 0x10, 0x31, 0x80, 0x51, 0xb7, 0xc0, 0x4f, 0x4e, 0x33, 0x32];

/// A request with the given options, written by hand so that nothing of ours is checked by itself.
fn request(message_type: u8, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut datagram = vec![0; 236];
    datagram[..4].copy_from_slice(&[1, 1, 6, 0]);
    datagram[4..8].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    datagram[10] = 0x80;
    datagram[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, 0, 1]);
    datagram.extend_from_slice(&[99, 130, 83, 99, option::MESSAGE_TYPE, 1, message_type]);
    for (code, value) in options {
        datagram.push(*code);
        datagram.push(u8::try_from(value.len()).unwrap());
        datagram.extend_from_slice(value);
    }
    datagram.push(255);
    datagram
}

fn offer(options: &[(u8, &[u8])]) -> Option<Answer> {
    answer(&request(DISCOVER, options), NOBODY, Listener::Dhcp).map(|(answer, _)| answer)
}

fn arch(value: u16) -> [u8; 2] {
    value.to_be_bytes()
}

/// Case F17: EDK2 on some boards names its architecture in the class only.
#[test]
fn the_class_names_the_architecture_where_option_93_does_not() {
    for (class, file) in [
        (&b"PXEClient:Arch:00011:UNDI:003016"[..], "snp-arm64.efi"),
        (b"PXEClient:Arch:00007:UNDI:003016", "snp.efi"),
        (b"PXEClient:Arch:00000:UNDI:002001", "undionly.kpxe"),
        (b"HTTPClient:Arch:00016:UNDI:003016", "http://10.77.0.3:8081/tftp/snp.efi"),
    ] {
        let answer = offer(&[(option::VENDOR_CLASS, class)]).unwrap();
        assert_eq!(answer.text(option::BOOT_FILE).as_deref(), Some(file));
    }
    // Option 93 counts where there is one.
    let class = b"PXEClient:Arch:00007:UNDI:003016";
    let answer = offer(&[(option::ARCHITECTURE, &arch(11)), (option::VENDOR_CLASS, class)]).unwrap();
    assert_eq!(answer.text(option::BOOT_FILE).as_deref(), Some("snp-arm64.efi"));
    for class in
        [&b"PXEClient:Arch:"[..], b"PXEClient:Arch:0001", b"PXEClient:Arch:0x007", b"PXEClient:Arch:99999"]
    {
        assert!(offer(&[(option::VENDOR_CLASS, class)]).is_none());
    }
}

/// A machine that boots from the network and is not answered is in the trace, with the reason.
#[test]
fn no_booting_machine_is_dropped_without_a_trace() {
    let mut typed = GUID;
    typed[0] = 1;
    let cases: [(Options<'_>, &str); 5] = [
        (&[(option::VENDOR_CLASS, b"PXEClient")], "architecture"),
        (&[(option::VENDOR_CLASS, b"HTTPClient:Arch:x")], "architecture"),
        (&[(option::ARCHITECTURE, &[0, 6])], "architecture"),
        (&[(option::ARCHITECTURE, &[0, 7]), (option::MACHINE_ID, &typed)], "machine-id"),
        (&[(option::ARCHITECTURE, &[0, 7]), (option::MACHINE_ID, &GUID[..5])], "machine-id"),
    ];
    for (options, reason) in cases {
        let context = super::context(super::COMPLETE.0.path());
        let mut reply = Vec::new();
        let datagram = request(DISCOVER, options);
        let answered = super::respond(&datagram, NOBODY, Listener::Dhcp, super::SERVER, &context, &mut reply);
        assert_eq!(answered, None, "{reason}");
        let report = context.edge.trace.report().to_string();
        assert!(report.contains("52:54:00:77:00:01") && report.contains(reason), "{reason}: {report}");
    }
}

/// Case F16: an old ROM reads option 67 as a string of C.
#[test]
fn the_file_name_ends_before_the_next_option() {
    for architecture in [0, 7] {
        for id in [&[][..], &[(option::MACHINE_ID, &GUID[..])]] {
            let arch = arch(architecture);
            let options: Vec<(u8, &[u8])> =
                std::iter::once((option::ARCHITECTURE, &arch[..])).chain(id.iter().copied()).collect();
            let mut reply = Vec::new();
            let datagram = request(DISCOVER, &options);
            let context = &super::COMPLETE.1;
            super::respond(&datagram, NOBODY, Listener::Dhcp, super::SERVER, context, &mut reply).unwrap();
            let name = if architecture == 0 { &b"undionly.kpxe\0"[..] } else { b"snp.efi\0" };
            let at = reply[240..].windows(name.len()).position(|part| part == name).unwrap() + 240;
            assert_eq!(reply[at - 2..at], [67, u8::try_from(name.len()).unwrap()]);
            assert_eq!(&reply[108..108 + name.len()], name, "the file field too");
        }
    }
}

/// Case F20: an iPXE that cannot fetch the script is given ours, which can.
#[test]
fn ipxe_without_http_gets_our_loader_once() {
    let class = &b"iPXE"[..];
    let with = |architecture: u16, abilities: &[u8]| {
        let arch = arch(architecture);
        offer(&[(option::ARCHITECTURE, &arch), (option::USER_CLASS, class), (option::IPXE, abilities)])
            .and_then(|answer| answer.text(option::BOOT_FILE))
    };
    let script = "http://10.77.0.3:8081/boot.ipxe";
    // TFTP, DNS, PXE.
    let no_http = [21, 1, 1, 23, 1, 1, 33, 1, 1];
    assert_eq!(with(0, &no_http).as_deref(), Some("undionly.kpxe"));
    assert_eq!(with(7, &no_http).as_deref(), Some("snp.efi"));
    assert_eq!(with(11, &no_http).as_deref(), Some("snp-arm64.efi"));
    // 19 is HTTP, as ours says; a list of settings alone says nothing of abilities.
    for abilities in
        [&[21, 1, 1, 19, 1, 1][..], &[177, 5, 1, 0x80, 0x86, 0x10, 0x0e], &[], &[19], &[235, 3, 1, 0, 0]]
    {
        assert_eq!(with(7, abilities).as_deref(), Some(script), "{abilities:?}");
    }
    assert_eq!(with(7, &[21, 1, 1, 19, 1, 0]).as_deref(), Some("snp.efi"), "HTTP switched off");
    assert_eq!(with(10, &no_http), None, "no loader, and no use of a script");
}

/// Case F23: a boot server's answer repeats the item that the client chose.
#[test]
fn a_boot_server_repeats_the_boot_item() {
    let options: [(u8, &[u8]); 2] =
        [(option::ARCHITECTURE, &arch(7)), (option::VENDOR_SPECIFIC, &[71, 4, 0x80, 0, 0, 0, 255])];
    let specific = |kind, listener| {
        let (answer, _) = answer(&request(kind, &options), NOBODY, listener).unwrap();
        answer.option(option::VENDOR_SPECIFIC).unwrap()
    };
    assert_eq!(specific(REQUEST, Listener::Pxe), [6, 1, 8, 71, 4, 0x80, 0, 0, 0, 255]);
    assert_eq!(specific(DISCOVER, Listener::Dhcp), [6, 1, 8, 255]);
}

#[test]
fn machines_that_the_lists_deny_get_no_answer_and_a_trace() {
    use bloomery_api::decision::unknown::{MachineLists, UnknownMachines};
    let mut context = super::context(super::COMPLETE.0.path());
    let lists = MachineLists::parse("", "oui:52:54:00").unwrap();
    context.machines = crate::machines::Machines::new(UnknownMachines::Agent, lists);
    let datagram = request(DISCOVER, &[(option::ARCHITECTURE, &arch(7))]);
    let mut reply = Vec::new();
    let answered = super::respond(&datagram, NOBODY, Listener::Dhcp, super::SERVER, &context, &mut reply);
    assert_eq!(answered, None);
    assert!(context.edge.trace.report().to_string().contains("denied"));
}

#[test]
fn silent_to_clients_that_do_not_netboot() {
    assert!(offer(&[]).is_none());
    assert!(offer(&[(option::VENDOR_CLASS, b"PXEClient")]).is_none());
    assert!(offer(&[(option::VENDOR_CLASS, b"MSFT 5.0")]).is_none());
}

#[test]
fn uefi_pxe_gets_its_loader_by_tftp() {
    let class = b"PXEClient:Arch:00007:UNDI:003000";
    let options: [(u8, &[u8]); 4] = [
        (option::ARCHITECTURE, &arch(7)),
        (option::VENDOR_CLASS, class),
        (option::MACHINE_ID, &GUID),
        (option::CLIENT_ID, &[1, 0x52, 0x54, 0, 0x77, 0, 1]),
    ];
    let (answer, destination) = answer(&request(DISCOVER, &options), NOBODY, Listener::Dhcp).unwrap();
    assert_eq!(answer.text(option::BOOT_FILE).as_deref(), Some("snp.efi"));
    assert_eq!(answer.text(option::TFTP_SERVER).as_deref(), Some("10.77.0.3"));
    assert_eq!(answer.0.siaddr(), Ipv4Addr::new(10, 77, 0, 3));
    assert_eq!(answer.option(option::VENDOR_CLASS).as_deref(), Some(&class[..]));
    assert_eq!(answer.option(option::MACHINE_ID).as_deref(), Some(&GUID[..]));
    assert_eq!(answer.message_type(), Some(MessageType::Offer));
    assert_eq!(answer.0.xid(), 0xdead_beef);
    assert!(answer.0.flags().broadcast());
    assert_eq!(destination, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
}

#[test]
fn ipxe_gets_the_script_and_never_a_loader() {
    for architecture in [0, 7, 10, 11, 16] {
        // Raw as iPXE sends it, as a list, with a mark of a reflected class, inside a longer list.
        for class in [&b"iPXE"[..], b"\x04iPXE", b"iPXE-lab1", b"\x03foo\x04iPXE"] {
            let answer =
                offer(&[(option::ARCHITECTURE, &arch(architecture)), (option::USER_CLASS, class)]).unwrap();
            assert_eq!(answer.text(option::BOOT_FILE).as_deref(), Some("http://10.77.0.3:8081/boot.ipxe"));
            assert_eq!(answer.option(option::TFTP_SERVER), None);
        }
    }
}

#[test]
fn http_boot_gets_a_url_and_its_class_back() {
    let class = b"HTTPClient:Arch:00016:UNDI:003000";
    for (architecture, file) in [
        (15, "snp.efi"),
        (16, "snp.efi"),
        (19, "snp-arm64.efi"),
        (24, "snp-arm64.efi"),
        // The class decides the way, whatever variant is announced.
        (7, "snp.efi"),
        (11, "snp-arm64.efi"),
        (22, "snp-arm64.efi"),
    ] {
        let answer =
            offer(&[(option::ARCHITECTURE, &arch(architecture)), (option::VENDOR_CLASS, class)]).unwrap();
        let url = format!("http://10.77.0.3:8081/tftp/{file}");
        assert_eq!(answer.text(option::BOOT_FILE), Some(url));
        assert_eq!(answer.option(option::VENDOR_CLASS).as_deref(), Some(&class[..]));
        assert_eq!(answer.option(option::VENDOR_SPECIFIC), None);
        assert_eq!(answer.option(option::TFTP_SERVER), None);
    }
}

#[test]
fn every_architecture_of_the_table_has_its_loader() {
    for (architecture, file) in
        [(0, "undionly.kpxe"), (7, "snp.efi"), (9, "snp.efi"), (11, "snp-arm64.efi"), (22, "snp-arm64.efi")]
    {
        let answer = offer(&[(option::ARCHITECTURE, &arch(architecture))]).unwrap();
        assert_eq!(answer.text(option::BOOT_FILE).as_deref(), Some(file), "{architecture}");
        assert_eq!(answer.text(option::TFTP_SERVER).as_deref(), Some("10.77.0.3"));
        // A client without class is told that this is PXE.
        assert_eq!(answer.text(option::VENDOR_CLASS).as_deref(), Some("PXEClient"));
        assert_eq!(answer.option(option::VENDOR_SPECIFIC), Some(vec![6, 1, 8, 255]));
    }
    assert!(offer(&[(option::ARCHITECTURE, &arch(10))]).is_none());
    // UEFI of 32 bits cannot run a loader of 64.
    assert!(offer(&[(option::ARCHITECTURE, &arch(6))]).is_none());
    assert!(offer(&[(option::ARCHITECTURE, &[])]).is_none());
    assert!(offer(&[(option::ARCHITECTURE, &[7])]).is_none());
}

#[test]
fn the_last_architecture_that_is_known_wins() {
    let answer = offer(&[(option::ARCHITECTURE, &[0, 0, 0, 11, 0, 99])]).unwrap();
    assert_eq!(answer.text(option::BOOT_FILE).as_deref(), Some("snp-arm64.efi"));
}

#[test]
fn silent_to_a_malformed_machine_identifier() {
    let architecture = arch(7);
    let with = |id: &[u8]| offer(&[(option::ARCHITECTURE, &architecture), (option::MACHINE_ID, id)]);
    assert!(with(&GUID).is_some());
    assert!(with(&GUID[..16]).is_none());
    let mut typed = GUID;
    typed[0] = 1;
    assert!(with(&typed).is_none());
    assert!(with(&[]).is_none());
}

#[test]
fn each_port_answers_its_own_message_types() {
    let options: [(u8, &[u8]); 1] = [(option::ARCHITECTURE, &arch(7))];
    for (message_type, listener, answered) in [
        (DISCOVER, Listener::Dhcp, Some(MessageType::Offer)),
        (REQUEST, Listener::Dhcp, None),
        (INFORM, Listener::Dhcp, None),
        (DISCOVER, Listener::Pxe, None),
        (REQUEST, Listener::Pxe, Some(MessageType::Ack)),
        (INFORM, Listener::Pxe, Some(MessageType::Ack)),
    ] {
        let got = answer(&request(message_type, &options), NOBODY, listener);
        let got = got.and_then(|(answer, _)| answer.message_type());
        assert_eq!(got, answered, "{message_type} on {listener:?}");
    }
}

#[test]
fn a_relay_gets_a_unicast_answer_with_its_information() {
    let relay_information = [1, 4, b'e', b't', b'h', b'0'];
    let mut datagram =
        request(DISCOVER, &[(option::ARCHITECTURE, &arch(7)), (option::RELAY_INFO, &relay_information)]);
    datagram[24..28].copy_from_slice(&[10, 0, 0, 9]);
    // It asks from that address, from another of its own, from another port, or (wrongly) from none.
    for source in ["10.0.0.9:67", "10.9.9.9:67", "10.0.0.9:1067", "0.0.0.0:67"] {
        let (answer, destination) = answer(&datagram, source.parse().unwrap(), Listener::Dhcp).unwrap();
        assert_eq!(destination.to_string(), "10.0.0.9:67", "{source}");
        assert_eq!(answer.0.giaddr(), Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(answer.option(option::RELAY_INFO), Some(relay_information.to_vec()));
    }
}

#[test]
fn on_the_boot_server_port_the_asker_itself_is_answered() {
    let mut datagram = request(REQUEST, &[(option::ARCHITECTURE, &arch(7))]);
    // Some firmware leaves there what an earlier answer had.
    datagram[24..28].copy_from_slice(&[10, 0, 0, 9]);
    let source = "10.77.0.50:4011".parse().unwrap();
    let (_, destination) = answer(&datagram, source, Listener::Pxe).unwrap();
    assert_eq!(destination, source);
}

#[test]
fn long_and_split_options_come_back_whole() {
    let (first, second) = ([b'P'; 200], [b'X'; 100]);
    let options: [(u8, &[u8]); 3] =
        [(option::CLIENT_ID, &first), (option::ARCHITECTURE, &arch(7)), (option::CLIENT_ID, &second)];
    let datagram = request(DISCOVER, &options);
    let mut reply = Vec::new();
    super::respond(&datagram, NOBODY, Listener::Dhcp, super::SERVER, &super::COMPLETE.1, &mut reply).unwrap();
    let parts =
        [&[option::CLIENT_ID, 255][..], &first, &second[..55], &[option::CLIENT_ID, 45], &second[..45]];
    let written = parts.concat();
    assert!(reply.windows(written.len()).any(|part| part == written), "{reply:?}");
}

/// A name in an offer is one that this plane can serve at that moment.
#[test]
fn a_loader_that_cannot_be_read_is_not_offered() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("snp.efi"), b"loader").unwrap();
    // An empty file boots nobody.
    std::fs::write(directory.path().join("undionly.kpxe"), b"").unwrap();
    let context = super::context(directory.path());
    let mut reply = Vec::new();
    let mut asks = |architecture: u16, class: &[u8]| {
        let options: [(u8, &[u8]); 2] =
            [(option::ARCHITECTURE, &arch(architecture)), (option::USER_CLASS, class)];
        let datagram = request(DISCOVER, &options);
        super::respond(&datagram, NOBODY, Listener::Dhcp, super::SERVER, &context, &mut reply).is_some()
    };
    assert!(asks(7, b"") && asks(16, b""), "the loader is there");
    assert!(!asks(0, b"") && !asks(11, b"") && !asks(19, b""), "the loader is not there");
    assert!(asks(0, b"iPXE"), "iPXE needs no loader");
    assert_eq!(
        context
            .edge
            .metrics
            .series(r#"bootsvc_dhcp_ignored_total{reason="loader-missing",architecture="0"}"#),
        Some(1)
    );
}

#[test]
fn a_plane_that_is_not_in_charge_says_nothing() {
    let mut context = super::context(super::COMPLETE.0.path());
    let (in_charge, acts) = tokio::sync::watch::channel(false);
    context.acts = acts;
    let mut reply = Vec::new();
    let options: [(u8, &[u8]); 2] = [(option::ARCHITECTURE, &arch(7)), (option::USER_CLASS, b"iPXE")];
    let mut answered = |message_type, listener| {
        let datagram = request(message_type, &options);
        super::respond(&datagram, NOBODY, listener, super::SERVER, &context, &mut reply).is_some()
    };
    assert!(!answered(DISCOVER, Listener::Dhcp) && !answered(REQUEST, Listener::Pxe));
    in_charge.send_replace(true);
    assert!(answered(DISCOVER, Listener::Dhcp) && answered(REQUEST, Listener::Pxe));
}

#[test]
fn options_of_other_people_never_make_a_request_unreadable() {
    // A lease time of three octets, a subnet mask of none, an unknown option.
    let answer = offer(&[(51, &[1, 2, 3]), (1, &[]), (250, b"x"), (option::ARCHITECTURE, &arch(7))]);
    assert_eq!(answer.unwrap().text(option::BOOT_FILE).as_deref(), Some("snp.efi"));
}
