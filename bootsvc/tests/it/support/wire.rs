//! A machine's side of DHCP, TFTP and HTTP, written by hand so that nothing of ours is checked by itself.
//!
//! Decides nothing; it asks again while nobody answers, as machines do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dhcproto::v4::{self, Decodable, DhcpOption, MessageType, OptionCode};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::limit;

/// Boot services that are asked, for the message of a failure.
pub(crate) trait Log {
    /// What they said so far.
    fn log(&self) -> String;
}

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const INFORM: u8 = 8;
/// Option 97, and the same as text.
pub(crate) const GUID: [u8; 17] =
    [0, 0x44, 0x45, 0x4c, 0x4c, 0x42, 0, 0x10, 0x31, 0x80, 0x51, 0xb7, 0xc0, 0x4f, 0x4e, 0x33, 0x32];
pub(crate) const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
/// Pause between two of a client's questions.
const AGAIN: Duration = Duration::from_millis(500);
/// Pause between two of a client's questions that nobody should answer.
const QUIET: Duration = Duration::from_secs(1);

/// A request of a netbooting client.
pub(crate) fn request(kind: u8, mac: [u8; 6], architecture: u16, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut datagram = vec![0; 236];
    datagram[..4].copy_from_slice(&[1, 1, 6, 0]);
    datagram[4..8].copy_from_slice(&rand::random::<[u8; 4]>());
    datagram[10] = 0x80;
    datagram[28..34].copy_from_slice(&mac);
    datagram.extend_from_slice(&[99, 130, 83, 99, 53, 1, kind]);
    let [high, low] = architecture.to_be_bytes();
    datagram.extend_from_slice(&[93, 2, high, low]);
    let class = if architecture == 16 { "HTTPClient" } else { "PXEClient" };
    for (code, value) in [(60, class.as_bytes())].iter().chain(options) {
        datagram.extend_from_slice(&[*code, u8::try_from(value.len()).unwrap()]);
        datagram.extend_from_slice(value);
    }
    datagram.push(255);
    datagram
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    message: v4::Message,
}

impl Answer {
    pub(crate) fn message_type(&self) -> Option<MessageType> {
        self.message.opts().msg_type()
    }

    /// `siaddr`.
    pub(crate) fn server(&self) -> Ipv4Addr {
        self.message.siaddr()
    }

    /// `giaddr`.
    pub(crate) fn relay(&self) -> Ipv4Addr {
        self.message.giaddr()
    }

    pub(crate) fn server_id(&self) -> Option<Ipv4Addr> {
        match self.message.opts().get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(address)) => Some(*address),
            _ => None,
        }
    }

    /// Option 67.
    pub(crate) fn file(&self) -> Option<String> {
        let mut name = self.option(67)?;
        assert_eq!(name.pop(), Some(0), "the name does not end");
        String::from_utf8(name).ok()
    }

    pub(crate) fn option(&self, code: u8) -> Option<Vec<u8>> {
        self.options().into_iter().find(|(found, _)| *found == code).map(|(_, value)| value)
    }

    pub(crate) fn last_option(&self) -> u8 {
        self.options().last().expect("there are options").0
    }

    fn options(&self) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &self.bytes[240..];
        let mut found = Vec::new();
        while let [code, length, tail @ ..] = rest
            && *code != 255
        {
            let (value, tail) = tail.split_at(usize::from(*length));
            found.push((*code, value.to_vec()));
            rest = tail;
        }
        found
    }
}

/// A socket of firmware or of a relay.
pub(crate) struct Client(UdpSocket);

impl Client {
    /// Opens it in this thread's network, on one card where it has no address yet.
    pub(crate) fn bound(address: SocketAddrV4, card: Option<&str>) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.bind_device(card.map(str::as_bytes)).unwrap();
        socket.bind(&address.into()).unwrap();
        Self(socket.into())
    }

    /// Asks until there is an answer; gives it and its sender.
    pub(crate) fn ask(
        &self,
        datagram: &[u8],
        server: SocketAddrV4,
        process: &impl Log,
    ) -> (Answer, SocketAddrV4) {
        self.answer_to(datagram, process, || {
            self.0.send_to(datagram, server).unwrap();
        })
    }

    /// Has somebody ask until there is an answer here; gives it and its sender.
    pub(crate) fn answer_to(
        &self,
        datagram: &[u8],
        process: &impl Log,
        send: impl Fn(),
    ) -> (Answer, SocketAddrV4) {
        let began = Instant::now();
        loop {
            send();
            if let Some(answer) = self.receive(&datagram[4..8], AGAIN) {
                return answer;
            }
            assert!(began.elapsed() < limit(20), "no answer in {:?}:\n{}", limit(20), process.log());
        }
    }

    /// Asks, and fails if there is an answer: one that is asked for afterwards on port 67 comes alone.
    pub(crate) fn stays_without_answer(&self, datagram: &[u8], server: SocketAddrV4, process: &impl Log) {
        self.0.send_to(datagram, server).unwrap();
        let answer = self.receive(&datagram[4..8], QUIET);
        assert!(answer.is_none(), "{answer:?}\n{}", process.log());
    }

    /// The answer with this transaction number, if it comes within the time.
    fn receive(&self, transaction: &[u8], within: Duration) -> Option<(Answer, SocketAddrV4)> {
        self.0.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 2048];
        while let Ok((length, source)) = self.0.recv_from(&mut buffer) {
            let bytes = buffer[..length].to_vec();
            if bytes.get(4..8) == Some(transaction) {
                let message = v4::Message::decode(&mut dhcproto::Decoder::new(&bytes)).unwrap();
                let SocketAddr::V4(source) = source else { panic!("{source}") };
                return Some((Answer { bytes, message }, source));
            }
        }
        None
    }
}

/// Reads a file by TFTP, with RFC 1350's blocks of 512.
pub(crate) fn tftp(server: SocketAddrV4, name: &str, process: &impl Log) -> Vec<u8> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(limit(10))).unwrap();
    let mut file = Vec::new();
    socket.send_to(format!("\0\u{1}{name}\0octet\0").as_bytes(), server).unwrap();
    for block in 1_u16.. {
        let mut buffer = [0; 2048];
        let (length, source) = socket
            .recv_from(&mut buffer)
            .unwrap_or_else(|error| panic!("{name}: {error}:\n{}", process.log()));
        let [high, low] = block.to_be_bytes();
        assert_eq!(&buffer[..4], [0, 3, high, low], "{:?}", &buffer[..length]);
        assert_eq!(source, SocketAddr::V4(server), "one port throughout");
        socket.send_to(&[0, 4, high, low], server).unwrap();
        file.extend_from_slice(&buffer[4..length]);
        if length < 516 {
            break;
        }
    }
    file
}

/// A GET: the whole answer, or nothing where nobody listens yet.
pub(crate) fn get(server: impl Into<SocketAddr>, path: &str) -> String {
    let server = server.into();
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(server) {
        stream.set_read_timeout(Some(limit(10))).unwrap();
        // A scope has no place in the name of a host.
        let host = SocketAddr::new(server.ip(), server.port());
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}
