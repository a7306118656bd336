//! What the boot services and the controllers go by: PID 1 writes it as one JSON file for each, and people who run
//! them otherwise give the same as flags.

use crate::machines::UnknownMachines;
use crate::sidero::SideroOptions;
#[cfg(feature = "clap")]
use crate::values::FILE;
use crate::{Config, Role};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Everything that `bloomery.yaml` says to the services.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceOptions {
    /// Sidero's options.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub sidero: SideroOptions,
    /// What a machine boots that nobody has accepted: agent, boot-disk or ignore.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "WHAT", value_parser = UnknownMachines::parse, default_value_t))]
    pub unknown_machines: UnknownMachines,
    /// Machines that are served (mac:…, oui:…, subnet:…, relay:…, interface:…). Default: all.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "ENTRY,…", value_delimiter = ','))]
    pub machines_allow: Vec<String>,
    /// Machines that are not served; wins over the former.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "ENTRY,…", value_delimiter = ','))]
    pub machines_deny: Vec<String>,
    /// Interfaces that machines boot on; the boot services answer there only. Default: all physical ones.
    #[cfg_attr(
        feature = "clap",
        arg(long, conflicts_with = FILE, alias = "interface", value_name = "NAME,…", value_delimiter = ',')
    )]
    pub provisioning_interfaces: Vec<String>,
    /// Interfaces on which the boot services never answer.
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = FILE, value_name = "NAME,…", value_delimiter = ','))]
    pub management_interfaces: Vec<String>,
}

/// Why a file of options cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OptionsError {
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to understand {}", path.display())]
    Decode { path: PathBuf, source: serde_json::Error },
}

impl ServiceOptions {
    /// What a configuration says to the services of a plane with this address.
    pub fn of(config: &Config, address: Option<IpAddr>) -> Self {
        let interfaces = |role: Role| config.network.with_role(role).map(str::to_owned).collect();
        let mut sidero = config.sidero.clone();
        if sidero.api_endpoint.is_empty() {
            let address = || address.map(|address| address.to_string());
            sidero.api_endpoint = config.advertised_endpoint.clone().or_else(address).unwrap_or_default();
        }
        Self {
            sidero,
            unknown_machines: config.unknown_machines,
            machines_allow: config.machines.allow.clone(),
            machines_deny: config.machines.deny.clone(),
            provisioning_interfaces: interfaces(Role::Provisioning),
            management_interfaces: interfaces(Role::Management),
        }
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists of them: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads the file that PID 1 wrote.
    ///
    /// # Errors
    /// When it cannot be read, or is not exactly what this version writes.
    pub fn read(path: &Path) -> Result<Self, OptionsError> {
        let text =
            std::fs::read(path).map_err(|source| OptionsError::Read { path: path.to_owned(), source })?;
        serde_json::from_slice(&text).map_err(|source| OptionsError::Decode { path: path.to_owned(), source })
    }
}

/// The options as one file or as flags.
#[cfg(feature = "clap")]
#[derive(Debug, Clone, clap::Args)]
pub struct OptionSource {
    /// All of the following options, as PID 1 hands them over (JSON).
    #[arg(id = FILE, long = FILE, value_name = "FILE", value_parser = |path: &str| ServiceOptions::read(Path::new(path)))]
    file: Option<ServiceOptions>,
    #[command(flatten)]
    flags: ServiceOptions,
}

#[cfg(feature = "clap")]
impl OptionSource {
    /// The options in force.
    pub fn get(&self) -> &ServiceOptions {
        self.file.as_ref().unwrap_or(&self.flags)
    }
}
