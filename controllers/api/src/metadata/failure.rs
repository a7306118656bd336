//! Where the way to a configuration ended, as upstream answers it and as a person is told.

use serde::{Deserialize, Serialize};

use crate::condition::Severity;

/// HTTP's word for what does not exist.
const NOT_FOUND: u16 = 404;
/// HTTP's word for everything else.
const INTERNAL_SERVER_ERROR: u16 = 500;

/// Where it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The MetalMachine that the binding names.
    MetalMachine,
    /// The Machine that owns it.
    Machine,
    /// The name of the Secret with the bootstrap data.
    DataSecretName,
    /// That Secret.
    DataSecret,
    /// The Server.
    Server,
    /// The class that the Server was taken from.
    ServerClass,
    /// The patches of class and Server.
    Patches,
    /// The label that ties the node to its Server.
    Label,
    /// The documents of SideroLink.
    SideroLink,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 9] = [
        Self::MetalMachine,
        Self::Machine,
        Self::DataSecretName,
        Self::DataSecret,
        Self::Server,
        Self::ServerClass,
        Self::Patches,
        Self::Label,
        Self::SideroLink,
    ];

    /// One word for conditions.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::MetalMachine => "MetalMachineMissing",
            Self::Machine => "MachineMissing",
            Self::DataSecretName => "WaitingForBootstrapData",
            Self::DataSecret => "BootstrapDataMissing",
            Self::Server => "ServerMissing",
            Self::ServerClass => "ServerClassMissing",
            Self::Patches => "PatchFailed",
            Self::Label => "ConfigurationUnreadable",
            Self::SideroLink => "SideroLinkDocumentsFailed",
        }
    }

    /// How bad it is: a configuration that cannot be made needs a person, an object may still come.
    pub const fn severity(self) -> Severity {
        match self {
            Self::DataSecretName => Severity::Info,
            Self::MetalMachine | Self::Machine | Self::DataSecret | Self::Server | Self::ServerClass => {
                Severity::Warning
            }
            Self::Patches | Self::Label | Self::SideroLink => Severity::Error,
        }
    }
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Where it ended.
    pub stage: Stage,
    /// HTTP status of the answer.
    pub code: u16,
    /// Body of the answer, without its line break: upstream's text.
    pub message: String,
    /// The same for a person, without anything of the configuration.
    pub told: String,
}

impl Failure {
    /// With HTTP status 404.
    pub fn missing(stage: Stage, message: impl Into<String>) -> Self {
        Self::with(stage, NOT_FOUND, message.into())
    }

    /// With HTTP status 500.
    pub fn internal(stage: Stage, message: impl Into<String>) -> Self {
        Self::with(stage, INTERNAL_SERVER_ERROR, message.into())
    }

    /// The same, told in other words.
    #[must_use]
    pub fn told(self, told: impl Into<String>) -> Self {
        Self { told: told.into(), ..self }
    }

    fn with(stage: Stage, code: u16, message: String) -> Self {
        Self { stage, code, told: message.clone(), message }
    }
}
