//! Asking for a boot file by DHCP, as firmware does, through the relay of the machine's subnet.
//!
//! The machines' addresses are not leased: a site's DHCP server would run out of them. So the relays ask the plane only,
//! as relays do that are told of a boot server, and nobody's pool is touched.

use super::{
    config::{Firmware, Target},
    inventory::Identity,
    trouble::Trouble,
};
use dhcproto::{
    Decodable, Decoder, Encodable, Encoder,
    v4::{self, DhcpOption, HType, MessageType, Opcode, OptionCode, UnknownOption},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};
use tokio::{net::UdpSocket, sync::oneshot, task::JoinHandle};

/// Largest DHCP message.
const BUFFER: usize = 2048;
/// What a relay's socket may hold: the answers to a subnet of machines at once.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Waits for an offer, seconds, of PXE firmware (PXE 2.1 section 2.2.1).
const PXE_WAITS: [u64; 4] = [4, 8, 16, 32];
/// The same of iPXE, which doubles from one second to ten.
const IPXE_WAITS: [u64; 5] = [1, 2, 4, 8, 10];
/// PXE option 93 (RFC 4578).
const ARCHITECTURE: u8 = 93;
/// PXE option 94: UNDI 3.16.
const NETWORK_INTERFACE: (u8, [u8; 3]) = (94, [1, 3, 16]);
/// PXE option 97: type 0, then the GUID.
const MACHINE_ID: u8 = 97;

/// What a client says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The firmware's own network boot.
    Firmware,
    /// iPXE, from a card's ROM or as a loader.
    Ipxe,
}

/// A boot file that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Where the loader is by TFTP.
    pub server: Ipv4Addr,
    /// Its name, or a URL.
    pub file: String,
}

type Waiting = Arc<Mutex<HashMap<u32, oneshot::Sender<v4::Message>>>>;

/// A DHCP relay; it ends with the value.
#[derive(Debug)]
pub struct Relay {
    socket: Arc<UdpSocket>,
    address: Ipv4Addr,
    plane: SocketAddr,
    waiting: Waiting,
    reader: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Relay {
    /// Opens the relay at `address`.
    ///
    /// # Errors
    /// The port of relays is taken there.
    pub fn open(address: Ipv4Addr, target: &Target) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        // The lab's own DHCP server listens on the same port of all addresses.
        socket.set_reuse_address(true)?;
        // More than the host's limit is only a wish; firmware asks again when an answer is lost.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddrV4::new(address, target.dhcp_port).into())?;
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        let waiting = Waiting::default();
        let reader = tokio::spawn(read(Arc::clone(&socket), Arc::clone(&waiting)));
        let plane = SocketAddrV4::new(target.address, target.dhcp_port).into();
        Ok(Self { socket, address, plane, waiting, reader })
    }

    /// Asks until there is an offer that the firmware would follow. `asked` is called for each DISCOVER.
    ///
    /// # Errors
    /// There is none after as many tries as the firmware has.
    pub async fn discover(
        &self,
        identity: &Identity,
        speaker: Speaker,
        asked: impl Fn(),
    ) -> Result<Offer, Trouble> {
        let waits = match speaker {
            Speaker::Firmware => PXE_WAITS.as_slice(),
            Speaker::Ipxe => IPXE_WAITS.as_slice(),
        };
        for wait in waits {
            let xid = rand::random();
            let request = request(identity, speaker, xid, self.address);
            let request = encode(&request).map_err(Trouble::Socket)?;
            let (sender, answer) = oneshot::channel();
            self.waiting.lock().insert(xid, sender);
            asked();
            // A plane that has no address yet: the datagram is lost, and firmware asks again.
            if let Err(error) = self.socket.send_to(&request, self.plane).await
                && !is_away(&error)
            {
                self.waiting.lock().remove(&xid);
                return Err(Trouble::Socket(error));
            }
            let answer = tokio::time::timeout(Duration::from_secs(*wait), answer).await;
            self.waiting.lock().remove(&xid);
            if let Ok(Ok(message)) = answer {
                return offer(&message, identity, speaker);
            }
        }
        Err(Trouble::NoOffer { tries: waits.len() })
    }
}

/// Whether nobody has the address that was sent to, as far as anybody knows.
fn is_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

/// Hands answers to those who asked, by transaction.
async fn read(socket: Arc<UdpSocket>, waiting: Waiting) {
    let mut buffer = vec![0; BUFFER];
    loop {
        // An ICMP error of an earlier datagram: the plane is away, and firmware asks again.
        let Ok(len) = socket.recv(&mut buffer).await else { continue };
        let Ok(message) = v4::Message::decode(&mut Decoder::new(&buffer[..len])) else { continue };
        let sender = waiting.lock().remove(&message.xid());
        if let Some(sender) = sender {
            let _ = sender.send(message);
        }
    }
}

/// Architecture (RFC 4578 and its registry) and vendor class of a client.
fn class(firmware: Firmware, speaker: Speaker) -> (u16, &'static str) {
    match (firmware, speaker) {
        (Firmware::Bios | Firmware::BiosUndionly, _) => (0, "PXEClient:Arch:00000:UNDI:002001"),
        (Firmware::Uefi, _) | (Firmware::UefiHttp, Speaker::Ipxe) => (7, "PXEClient:Arch:00007:UNDI:003016"),
        (Firmware::UefiHttp, Speaker::Firmware) => (16, "HTTPClient:Arch:00016:UNDI:003016"),
        (Firmware::Arm64, _) => (11, "PXEClient:Arch:00011:UNDI:003016"),
    }
}

/// A DISCOVER, as the relay at `relay` sends it on.
pub(crate) fn request(identity: &Identity, speaker: Speaker, xid: u32, relay: Ipv4Addr) -> v4::Message {
    let mut message = v4::Message::default();
    message
        .set_opcode(Opcode::BootRequest)
        .set_htype(HType::Eth)
        .set_hops(1)
        .set_xid(xid)
        .set_flags(v4::Flags::default().set_broadcast())
        .set_giaddr(relay)
        .set_chaddr(&identity.mac);
    let (architecture, vendor) = class(identity.firmware, speaker);
    let options = message.opts_mut();
    let mut raw = |code: u8, value: &[u8]| {
        options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::from(code), value.to_vec())));
    };
    raw(ARCHITECTURE, &architecture.to_be_bytes());
    raw(NETWORK_INTERFACE.0, &NETWORK_INTERFACE.1);
    raw(MACHINE_ID, &[&[0], &identity.uuid.to_bytes_le()[..]].concat());
    if speaker == Speaker::Ipxe {
        raw(u8::from(OptionCode::UserClass), b"iPXE");
    }
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    options.insert(DhcpOption::ClassIdentifier(vendor.as_bytes().to_vec()));
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::VendorExtensions,
        OptionCode::ServerIdentifier,
        OptionCode::ClassIdentifier,
        OptionCode::TFTPServerName,
        OptionCode::BootfileName,
    ]));
    message
}

/// The octets of a message.
pub(crate) fn encode(message: &v4::Message) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    message.encode(&mut Encoder::new(&mut octets)).map_err(io::Error::other)?;
    Ok(octets)
}

/// What firmware takes from an answer.
fn offer(message: &v4::Message, identity: &Identity, speaker: Speaker) -> Result<Offer, Trouble> {
    let options = message.opts();
    let is_offer =
        matches!(options.get(OptionCode::MessageType), Some(DhcpOption::MessageType(MessageType::Offer)));
    if message.opcode() != Opcode::BootReply || !is_offer {
        return Err(Trouble::Offer("it is no DHCPOFFER"));
    }
    if message.chaddr() != identity.mac {
        return Err(Trouble::Offer("it is for another hardware address"));
    }
    let (_, asked) = class(identity.firmware, speaker);
    let wanted = asked.split(':').next().unwrap_or_default();
    let class_is_right = matches!(options.get(OptionCode::ClassIdentifier),
        Some(DhcpOption::ClassIdentifier(class)) if class.starts_with(wanted.as_bytes()));
    if !class_is_right {
        return Err(Trouble::Offer("its vendor class is another, so firmware ignores it"));
    }
    let Some(DhcpOption::BootfileName(file)) = options.get(OptionCode::BootfileName) else {
        return Err(Trouble::Offer("it names no boot file"));
    };
    let file = String::from_utf8(file.clone()).map_err(|_| Trouble::Offer("its boot file is no text"))?;
    Ok(Offer { server: message.siaddr(), file: file.trim_end_matches('\0').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(firmware: Firmware) -> Identity {
        Identity::new(258, Ipv4Addr::new(127, 80, 1, 10), firmware)
    }

    fn answer(identity: &Identity) -> v4::Message {
        let mut message = v4::Message::default();
        message.set_opcode(Opcode::BootReply).set_chaddr(&identity.mac).set_siaddr(Ipv4Addr::LOCALHOST);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(MessageType::Offer));
        options.insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
        options.insert(DhcpOption::BootfileName(b"snp.efi\0".to_vec()));
        message
    }

    #[test]
    fn requests_are_relayed_and_say_what_firmware_says() {
        let relay = Ipv4Addr::new(127, 80, 1, 1);
        let octets =
            encode(&request(&identity(Firmware::UefiHttp), Speaker::Firmware, 7, relay)).expect("octets");
        let message = v4::Message::decode(&mut Decoder::new(&octets)).expect("a message");
        assert_eq!(message.giaddr(), relay);
        assert_eq!(message.chaddr(), [0x52, 0x54, 0x51, 0, 1, 2]);
        let holds = |part: &[u8]| octets.windows(part.len()).any(|window| window == part);
        assert!(holds(&[93, 2, 0, 16]) && holds(b"HTTPClient:Arch:00016"));
        assert!(
            holds(&[97, 17, 0, 0, 0, 0xa7, 0x51, 0, 0, 0, 0x40, 0x80, 0]),
            "the GUID's first fields are swapped"
        );
        assert!(!holds(b"iPXE"));
        let ipxe = encode(&request(&identity(Firmware::UefiHttp), Speaker::Ipxe, 7, relay)).expect("octets");
        let holds = |part: &[u8]| ipxe.windows(part.len()).any(|window| window == part);
        assert!(holds(b"iPXE") && holds(&[93, 2, 0, 7]) && holds(b"PXEClient:Arch:00007"));
    }

    #[test]
    fn an_offer_that_firmware_would_ignore_is_trouble() {
        let identity = identity(Firmware::Uefi);
        let good = offer(&answer(&identity), &identity, Speaker::Firmware).expect("an offer");
        assert_eq!(good, Offer { server: Ipv4Addr::LOCALHOST, file: "snp.efi".to_owned() });
        let mut nameless = answer(&identity);
        nameless.opts_mut().remove(OptionCode::BootfileName);
        let mut classless = answer(&identity);
        classless.opts_mut().insert(DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()));
        let mut others = answer(&identity);
        others.set_chaddr(&[1, 2, 3, 4, 5, 6]);
        for message in [nameless, classless, others] {
            assert!(matches!(offer(&message, &identity, Speaker::Firmware), Err(Trouble::Offer(_))));
        }
    }
}
