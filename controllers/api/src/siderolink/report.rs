//! What a node's events say of its machine: the conditions of its ServerBinding, its addresses, its name.
//!
//! Never calls a node installed that may run from memory alone: its machine would then be told to boot an empty disk.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Network;
use crate::condition::{self, Condition, Severity};
use crate::server_binding::{ServerBinding, TALOS_CONFIG_LOADED, TALOS_CONFIG_VALIDATED, TALOS_INSTALLED};

/// Annotation of a ServerBinding: the release of Talos that asked for the tunnel last.
pub const TALOS_VERSION_ANNOTATION: &str = "bloomery.dev/talos-version";
/// The installation is under way.
pub const INSTALLATION_IN_PROGRESS: &str = "TalosInstallationInProgress";
/// The installation failed.
pub const INSTALLATION_FAILED: &str = "TalosInstallationFailed";
/// The configuration was not loaded.
pub const CONFIG_LOAD_FAILED: &str = "TalosConfigLoadFailed";
/// The configuration was refused.
pub const CONFIG_VALIDATION_FAILED: &str = "TalosConfigValidationFailed";

/// From this release on a node boots without being installed, and tells nothing of an installation.
const INSTALLS_LATER: (u64, u64) = (1, 14);
/// What the error that ends an installation by a restart contains.
const RESTART: &str = "unix.Reboot";
/// Octets of a message that are kept.
const LONGEST_MESSAGE: usize = 2048;
/// Addresses of one node that are kept.
const MOST_ADDRESSES: usize = 64;
/// RFC 1123 section 2.1.
const LONGEST_NAME: usize = 253;

/// Where a phase or sequence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing of the following; an error of a sequence comes with it.
    Noop,
    /// It begins.
    Start,
    /// It ended.
    Stop,
}

/// What a node tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its host name and its addresses.
    Address {
        /// Host name.
        hostname: String,
        /// Addresses, each as a text.
        addresses: Vec<String>,
    },
    /// Its configuration could not be fetched or read.
    ConfigLoadError(String),
    /// Its configuration was refused.
    ConfigValidationError(String),
    /// A phase of a sequence.
    Phase {
        /// Name of the phase.
        name: String,
        /// Where it stands.
        action: Action,
    },
    /// A sequence.
    Sequence {
        /// Name of the sequence.
        name: String,
        /// Where it stands.
        action: Action,
        /// What went wrong, if that ends the sequence for good.
        fatal: Option<String>,
    },
    /// The state of the whole node.
    MachineStatus {
        /// It is up.
        is_running: bool,
        /// All that is expected of it runs, kubelet among it.
        is_ready: bool,
    },
}

/// The state of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// True.
    Holds,
    /// False, and why.
    Fails(Severity, &'static str, String),
}

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Conditions with their new states.
    pub conditions: Vec<(&'static str, State)>,
    /// Addresses and host name.
    pub node: Option<(Vec<String>, String)>,
}

impl Report {
    /// Whether nothing follows.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.node.is_none()
    }

    /// The status' conditions after it, if they change.
    pub fn conditions_of(&self, binding: &ServerBinding, now: &Time) -> Option<Vec<Condition>> {
        let old = binding.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let mut new = old.to_vec();
        for (type_, state) in &self.conditions {
            let state = match state {
                State::Holds => Condition::holds(type_, now.clone()),
                State::Fails(severity, reason, message) => {
                    Condition::fails(type_, *severity, reason, message.clone(), now.clone())
                }
            };
            condition::set(&mut new, state);
        }
        (new != old).then_some(new)
    }

    /// Addresses and host name after it, if they change.
    pub fn node_of(&self, binding: &ServerBinding) -> Option<(&[String], &str)> {
        let (addresses, hostname) = self.node.as_ref()?;
        let is_news = binding.spec.addresses != *addresses || binding.spec.hostname != *hostname;
        is_news.then_some((addresses.as_slice(), hostname.as_str()))
    }
}

/// An address range that is left out of what a node announces.
pub trait Filter {
    /// Whether the address is left out.
    fn leaves_out(&self, address: IpAddr) -> bool;
}

impl<F: Fn(IpAddr) -> bool> Filter for F {
    fn leaves_out(&self, address: IpAddr) -> bool {
        self(address)
    }
}

/// What follows from an event of a node of this network with this release of Talos, if it told one.
pub fn report(event: &Event, network: Network, talos: Option<&str>, filter: &impl Filter) -> Report {
    let conditions =
        |conditions: &[(&'static str, State)]| Report { conditions: conditions.to_vec(), node: None };
    let fails = |severity, reason, message: &str| State::Fails(severity, reason, shortened(message));
    match event {
        Event::Address { hostname, addresses } => {
            Report { node: Some(announced(hostname, addresses, network, filter)), ..Report::default() }
        }
        Event::ConfigLoadError(error) => {
            conditions(&[(TALOS_CONFIG_LOADED, fails(Severity::Error, CONFIG_LOAD_FAILED, error))])
        }
        Event::ConfigValidationError(error) => {
            conditions(&[(TALOS_CONFIG_VALIDATED, fails(Severity::Error, CONFIG_VALIDATION_FAILED, error))])
        }
        Event::Phase { name, action: Action::Start } if name == "install" => conditions(&[(
            TALOS_INSTALLED,
            State::Fails(Severity::Info, INSTALLATION_IN_PROGRESS, String::new()),
        )]),
        Event::Phase { name, action: Action::Start } if name == "saveConfig" => conditions(&LOADED),
        // An installation needs a configuration.
        Event::Sequence { name, action: Action::Start, .. } if name == "install" => conditions(&LOADED),
        Event::Sequence { name, action: Action::Noop, fatal: Some(error) } if name == "install" => {
            if error.contains(RESTART) {
                conditions(&[(TALOS_INSTALLED, State::Holds)])
            } else {
                conditions(&[(TALOS_INSTALLED, fails(Severity::Error, INSTALLATION_FAILED, error))])
            }
        }
        Event::Sequence { name, action: Action::Start, .. } if name == "boot" => {
            if installs_later(talos) {
                conditions(&LOADED)
            } else {
                conditions(&ALL)
            }
        }
        // Its kubelet runs, and that needs a disk.
        Event::MachineStatus { is_running: true, is_ready: true } => conditions(&ALL),
        Event::Phase { .. } | Event::Sequence { .. } | Event::MachineStatus { .. } => Report::default(),
    }
}

const LOADED: [(&str, State); 2] =
    [(TALOS_CONFIG_LOADED, State::Holds), (TALOS_CONFIG_VALIDATED, State::Holds)];
const ALL: [(&str, State); 3] = [
    (TALOS_CONFIG_LOADED, State::Holds),
    (TALOS_CONFIG_VALIDATED, State::Holds),
    (TALOS_INSTALLED, State::Holds),
];

/// Whether a node of this release boots before it is installed. One that told no release is an older one.
fn installs_later(talos: Option<&str>) -> bool {
    let mut numbers = talos.unwrap_or_default().trim_start_matches('v').split(['.', '-']);
    let mut number = || numbers.next().and_then(|number| number.parse::<u64>().ok());
    number().zip(number()).is_some_and(|release| release >= INSTALLS_LATER)
}

fn announced(
    hostname: &str,
    addresses: &[String],
    network: Network,
    filter: &impl Filter,
) -> (Vec<String>, String) {
    let mut kept: Vec<String> = Vec::new();
    for address in addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
        let is_link = matches!(address, IpAddr::V6(address) if network.contains(address));
        let text = address.to_string();
        if !is_link && !filter.leaves_out(address) && !kept.contains(&text) && kept.len() < MOST_ADDRESSES {
            kept.push(text);
        }
    }
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    let is_plain = hostname.len() <= LONGEST_NAME && hostname.bytes().all(is_name);
    (kept, if is_plain { hostname.to_owned() } else { String::new() })
}

/// A message that a condition can hold and a terminal can show.
fn shortened(message: &str) -> String {
    let plain = message.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let mut text = String::new();
    for letter in plain {
        if text.len() + letter.len_utf8() > LONGEST_MESSAGE {
            break;
        }
        text.push(letter);
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests;
