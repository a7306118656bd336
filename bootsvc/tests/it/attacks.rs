//! The boot services as a process of their own, without a Kubernetes API, under attack and while the plane starts.
//!
//! It needs user namespaces, or root.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::Duration;

use crate::support::alone::{HEALTH_PORT, LOADER, Process};
use crate::support::namespace::{Network, inside, ip, limit, until};
use crate::support::wire::{Client, DISCOVER, Log as _, UUID, get, request, tftp};

const PLANE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const HTTP: SocketAddrV4 = SocketAddrV4::new(PLANE, 8081);
const TFTP: SocketAddrV4 = SocketAddrV4::new(PLANE, 69);
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 9, 1];
/// Descriptors that a kernel gives a process by default.
const DESCRIPTORS: u64 = 1024;
/// What the process may hold in memory under attack, MiB.
const MAX_MEMORY: u64 = 96;

/// One cable between the plane and a host that has two addresses: a stranger's and a machine's.
fn stranger_and_machine() -> Network {
    let network = Network::new();
    network.cable(("lan0", "10.77.0.3/24"), ("eth0", Some("10.77.0.66/24")));
    network.within(|| ip("addr add 10.77.0.50/24 dev eth0"));
    network
}

/// A connection from one of the host's addresses.
fn connect(from: [u8; 4]) -> std::io::Result<TcpStream> {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(from.into(), 0).into())?;
    socket.connect_timeout(&HTTP.into(), limit(10))?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(limit(10)))?;
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    Ok(stream)
}

/// What the machine, which is no stranger, gets.
fn machine_gets(path: &str) -> String {
    let Ok(mut stream) = connect([10, 77, 0, 50]) else { return String::new() };
    let mut answer = String::new();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HTTP}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn health() -> String {
    get(SocketAddrV4::new(Ipv4Addr::LOCALHOST, HEALTH_PORT), "/readyz")
}

/// Finding 7: half-open connections of one host.
#[test]
fn half_open_connections_of_a_stranger_keep_no_machine_out() {
    inside("half_open_connections_of_a_stranger_keep_no_machine_out", || {
        let network = stranger_and_machine();
        let process = Process::start(&[], DESCRIPTORS);
        let held: Vec<TcpStream> = network.within(|| {
            (0..1100)
                .filter_map(|_| {
                    let mut stream = connect([10, 77, 0, 66]).ok()?;
                    stream.write_all(b"GET /boot.ip").ok()?;
                    Some(stream)
                })
                .collect()
        });
        let script = network.within(|| machine_gets("/boot.ipxe"));
        assert!(
            script.starts_with("HTTP/1.1 200") && script.contains("#!ipxe"),
            "{script}\n{}",
            process.log()
        );
        assert!(health().starts_with("HTTP/1.1 200"), "{}", health());
        assert!(process.descriptors() < 400, "{} descriptors", process.descriptors());
        assert_eq!(network.within(|| tftp(TFTP, "snp.efi", &process)), LOADER);
        drop(held);
    });
}

/// Finding 7 with many addresses, which a host on the wire can have.
#[test]
fn half_open_connections_of_many_addresses_keep_no_machine_out() {
    inside("half_open_connections_of_many_addresses_keep_no_machine_out", || {
        let network = stranger_and_machine();
        let process = Process::start(&[], DESCRIPTORS);
        let held: Vec<TcpStream> = network.within(|| {
            (100..140_u8)
                .flat_map(|last| {
                    ip(&format!("addr add 10.77.0.{last}/24 dev eth0"));
                    (0..30).filter_map(move |_| {
                        let mut stream = connect([10, 77, 0, last]).ok()?;
                        stream.write_all(b"GET /boot.ip").ok()?;
                        Some(stream)
                    })
                })
                .collect()
        });
        assert!(held.len() > 1000, "{}", held.len());
        let script = network.within(|| machine_gets("/boot.ipxe"));
        assert!(script.starts_with("HTTP/1.1 200"), "{script}\n{}", process.log());
        assert!(health().starts_with("HTTP/1.1 200"), "{}", health());
    });
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block without compression.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// Finding 4: connections with unfinished messages of a megabyte.
#[test]
fn unfinished_messages_of_a_stranger_fill_no_memory() {
    inside("unfinished_messages_of_a_stranger_fill_no_memory", || {
        let network = stranger_and_machine();
        let process = Process::start(&[], DESCRIPTORS);
        let mut held: Vec<TcpStream> =
            network.within(|| (0..24).map(|_| connect([10, 77, 0, 66]).unwrap()).collect());
        let block = headers(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/api.Agent/CreateServer"),
            (":authority", "10.77.0.3:8081"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]);
        // The beginning of a message of 1 MiB, then as much of it as the service takes.
        let mut first = vec![0];
        first.extend_from_slice(&(1_u32 << 20).to_be_bytes());
        first.resize(16_000, 7);
        for connection in &mut held {
            let mut begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            begin.extend(frame(4, 0, 0, &[]));
            for stream in (1..64).step_by(2) {
                begin.extend(frame(1, 4, stream, &block));
                begin.extend(frame(0, 0, stream, &first));
            }
            for _ in 0..60 {
                begin.extend(frame(0, 0, 1, &[7; 16_000]));
            }
            // The service stops reading, or closes: both are its right.
            let _ = connection.write_all(&begin);
        }
        until("the service has taken what it takes", 10, || {
            let before = process.memory();
            (process.memory() == before).then_some(()).ok_or_else(|| format!("{before} MiB"))
        });
        assert!(process.memory() < MAX_MEMORY, "{} MiB", process.memory());
        let script = network.within(|| machine_gets("/boot.ipxe"));
        assert!(script.starts_with("HTTP/1.1 200"), "{script}\n{}", process.log());
        assert!(health().starts_with("HTTP/1.1 200"), "{}", health());
    });
}

/// Finding 12: what two packets with a foreign source make the service send.
#[test]
fn two_packets_buy_few_of_ours_and_foreign_networks_none() {
    inside("two_packets_buy_few_of_ours_and_foreign_networks_none", || {
        let network = stranger_and_machine();
        network.within(|| ip("addr add 198.51.100.7/24 dev eth0"));
        ip("route add 198.51.100.0/24 via 10.77.0.66");
        let process = Process::start(&[], DESCRIPTORS);
        process.write_loader("snp.efi", &vec![0x5a; 1 << 20]);
        let victim = |address: [u8; 4]| {
            let socket = network.within(|| UdpSocket::bind((Ipv4Addr::from(address), 0))).unwrap();
            let request = b"\x00\x01snp.efi\0octet\0blksize\x001468\0windowsize\x0064\0timeout\x001\0";
            socket.send_to(request, TFTP).unwrap();
            socket.send_to(b"\x00\x04\x00\x00", TFTP).unwrap();
            // Longer than the service repeats anything.
            socket.set_read_timeout(Some(limit(7))).unwrap();
            let (mut packets, mut octets, mut buffer) = (0_usize, 0, [0; 2048]);
            while let Ok((length, _)) = socket.recv_from(&mut buffer) {
                packets += 1;
                octets += length;
            }
            (packets, octets)
        };
        let (packets, octets) = victim([10, 77, 0, 50]);
        assert!((1..=8).contains(&packets) && octets < 12_000, "{packets} packets, {octets} octets");
        assert_eq!(victim([198, 51, 100, 7]), (0, 0), "{}", process.log());
    });
}

/// A rack that is switched on together with the plane: everything but the decision is there at once.
#[test]
fn machines_find_a_plane_that_has_no_api_yet_and_wait_for_it() {
    inside("machines_find_a_plane_that_has_no_api_yet_and_wait_for_it", || {
        let network = Network::new();
        network.cable(("lan0", "10.77.0.3/24"), ("eth0", None));
        let process = Process::start(&[], DESCRIPTORS);
        let anybody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let firmware = network.within(|| Client::bound(anybody, Some("eth0")));
        let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        let (offer, _) = firmware.ask(&request(DISCOVER, MAC, 7, &[]), everybody, &process);
        assert_eq!(offer.file().as_deref(), Some("snp.efi"));
        network.within(|| ip("addr add 10.77.0.50/24 broadcast + dev eth0"));
        assert_eq!(network.within(|| tftp(TFTP, "snp.efi", &process)), LOADER);
        let script = network.within(|| get(HTTP, "/boot.ipxe"));
        let question = script.lines().find(|line| line.contains("/ipxe?uuid=")).expect("the question");
        assert!(question.contains("&waits=yes"), "{question}");
        // As iPXE asks it.
        let query = format!("/ipxe?uuid={UUID}&mac=52-54-00-77-09-01&arch=x86_64&platform=efi&waits=yes");
        let told = network.within(|| get(HTTP, &query));
        assert!(told.starts_with("HTTP/1.1 200") && told.contains("is starting"), "{told}");
        assert!(told.contains(&format!("chain --replace http://10.77.0.3:8081{query}")), "{told}");
        // A client that did not say that it can wait is told what upstream tells it.
        let told = network.within(|| get(HTTP, &format!("/ipxe?uuid={UUID}")));
        assert!(told.starts_with("HTTP/1.1 500"), "{told}");
        assert!(health().starts_with("HTTP/1.1 200"), "{}", health());
    });
}

/// Boot services answer on provisioning interfaces only.
#[test]
fn a_management_interface_is_not_answered() {
    inside("a_management_interface_is_not_answered", || {
        let (managed, provisioned) = (Network::new(), Network::new());
        managed.cable(("man0", "10.78.0.3/24"), ("eth0", Some("10.78.0.50/24")));
        provisioned.cable(("lan0", "10.77.0.3/24"), ("eth0", Some("10.77.0.50/24")));
        let process = Process::start(&["--management-interfaces=man0"], DESCRIPTORS);
        assert!(provisioned.within(|| get(HTTP, "/boot.ipxe")).starts_with("HTTP/1.1 200"));
        let management = Ipv4Addr::new(10, 78, 0, 3);
        assert_eq!(managed.within(|| get(SocketAddrV4::new(management, 8081), "/boot.ipxe")), "");
        let client = managed.within(|| Client::bound(SocketAddrV4::new([10, 78, 0, 50].into(), 68), None));
        let discover = request(DISCOVER, MAC, 7, &[]);
        client.stays_without_answer(&discover, SocketAddrV4::new(management, 67), &process);
        let read = b"\x00\x01snp.efi\0octet\0";
        let socket = managed.within(|| UdpSocket::bind(("10.78.0.50", 0))).unwrap();
        socket.set_read_timeout(Some(limit(1))).unwrap();
        socket.send_to(read, SocketAddrV4::new(management, 69)).unwrap();
        assert!(socket.recv(&mut [0; 600]).is_err());
    });
}

/// RFC 9112 section 3.2.
#[test]
fn a_request_of_http_1_1_names_its_host_once() {
    inside("a_request_of_http_1_1_names_its_host_once", || {
        let network = stranger_and_machine();
        let _process = Process::start(&[], DESCRIPTORS);
        let asks = |request: &str| {
            let mut stream = connect([10, 77, 0, 50]).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            String::from_utf8(answer.to_vec()).unwrap()
        };
        network.within(|| {
            for path in ["/boot.ipxe", "/tftp/snp.efi", "/ipxe"] {
                assert_eq!(asks(&format!("GET {path} HTTP/1.1\r\n\r\n")), "HTTP/1.1 400", "{path}");
                let twice = format!("GET {path} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
                assert_eq!(asks(&twice), "HTTP/1.1 400", "{path}");
            }
            assert_eq!(asks("GET /boot.ipxe HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 200");
            assert_eq!(asks("GET /boot.ipxe HTTP/1.0\r\n\r\n"), "HTTP/1.0 200");
        });
    });
}
