//! The site's DHCP servers with the lines of docs/dhcp-servers.md, each asked by crafted DISCOVERs what it would boot.
//!
//! Runs in namespaces of its own; needs the servers that `make setup` unpacks.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::namespace::{Network, inside, limit};
use dhcproto::v4::{self, Decodable, DhcpOption, OptionCode};
use socket2::{Domain, Protocol, Socket, Type};

/// What each client must be told: architecture, whether it is iPXE, file, class in the answer.
const EXPECTED: [(u16, bool, &str, bool); 9] = [
    (0, false, "undionly.kpxe", false),
    (7, false, "snp.efi", false),
    (9, false, "snp.efi", false),
    (11, false, "snp-arm64.efi", false),
    (16, false, "http://10.77.0.3:8081/tftp/snp.efi", true),
    (19, false, "http://10.77.0.3:8081/tftp/snp-arm64.efi", true),
    (0, true, "http://10.77.0.3:8081/boot.ipxe", false),
    (7, true, "http://10.77.0.3:8081/boot.ipxe", false),
    (11, true, "http://10.77.0.3:8081/boot.ipxe", false),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The block of this language in the document.
fn block(language: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/dhcp-servers.md")).unwrap();
    let (_, rest) = text.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In networks of its own: the server's side v0, and the clients'.
fn in_lab(test: &str, body: impl FnOnce(&Path, &Path, &Network)) {
    inside(test, || {
        let programs = root().join("out/tools/peers");
        for server in ["dhcpd", "kea-dhcp4", "dnsmasq"] {
            let program = programs.join("usr/sbin").join(server);
            assert!(program.exists(), "{} is missing: `make setup` unpacks it", program.display());
        }
        let clients = Network::new();
        clients.cable(("v0", "10.77.0.2/24"), ("v1", None));
        let work = tempfile::tempdir().unwrap();
        body(&programs, work.path(), &clients);
    });
}

fn start(programs: &Path, work: &Path, name: &str, arguments: &[&str]) -> Server {
    let log = std::fs::File::create(work.join("log")).unwrap();
    let child = Command::new(programs.join("usr/sbin").join(name))
        .args(arguments)
        .env("LD_LIBRARY_PATH", programs.join("usr/lib/x86_64-linux-gnu"))
        .env("KEA_PIDFILE_DIR", work)
        .env("KEA_LOCKFILE_DIR", work)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap();
    Server(child)
}

/// Asks as each client and checks the answers.
fn check(work: &Path, clients: &Network) {
    let socket = clients.within(|| Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.bind_device(Some(b"v1")).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68).into()).unwrap();
    let socket: UdpSocket = socket.into();
    for (number, (architecture, ipxe, file, http)) in EXPECTED.into_iter().enumerate() {
        let offer = ask(&socket, u8::try_from(number).unwrap(), architecture, ipxe, work);
        let note = format!("architecture {architecture}, iPXE {ipxe}: {offer}");
        assert_eq!(offer.siaddr(), Ipv4Addr::new(10, 77, 0, 3), "{note}");
        let option = match offer.opts().get(OptionCode::BootfileName) {
            Some(DhcpOption::BootfileName(name)) => Some(String::from_utf8(name.clone()).unwrap()),
            _ => None,
        };
        let field = offer.fname_str().and_then(Result::ok).map(|name| name.trim_end_matches('\0').to_owned());
        let named = option.or(field).unwrap_or_default();
        assert_eq!(named.trim_end_matches('\0'), file, "{note}");
        let class = matches!(offer.opts().get(OptionCode::ClassIdentifier),
            Some(DhcpOption::ClassIdentifier(class)) if class.starts_with(b"HTTPClient"));
        assert_eq!(class, http, "{note}");
    }
}

fn ask(socket: &UdpSocket, number: u8, architecture: u16, ipxe: bool, work: &Path) -> v4::Message {
    let (begin, limit) = (Instant::now(), limit(20));
    let http = matches!(architecture, 15 | 16 | 19);
    let mut datagram = vec![0; 236];
    datagram[..4].copy_from_slice(&[1, 1, 6, 0]);
    datagram[4..8].copy_from_slice(&[9, 9, 9, number]);
    datagram[10] = 0x80;
    datagram[28..34].copy_from_slice(&[0x52, 0x54, 0, 0x77, 9, number]);
    datagram.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 55, 6, 1, 3, 43, 60, 66, 67, 93, 2]);
    datagram.extend_from_slice(&architecture.to_be_bytes());
    let class = if http { "HTTPClient" } else { "PXEClient" };
    let class = format!("{class}:Arch:{architecture:05}:UNDI:003000");
    datagram.extend_from_slice(&[60, u8::try_from(class.len()).unwrap()]);
    datagram.extend_from_slice(class.as_bytes());
    if ipxe {
        datagram.extend_from_slice(b"\x4d\x04iPXE");
    }
    datagram.push(255);
    loop {
        // Nobody may listen yet.
        let _ = socket.send_to(&datagram, (Ipv4Addr::BROADCAST, 67));
        let mut buffer = [0; 2048];
        while let Ok((len, _)) = socket.recv_from(&mut buffer) {
            if buffer[4..8] == [9, 9, 9, number] {
                return v4::Message::decode(&mut dhcproto::Decoder::new(&buffer[..len])).unwrap();
            }
        }
        let log = || std::fs::read_to_string(work.join("log")).unwrap_or_default();
        assert!(begin.elapsed() < limit, "no offer for architecture {architecture}: {}", log());
    }
}

#[test]
fn isc_dhcpd_names_the_right_file() {
    in_lab("isc_dhcpd_names_the_right_file", |programs, work, clients| {
        // Nobody has the addresses: asking around would only take time.
        std::fs::write(work.join("dhcpd.conf"), format!("ping-check false;\n{}", block("dhcpd"))).unwrap();
        std::fs::write(work.join("leases"), "").unwrap();
        let path = |name: &str| work.join(name).display().to_string();
        let (conf, leases) = (path("dhcpd.conf"), path("leases"));
        let _server = start(
            programs,
            work,
            "dhcpd",
            &["-4", "-f", "-d", "-cf", &conf, "-lf", &leases, "--no-pid", "v0"],
        );
        check(work, clients);
    });
}

#[test]
fn kea_names_the_right_file() {
    in_lab("kea_names_the_right_file", |programs, work, clients| {
        // Only the interface is the site's own.
        std::fs::write(work.join("kea.conf"), block("kea").replace("eth0", "v0")).unwrap();
        let conf = work.join("kea.conf").display().to_string();
        let _server = start(programs, work, "kea-dhcp4", &["-c", &conf]);
        check(work, clients);
    });
}

#[test]
fn dnsmasq_names_the_right_file() {
    in_lab("dnsmasq_names_the_right_file", |programs, work, clients| {
        std::fs::write(work.join("dnsmasq.conf"), block("dnsmasq")).unwrap();
        let conf = format!("--conf-file={}", work.join("dnsmasq.conf").display());
        // In debug mode it changes to no other user, of whom there is none here. Nobody has the addresses.
        let arguments = [
            "--no-daemon",
            "--no-ping",
            "--port=0",
            "--interface=v0",
            "--leasefile-ro",
            "--log-facility=-",
            &conf,
        ];
        let _server = start(programs, work, "dnsmasq", &arguments);
        check(work, clients);
    });
}
