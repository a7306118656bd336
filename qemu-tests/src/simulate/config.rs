//! What is asked of a simulation, checked before anything is sent.
//!
//! Nothing here opens a socket.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr, str::FromStr, time::Duration};

/// Machines of one subnet, which has a DHCP relay of its own: what a /24 holds, some addresses left over.
pub const PER_SUBNET: u32 = 250;
/// Subnets in the machines' /16.
const SUBNETS: u32 = 256;
/// As many as the machines' /16 has room for.
pub const MAX_MACHINES: u32 = PER_SUBNET * SUBNETS;

/// Firmware of a simulated machine; decides how it gets to iPXE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// A BIOS whose network card carries iPXE.
    Bios,
    /// A BIOS with a plain PXE ROM: undionly.kpxe by TFTP, then DHCP once more as iPXE.
    BiosUndionly,
    /// x86-64 UEFI: snp.efi by TFTP, then autoexec.ipxe by TFTP.
    Uefi,
    /// x86-64 UEFI HTTP boot: snp.efi by HTTP, then autoexec.ipxe beside it.
    UefiHttp,
    /// 64-bit Arm UEFI: snp-arm64.efi by TFTP, then autoexec.ipxe by TFTP.
    Arm64,
}

impl Firmware {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bios, Self::BiosUndionly, Self::Uefi, Self::UefiHttp, Self::Arm64];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::BiosUndionly => "bios-undionly",
            Self::Uefi => "uefi",
            Self::UefiHttp => "uefi-http",
            Self::Arm64 => "arm64",
        }
    }

    /// What its iPXE says for `${platform}`.
    pub const fn platform(self) -> &'static str {
        match self {
            Self::Bios | Self::BiosUndionly => "pcbios",
            Self::Uefi | Self::UefiHttp | Self::Arm64 => "efi",
        }
    }

    /// What its iPXE says for `${buildarch}`.
    pub const fn build_arch(self) -> &'static str {
        match self {
            Self::Bios | Self::BiosUndionly => "i386",
            Self::Uefi | Self::UefiHttp => "x86_64",
            Self::Arm64 => "arm64",
        }
    }
}

/// How many machines of each firmware, in proportion: `uefi=3,bios=1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mix(Vec<(Firmware, u32)>);

/// Largest share of one kind: a mix is a proportion, not a count.
const MAX_SHARE: u32 = 1000;

impl Default for Mix {
    /// The same number of each x86-64 kind. Arm machines are for planes that have an agent for them.
    fn default() -> Self {
        let x86 = [Firmware::Bios, Firmware::BiosUndionly, Firmware::Uefi, Firmware::UefiHttp];
        Self(x86.map(|firmware| (firmware, 1)).to_vec())
    }
}

impl Mix {
    /// The firmware of machine `index`: kinds take turns, each as often as its share.
    pub fn of(&self, index: u32) -> Firmware {
        let total: u32 = self.0.iter().map(|(_, share)| share).sum();
        let mut place = index % total.max(1);
        for &(firmware, share) in &self.0 {
            if place < share {
                return firmware;
            }
            place -= share;
        }
        Firmware::Uefi
    }
}

impl FromStr for Mix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut shares: Vec<(Firmware, u32)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, share) = part.split_once('=').unwrap_or((part, "1"));
            let known = || Firmware::ALL.map(Firmware::name).join(", ");
            let firmware = Firmware::ALL.into_iter().find(|firmware| firmware.name() == name);
            let firmware =
                firmware.with_context(|| format!("unknown firmware {name:?}; known: {}", known()))?;
            let share: u32 = share.parse().with_context(|| format!("{share:?} is no share of {name}"))?;
            ensure!(share <= MAX_SHARE, "a share is at most {MAX_SHARE}: these are proportions");
            ensure!(shares.iter().all(|(other, _)| *other != firmware), "{name} is named twice");
            shares.push((firmware, share));
        }
        ensure!(shares.iter().any(|(_, share)| *share > 0), "no firmware has a share");
        Ok(Self(shares))
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares: Vec<String> =
            self.0.iter().map(|(firmware, share)| format!("{}={share}", firmware.name())).collect();
        out.write_str(&shares.join(","))
    }
}

impl TryFrom<String> for Mix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: anyhow::Error| format!("{error:#}"))
    }
}

impl From<Mix> for String {
    fn from(mix: Mix) -> Self {
        mix.to_string()
    }
}

/// How much of each file is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fetch {
    /// Everything, as real machines do.
    All,
    /// Loaders in full, of kernel and initramfs the first bytes.
    Loaders,
    /// The first bytes of everything.
    Heads,
}

/// When a simulation has done its duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// The plane knows every machine and its addresses.
    Registered,
    /// Every machine has been wiped and reported it.
    Clean,
}

/// Where the plane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its address.
    pub address: Ipv4Addr,
    /// UDP port of its proxy DHCP.
    pub dhcp_port: u16,
    /// UDP port of its TFTP.
    pub tftp_port: u16,
    /// TCP port of scripts, files and the agent's gRPC.
    pub http_port: u16,
}

impl Target {
    /// A plane on its own ports.
    pub const fn new(address: Ipv4Addr) -> Self {
        Self { address, dhcp_port: 67, tftp_port: 69, http_port: crate::contract::BOOT_PORT }
    }
}

/// What to do at the Kubernetes API for machines that register.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Operate {
    /// The kubeconfig as text.
    pub kubeconfig: String,
    /// Where the API is from the machines' network, when not where the kubeconfig says.
    pub server: Option<String>,
    /// Accept them, as an administrator would.
    pub accept: bool,
    /// Tell the plane where their power API is.
    pub management_api: bool,
}

/// Everything that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// How many machines.
    pub machines: u32,
    /// Number of the first one: the number decides UUID, MAC and hardware, so that another run makes others.
    pub first: u32,
    /// Which firmware they have.
    pub mix: Mix,
    /// The plane.
    pub target: Target,
    /// How much is downloaded.
    pub fetch: Fetch,
    /// How often a registered agent asks again.
    pub poll: Duration,
    /// How long a wipe takes.
    pub wipe: Duration,
    /// How often a wiping agent reports.
    pub heartbeat: Duration,
    /// Power-on is spread evenly over this time.
    pub spread: Duration,
    /// How many machines may be between power-on and registration at once; none: as in a rack, all.
    pub at_once: Option<u32>,
    /// TCP port of the power API, the same on every machine's address.
    pub power_port: u16,
    /// What is done at the Kubernetes API.
    pub operate: Option<Operate>,
    /// When to stop by itself.
    pub until: Option<Until>,
    /// When to give up.
    pub limit: Option<Duration>,
}

/// The agent asks again once a minute.
pub const POLL: Duration = Duration::from_mins(1);
/// A quick wipe of an SSD.
pub const WIPE: Duration = Duration::from_secs(2);
/// Progress of a wipe on the plane is never older.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// Where the power API listens; any free port would do.
pub const POWER_PORT: u16 = 8000;

impl Config {
    /// `machines` machines of all kinds, all powered on at once.
    pub fn new(machines: u32, target: Target) -> Self {
        Self {
            machines,
            first: 0,
            mix: Mix::default(),
            target,
            fetch: Fetch::Loaders,
            poll: POLL,
            wipe: WIPE,
            heartbeat: HEARTBEAT,
            spread: Duration::ZERO,
            at_once: None,
            power_port: POWER_PORT,
            operate: None,
            until: None,
            limit: None,
        }
    }

    /// Fails on numbers that no network has room for.
    ///
    /// # Errors
    /// None or too many machines, or pauses of no length.
    pub fn validate(&self) -> Result<()> {
        if self.machines == 0 {
            bail!("failed to simulate no machine: ask for one at least");
        }
        let last = self.first.checked_add(self.machines).filter(|last| *last <= MAX_MACHINES);
        last.with_context(|| {
            format!("failed to number the machines: there are addresses for {MAX_MACHINES}")
        })?;
        ensure!(
            !self.poll.is_zero() && !self.heartbeat.is_zero(),
            "failed to pace the agents: no pause at all"
        );
        ensure!(self.at_once != Some(0), "failed to start: no machine may be under way");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_take_turns_by_their_share() {
        let mix: Mix = "uefi=2, bios".parse().expect("a mix");
        let kinds: Vec<_> = (0..6).map(|index| mix.of(index)).collect();
        let round = [Firmware::Uefi, Firmware::Uefi, Firmware::Bios];
        assert_eq!(kinds, [round, round].concat());
        assert_eq!(mix.to_string(), "uefi=2,bios=1");
        let all: std::collections::BTreeSet<_> = (0..4).map(|index| Mix::default().of(index)).collect();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_mix_of_nothing_known_is_refused() {
        for text in ["", "riscv", "uefi=x", "uefi=0", "uefi,uefi", "uefi=5000"] {
            assert!(text.parse::<Mix>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn more_machines_than_addresses_are_refused() {
        let mut config = Config::new(MAX_MACHINES, Target::new(Ipv4Addr::LOCALHOST));
        assert!(config.validate().is_ok());
        config.first = 1;
        assert!(config.validate().is_err());
        assert!(Config::new(0, Target::new(Ipv4Addr::LOCALHOST)).validate().is_err());
    }
}
