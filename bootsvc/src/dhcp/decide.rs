//! What a booting client is offered: a pure function of its request and our address
//! (spec/sidero.md §3.1, with the PXE-conformant additions measured in the netboot lab).
//!
//! A client that is iPXE already is never sent another loader, except one that says that it has no HTTP: ours have it,
//! which is what makes loops impossible.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};

use dhcproto::v4::MessageType;

use super::wire::{Reply, Request, VendorSpecific, option};
use crate::loaders::Loader;
use crate::trace::Via;

/// Vendor class of PXE clients (PXE 2.1 section 2.2); UEFI and iPXE ignore offers without it.
const PXE_CLIENT: &str = "PXEClient";
/// Vendor class of UEFI HTTP boot (UEFI 2.10 section 24.7).
const HTTP_CLIENT: &str = "HTTPClient";
/// User class that every iPXE sends, at any place of the option: builds differ in how they write it.
const IPXE_USER_CLASS: &[u8] = b"iPXE";

/// IANA port of DHCP servers and relays.
pub const DHCP_PORT: u16 = 67;
/// Port of PXE boot servers (PXE 2.1 section 2.2.4).
pub const PXE_PORT: u16 = 4011;

/// Port the request arrived on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// UDP 67: DISCOVER is answered with OFFER.
    Dhcp,
    /// UDP 4011: REQUEST and INFORM are answered with ACK.
    Pxe,
}

impl Listener {
    /// The UDP port.
    pub const fn port(self) -> u16 {
        match self {
            Self::Dhcp => DHCP_PORT,
            Self::Pxe => PXE_PORT,
        }
    }
}

/// Where the answers send a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server<'a> {
    /// Name of that interface.
    pub interface: &'a str,
    /// Its own address.
    pub on: Ipv4Addr,
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
    Tftp(Loader),
    Http(Loader),
}

impl BootFile {
    /// How a loader travels; none for the script.
    pub const fn via(self) -> Option<Via> {
        match self {
            Self::Script => None,
            Self::Tftp(_) => Some(Via::Tftp),
            Self::Http(_) => Some(Via::Http),
        }
    }

    /// Its name without server and path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Script => "boot.ipxe",
            Self::Tftp(loader) | Self::Http(loader) => loader.file_name(),
        }
    }
}

/// What this plane can do at the moment.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Whether it is the one in charge.
    pub acts: bool,
    /// Whether a loader can be served right now.
    pub has: &'a dyn Fn(Loader) -> bool,
    /// Whether the machine that asks may be served.
    pub admission: Admission,
}

/// Whether a machine may be served, as far as its request tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Served,
    /// The lists of machines are against it.
    Denied,
    /// Nobody has accepted it, and such machines are ignored.
    Ignored,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    pub reply: Reply<'a>,
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
    /// No architecture in options 93 and 60: an ordinary DHCP client.
    #[error("client does not netboot")]
    NotNetbooting,
    /// Option 97 is not a GUID.
    #[error("machine identifier is malformed")]
    MachineId,
    /// No architecture that there is a loader for.
    #[error("no loader for this architecture")]
    Architecture,
    /// The loader cannot be read, so its name would lead nowhere.
    #[error("loader is missing")]
    LoaderMissing,
    #[error("this plane is not in charge")]
    Fenced,
    /// `machines.allow` and `machines.deny`.
    #[error("the lists of machines deny it")]
    Denied,
    /// `unknownMachines: ignore`.
    #[error("nobody has accepted it, and such machines are ignored")]
    Ignored,
}

impl Silence {
    /// Its name in metrics and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MessageType => "message-type",
            Self::NotNetbooting => "not-netbooting",
            Self::MachineId => "machine-id",
            Self::Architecture => "architecture",
            Self::LoaderMissing => "loader-missing",
            Self::Fenced => "fenced",
            Self::Denied => "denied",
            Self::Ignored => "ignored",
        }
    }
}

/// Decides the answer to `request`.
pub fn decide<'a>(
    request: &'a Request<'_>,
    server: Server<'_>,
    listener: Listener,
    means: Means<'_>,
) -> Result<Offer<'a>, Silence> {
    let message_type = answer_type(request.message_type(), listener).ok_or(Silence::MessageType)?;
    let http = request.vendor_class_starts_with(HTTP_CLIENT);
    let Some(architectures) = request.architectures() else {
        // A class of network boot without an architecture is a machine all the same.
        let boots = http || request.vendor_class_starts_with(PXE_CLIENT);
        return Err(if boots { Silence::Architecture } else { Silence::NotNetbooting });
    };
    request.machine_uuid().map_err(|_| Silence::MachineId)?;
    match means.admission {
        _ if !means.acts => return Err(Silence::Fenced),
        Admission::Served => {}
        Admission::Denied => return Err(Silence::Denied),
        Admission::Ignored => return Err(Silence::Ignored),
    }
    // The last recognised value wins, as upstream has it.
    let loader = architectures.rev().find_map(|arch| Some((arch, loader_for(arch, http)?)));
    let wants_script = request.user_class_holds(IPXE_USER_CLASS) && !request.is_ipxe_without_http();
    let (architecture, boot_file) = match loader {
        _ if wants_script => (loader.map(|(arch, _)| arch), BootFile::Script),
        Some((arch, boot_file)) => (Some(arch), boot_file),
        None => return Err(Silence::Architecture),
    };
    if let BootFile::Tftp(loader) | BootFile::Http(loader) = boot_file
        && !(means.has)(loader)
    {
        return Err(Silence::LoaderMissing);
    }
    let reply = Reply {
        message_type,
        server: server.address,
        boot_file: file_name(boot_file, server),
        tftp_server: matches!(boot_file, BootFile::Tftp(_)),
        vendor_specific: vendor_specific(request, listener),
        vendor_class: request.option(option::VENDOR_CLASS).unwrap_or(PXE_CLIENT.as_bytes()),
    };
    Ok(Offer { reply, boot_file, architecture })
}

/// Where the answer goes: to the server port of the relay named in the packet, wherever it came from
/// (RFC 2131 section 4.1: a relay asks from another of its addresses than the one it is named by), back to a
/// sender that has an address, or else to everybody on the wire. Clients ask port 4011 without a relay.
pub fn destination(request: &Request<'_>, source: SocketAddrV4, listener: Listener) -> SocketAddrV4 {
    if listener == Listener::Dhcp && !request.giaddr.is_unspecified() {
        return SocketAddrV4::new(request.giaddr, DHCP_PORT);
    }
    if !source.ip().is_unspecified() {
        return source;
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

/// The table of spec/sidero.md §3.1, and U-Boot's architectures. A client of class `HTTPClient` is served by HTTP whatever
/// variant of its architecture it announces: it could not use a TFTP name.
fn loader_for(architecture: u16, http: bool) -> Option<BootFile> {
    match architecture {
        0 => Some(BootFile::Tftp(Loader::Undionly)),
        7 | 9 if http => Some(BootFile::Http(Loader::SnpX86)),
        7 | 9 => Some(BootFile::Tftp(Loader::SnpX86)),
        // 22 and 24 are U-Boot, which runs EFI programs.
        11 | 22 if http => Some(BootFile::Http(Loader::SnpArm64)),
        11 | 22 => Some(BootFile::Tftp(Loader::SnpArm64)),
        15 | 16 => Some(BootFile::Http(Loader::SnpX86)),
        19 | 24 => Some(BootFile::Http(Loader::SnpArm64)),
        // 6 is UEFI of 32 bits, which cannot run a program of 64; upstream offers it one.
        _ => None,
    }
}

fn file_name(boot_file: BootFile, server: Server<'_>) -> Cow<'static, str> {
    let Server { address, http_port, .. } = server;
    match boot_file {
        BootFile::Script => format!("http://{address}:{http_port}/boot.ipxe").into(),
        BootFile::Tftp(loader) => loader.file_name().into(),
        BootFile::Http(loader) => format!("http://{address}:{http_port}/tftp/{}", loader.file_name()).into(),
    }
}

/// Option 43 is for PXE clients only; a client without a class is told it is one.
fn vendor_specific(request: &Request<'_>, listener: Listener) -> Option<VendorSpecific> {
    let pxe = request.option(option::VENDOR_CLASS).is_none() || request.vendor_class_starts_with(PXE_CLIENT);
    let boot_item = match listener {
        Listener::Dhcp => None,
        Listener::Pxe => request.boot_item(),
    };
    pxe.then_some(VendorSpecific { boot_item })
}
