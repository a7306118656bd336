//! `bloomery.yaml`: its types, its strict reader and the errors that name line and column.
//!
//! Pure: text in, `Config` or every problem found out. It must never read a file, panic on any input, or
//! accept a key that it does not know: a misspelt option that is silently ignored is found out too late.

mod decode;
mod error;
mod machines;
mod network;
mod node;
mod service_options;
mod sidero;
mod values;
mod words;

pub use error::{ConfigError, Problem};
pub use machines::{Machines, UnknownMachines};
pub use network::{Addressing, InterfaceRole, Network, Role, StaticAddress};
#[cfg(feature = "clap")]
pub use service_options::OptionSource;
pub use service_options::{OptionsError, ServiceOptions};
pub use sidero::{BootFromDiskMethod, IpmiPxeMethod, SideroOptions};
pub use values::GoDuration;

use decode::Decoder;

/// The annotated example that is put on the image's FAT partition; it parses, and so does its uncommented form.
pub const EXAMPLE: &str = include_str!("../bloomery.example.yaml");

/// The name that errors give the file, wherever its text was read from.
pub const FILE_NAME: &str = "bloomery.yaml";

/// More than any honest configuration needs; what is longer is some other file.
pub const MAX_BYTES: usize = 64 * 1024;

/// The host name of a plane that was not given one.
pub const DEFAULT_HOSTNAME: &str = "bloomery";

/// Everything that `bloomery.yaml` can say. An empty file is a valid one: all of it has defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `hostname`: an RFC 1123 host name, without a domain or with one.
    pub hostname: String,
    /// `network`: which interface, and DHCP or a static address.
    pub network: Network,
    /// `advertisedEndpoint`: the name or address under which others reach the plane, when it is not its own.
    pub advertised_endpoint: Option<String>,
    /// `ntp.servers`: names or addresses asked for the time, in this order; empty means those from DHCP.
    pub ntp_servers: Vec<String>,
    /// `unknownMachines`: what becomes of a machine that no person has accepted.
    pub unknown_machines: UnknownMachines,
    /// `machines`: which machines the boot services serve at all.
    pub machines: Machines,
    /// `sidero`: Sidero's options.
    pub sidero: SideroOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: DEFAULT_HOSTNAME.to_owned(),
            network: Network::default(),
            advertised_endpoint: None,
            ntp_servers: Vec::new(),
            unknown_machines: UnknownMachines::default(),
            machines: Machines::default(),
            sidero: SideroOptions::default(),
        }
    }
}

impl Config {
    /// Reads the text of a `bloomery.yaml`.
    ///
    /// # Errors
    /// Every problem that can be told apart in one reading; a syntax error hides what comes after it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > MAX_BYTES {
            return Err(ConfigError::single(
                1,
                1,
                format!("the file has {} bytes; at most {MAX_BYTES} are allowed", text.len()),
            ));
        }
        // Editors on Windows put a byte order mark in front; it means nothing in UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = node::read(text)?;
        let mut decoder = Decoder::new();
        let config = Self::decode(root.as_ref(), &mut decoder);
        decoder.finish(config)
    }

    /// Reads the bytes of a `bloomery.yaml`, which must be UTF-8.
    ///
    /// # Errors
    /// As [`Config::parse`], and a problem that names the first byte that is not UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => {
                let (line, column) = position_of(bytes, error.valid_up_to());
                Err(ConfigError::single(
                    line,
                    column,
                    "a byte that is not UTF-8; save the file as UTF-8 text".to_owned(),
                ))
            }
        }
    }

    fn decode(root: Option<&node::Node>, decoder: &mut Decoder) -> Self {
        let mut config = Self::default();
        let Some(root) = root else { return config };
        let Some(fields) = decoder.mapping(
            root,
            "the file",
            &["hostname", "network", "advertisedEndpoint", "ntp", "unknownMachines", "machines", "sidero"],
        ) else {
            return config;
        };
        if let Some(hostname) = decoder.parsed(fields.get("hostname"), values::hostname) {
            config.hostname = hostname;
        }
        if let Some(network) = fields.get("network") {
            config.network = network::decode(network, decoder);
        }
        config.advertised_endpoint = decoder.parsed(fields.get("advertisedEndpoint"), values::host);
        if let Some(ntp) = fields.get("ntp")
            && let Some(ntp) = decoder.mapping(ntp, "`ntp`", &["servers"])
        {
            config.ntp_servers = decoder.list(ntp.get("servers"), "`ntp.servers`", values::host);
        }
        if let Some(unknown) = decoder.parsed(fields.get("unknownMachines"), UnknownMachines::parse) {
            config.unknown_machines = unknown;
        }
        if let Some(machines) = fields.get("machines") {
            config.machines = machines::decode(machines, decoder);
        }
        if let Some(sidero) = fields.get("sidero") {
            config.sidero = sidero::decode(sidero, decoder);
        }
        config
    }
}

/// Line and column (from 1, in bytes) of an offset.
fn position_of(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}
