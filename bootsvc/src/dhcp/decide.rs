//! What a booting client is offered: a pure function of its request and our address
//! (spec/sidero.md §3.1, with the PXE-conformant additions measured in the netboot lab).
//!
//! A client that is iPXE already is never sent another loader: that is what makes loops impossible.

use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::MessageType;

use super::wire::{Reply, Request, option};
use crate::loaders::Loader;

/// Vendor class of PXE clients (PXE 2.1 section 2.2); UEFI and iPXE ignore offers without it.
const PXE_CLIENT: &str = "PXEClient";
/// Vendor class of UEFI HTTP boot (UEFI 2.10 section 24.7).
const HTTP_CLIENT: &str = "HTTPClient";
/// User class that every iPXE sends, as the whole option or as one of its list.
const IPXE_USER_CLASS: &[u8] = b"iPXE";
/// PXE option 43: sub-option 6 (discovery control) with bit 3, "boot the file named in the offer",
/// then the end mark. It saves the client the second exchange on port 4011.
const BOOT_NAMED_FILE: [u8; 4] = [0x06, 0x01, 0x08, 0xff];
/// Options that go back as they came. 60 is handled apart, as it has a default.
const ECHOED: [u8; 3] = [option::CLIENT_ID, option::RELAY_INFO, option::MACHINE_ID];

/// Port the request arrived on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// UDP 67: DISCOVER is answered with OFFER.
    Dhcp,
    /// UDP 4011: REQUEST and INFORM are answered with ACK.
    Pxe,
}

/// Where the answers send a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Address of the interface the request came in on, or that of `--api-endpoint`.
    pub address: Ipv4Addr,
    /// Port of the HTTP service as clients see it.
    pub http_port: u16,
}

/// What a client is told to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFile {
    /// The iPXE script, by HTTP.
    Script,
    /// A loader by TFTP.
    Tftp(Loader),
    /// A loader by HTTP.
    Http(Loader),
}

/// A decided answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The message to send.
    pub reply: Reply,
    /// The kind of file offered.
    pub boot_file: BootFile,
    /// The architecture that decided it (IANA processor architecture type); none for iPXE
    /// that announced only unknown ones.
    pub architecture: Option<u16>,
}

/// Why a request gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// Not a message type that this port answers.
    #[error("message type is not answered on this port")]
    MessageType,
    /// No option 93: an ordinary DHCP client.
    #[error("client does not netboot")]
    NotNetbooting,
    /// Option 97 is not a GUID.
    #[error("machine identifier is malformed")]
    MachineId,
    /// No architecture that there is a loader for.
    #[error("no loader for this architecture")]
    Architecture,
}

/// Decides the answer to `request`.
pub fn decide(request: &Request, server: Server, listener: Listener) -> Result<Offer, Silence> {
    let message_type = answer_type(request.message_type(), listener).ok_or(Silence::MessageType)?;
    let architectures = request.architectures().ok_or(Silence::NotNetbooting)?;
    request.machine_uuid().map_err(|_| Silence::MachineId)?;
    let http = request.vendor_class_starts_with(HTTP_CLIENT);
    // The last recognised value wins, as upstream has it.
    let loader = architectures.iter().rev().find_map(|&arch| Some((arch, loader_for(arch, http)?)));
    let (architecture, boot_file) = match loader {
        _ if is_ipxe(request) => (loader.map(|(arch, _)| arch), BootFile::Script),
        Some((arch, boot_file)) => (Some(arch), boot_file),
        None => return Err(Silence::Architecture),
    };
    let reply = Reply {
        message_type,
        server: server.address,
        boot_file: file_name(boot_file, server),
        tftp_server: matches!(boot_file, BootFile::Tftp(_)),
        vendor_specific: vendor_specific(request),
        vendor_class: request.option(option::VENDOR_CLASS).unwrap_or(PXE_CLIENT.as_bytes()).to_vec(),
        echoed: ECHOED.iter().filter_map(|&code| Some((code, request.option(code)?.to_vec()))).collect(),
    };
    Ok(Offer { reply, boot_file, architecture })
}

/// Where the answer goes: back to a sender that has an address (a relay, or a client on port
/// 4011), to the relay named in the packet, or else to everybody on the wire.
pub fn destination(request: &Request, source: SocketAddrV4) -> SocketAddrV4 {
    if !source.ip().is_unspecified() {
        return source;
    }
    if !request.giaddr.is_unspecified() {
        return SocketAddrV4::new(request.giaddr, super::serve::DHCP_PORT);
    }
    SocketAddrV4::new(Ipv4Addr::BROADCAST, source.port())
}

fn answer_type(asked: Option<MessageType>, listener: Listener) -> Option<MessageType> {
    match (listener, asked?) {
        (Listener::Dhcp, MessageType::Discover) => Some(MessageType::Offer),
        (Listener::Pxe, MessageType::Request | MessageType::Inform) => Some(MessageType::Ack),
        _ => None,
    }
}

/// iPXE by its user class, at any place of the option: builds differ in how they write it.
fn is_ipxe(request: &Request) -> bool {
    request
        .user_classes()
        .iter()
        .any(|class| class.windows(IPXE_USER_CLASS.len()).any(|part| part == IPXE_USER_CLASS))
}

/// The table of spec/sidero.md §3.1. A client of class `HTTPClient` is served by HTTP whatever
/// variant of its architecture it announces: it could not use a TFTP name.
fn loader_for(architecture: u16, http: bool) -> Option<BootFile> {
    match architecture {
        0 => Some(BootFile::Tftp(Loader::Undionly)),
        6 | 7 | 9 if http => Some(BootFile::Http(Loader::SnpX86)),
        6 | 7 | 9 => Some(BootFile::Tftp(Loader::SnpX86)),
        11 if http => Some(BootFile::Http(Loader::SnpArm64)),
        11 => Some(BootFile::Tftp(Loader::SnpArm64)),
        15 | 16 => Some(BootFile::Http(Loader::SnpX86)),
        19 => Some(BootFile::Http(Loader::SnpArm64)),
        _ => None,
    }
}

fn file_name(boot_file: BootFile, server: Server) -> String {
    let Server { address, http_port } = server;
    match boot_file {
        BootFile::Script => format!("http://{address}:{http_port}/boot.ipxe"),
        BootFile::Tftp(loader) => loader.file_name().to_owned(),
        BootFile::Http(loader) => format!("http://{address}:{http_port}/tftp/{}", loader.file_name()),
    }
}

/// Option 43 is for PXE clients only; a client without a class is told it is one.
fn vendor_specific(request: &Request) -> Option<Vec<u8>> {
    let pxe = request.option(option::VENDOR_CLASS).is_none() || request.vendor_class_starts_with(PXE_CLIENT);
    pxe.then(|| BOOT_NAMED_FILE.to_vec())
}
