//! Architectures of machines.

/// Processor architecture of a netbooting machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    #[default]
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// Reads the query key `arch`: `arm64`, or else amd64.
    pub fn from_query(word: &str) -> Self {
        if word == "arm64" { Self::Arm64 } else { Self::Amd64 }
    }

    /// The word used in names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Name of the agent's environment, `agent-<arch>`.
    pub const fn agent_environment(self) -> &'static str {
        match self {
            Self::Amd64 => "agent-amd64",
            Self::Arm64 => "agent-arm64",
        }
    }
}
