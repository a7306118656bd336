//! `bloomery lab`: the appliance and blank machines as virtual machines on this computer.
//!
//! The work is done by the crate `bloomery-lab`; here is what a person sees and asks for.

mod cluster;
mod console;
mod folder;
mod machines;
mod power;
mod run;
mod simulate;
mod status;
mod steps;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use bloomery_lab::accel::Accel;
use bloomery_lab::bmc::BmcKind;
use bloomery_lab::net::Helper;
use bloomery_lab::vm::spec::{BootPath, Firmware};
use clap::{Args, Subcommand, ValueEnum};

use crate::output;

/// Folder of a lab when none is given.
const DEFAULT_OUT: &str = "out/lab";
/// The appliance's image when none is named.
const DEFAULT_IMAGE: &str = "out/bloomery-amd64.img";
/// Name of the subcommand that is the supervisor of the lab's namespaces.
const SUPERVISE: &str = "__supervise";

const EXAMPLES: &str = "\
Examples:
  # Boot the image, a UEFI and a BIOS machine; Ctrl-C stops everything
  bloomery lab run --image out/bloomery-amd64.img

  # In another terminal: what runs, and what does the first machine say?
  bloomery lab status
  bloomery lab console uefi-1

  # A hundred simulated machines beside them
  bloomery lab simulate 100";

const RUN_EXAMPLES: &str = "\
Examples:
  # One UEFI and one BIOS machine
  bloomery lab run --image out/bloomery-amd64.img

  # Two UEFI machines, and stop with success once they have registered
  bloomery lab run --image out/bloomery-amd64.img --until-registered \\
    --machine uefi --machine uefi

  # A cluster of three control planes and two workers
  bloomery lab up --control-planes 3 --workers 2

  # A small one on machines with firmware and disks
  bloomery lab up --control-planes 1 --workers 1 --board vm

  # Machines with a BMC, accepted, until they are wiped and powered off
  bloomery lab run --image out/bloomery-amd64.img --accept \\
    --machine uefi-http,bmc=redfish --machine bios,bmc=ipmi";

const CONSOLE_EXAMPLES: &str = "\
Examples:
  # Follow it until the lab stops
  bloomery lab console appliance

  # What it has said so far
  bloomery lab console uefi-1 --no-follow | tail";

const STATUS_EXAMPLES: &str = "\
Examples:
  bloomery lab status
  bloomery lab status --out out/my-lab";

const POWER_EXAMPLES: &str = "\
Examples:
  bloomery lab power uefi-1 on
  bloomery lab power uefi-1 status";

/// Run the appliance and blank machines in QEMU, in a network of their own
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    #[command(visible_alias = "up")]
    Run(RunArgs),
    Simulate(simulate::SimulateArgs),
    Console(ConsoleArgs),
    Status(StatusArgs),
    Power(PowerArgs),
    /// Say which board a cluster's machines get on this computer
    #[command(hide = true)]
    Board(BoardArgs),
    /// First process of the lab's namespaces
    #[command(name = SUPERVISE, hide = true)]
    Supervise(SuperviseArgs),
    /// The simulation inside the lab's network
    #[command(name = simulate::INSIDE, hide = true)]
    Inside(simulate::InsideArgs),
}

#[derive(Debug, Args)]
struct BoardArgs {
    /// The one that was asked for
    #[arg(value_enum, default_value_t = BoardArg::Auto)]
    board: BoardArg,
}

/// The supervisor, or the part of the lab that is named.
#[derive(Debug, Args)]
struct SuperviseArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    role: Vec<OsString>,
}

/// Boot the image and machines, and wait until they have registered; with --control-planes, until their cluster runs
///
/// Needs no root where unprivileged user namespaces are allowed, and touches nothing of this computer's network.
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
struct RunArgs {
    /// The appliance's disk image; it is only read
    #[arg(long, value_name = "FILE", default_value = DEFAULT_IMAGE)]
    image: PathBuf,
    /// Folder of consoles, disks and the kubeconfig
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// A blank machine of this kind: bios, bios-undionly, uefi, uefi-http or ipxe, with ",bmc=ipmi", ",bmc=redfish",
    /// ",bmc=http" or ",bmc=none" behind it; may be repeated [default: uefi and bios, without a BMC; none beside a cluster]
    #[arg(long = "machine", value_name = "KIND[,bmc=BMC]")]
    machines: Vec<MachineArg>,
    /// Accept the machines, and wait until they are wiped, clean and (with a BMC) powered off
    #[arg(long)]
    accept: bool,
    /// Leave the Servers of machines with bmc=ipmi without a BMC, for the agent to set up
    #[arg(long)]
    agent_sets_up_bmc: bool,
    /// No blank machine at all
    #[arg(long, conflicts_with = "machines")]
    no_machines: bool,
    /// A workload cluster of real Talos with so many control planes, of `make talos` or `make talos-media`
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=9))]
    control_planes: u8,
    /// So many workers beside them
    #[arg(long, value_name = "M", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=30))]
    workers: u8,
    /// Of what the cluster's machines are made
    #[arg(long, value_enum, default_value_t = BoardArg::Auto)]
    board: BoardArg,
    /// The appliance's firmware
    #[arg(long, value_enum, default_value_t = FirmwareArg::Bios)]
    firmware: FirmwareArg,
    /// The appliance's memory
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=262_144))]
    memory: u32,
    /// Each blank machine's memory
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..=262_144))]
    machine_memory: u32,
    /// Stop with success once all machines have registered
    #[arg(long)]
    until_registered: bool,
    /// Go on with the disks of an earlier run in the same folder
    #[arg(long)]
    keep_state: bool,
}

/// Show a machine's console, from its beginning and as it goes on
#[derive(Debug, Args)]
#[command(after_help = CONSOLE_EXAMPLES)]
struct ConsoleArgs {
    /// The machine, as `bloomery lab status` lists it: appliance, uefi-1, bios-2, …
    name: String,
    /// Folder of the lab
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// Show what is there and end
    #[arg(long)]
    no_follow: bool,
}

/// Show whether a lab runs, its machines, their BMCs and last console lines
#[derive(Debug, Args)]
#[command(after_help = STATUS_EXAMPLES)]
struct StatusArgs {
    /// Folder of the lab
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
}

/// Switch a machine of a running lab by hand, as at its front panel
///
/// Its BMC and the plane are not asked; the plane finds out, and may switch it again.
#[derive(Debug, Args)]
#[command(after_help = POWER_EXAMPLES)]
struct PowerArgs {
    /// The machine, as `bloomery lab status` lists it: uefi-1, bios-2, …
    name: String,
    /// What to do
    #[arg(value_enum)]
    action: PowerAction,
    /// Folder of the lab
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BoardArg {
    /// vm where KVM works, else ns
    Auto,
    /// Namespaces of this computer, which needs root: no firmware, no disks
    Ns,
    /// Virtual machines that boot from the network and install themselves; without KVM about half an hour
    Vm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PowerAction {
    #[value(help = "Switch it on")]
    On,
    #[value(help = "Pull its plug")]
    Off,
    #[value(help = "Pull its plug and switch it on again")]
    Cycle,
    #[value(help = "Print on or off")]
    Status,
}

/// A machine as the user names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MachineArg {
    path: BootPath,
    bmc: BmcKind,
}

impl FromStr for MachineArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let path = parts.next().unwrap_or_default().parse()?;
        let mut machine = Self { path, bmc: BmcKind::None };
        for part in parts {
            match part.split_once('=') {
                Some(("bmc", bmc)) => machine.bmc = bmc.parse()?,
                _ => return Err(format!("unknown option {part:?}; known is bmc=…")),
            }
        }
        Ok(machine)
    }
}

/// Firmware of the appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FirmwareArg {
    #[value(help = "OVMF")]
    Uefi,
    #[value(help = "SeaBIOS")]
    Bios,
}

impl From<FirmwareArg> for Firmware {
    fn from(firmware: FirmwareArg) -> Self {
        match firmware {
            FirmwareArg::Uefi => Self::Uefi,
            FirmwareArg::Bios => Self::Bios,
        }
    }
}

/// Runs what was asked for.
pub async fn run(args: LabArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        LabCommand::Run(args) => Box::pin(run::run(args)).await,
        LabCommand::Simulate(args) => Box::pin(simulate::run(&args)).await,
        LabCommand::Inside(args) => Box::pin(simulate::run_inside(&args)).await,
        LabCommand::Console(args) => console::run(&args).await.map(|()| ExitCode::SUCCESS),
        LabCommand::Status(args) => status::run(&args).await.map(|()| ExitCode::SUCCESS),
        LabCommand::Power(args) => power::run(&args).await.map(|()| ExitCode::SUCCESS),
        LabCommand::Board(args) => {
            let board = cluster::board(args.board, Accel::detect().await);
            output::text(&format!("{board}\n")).map(|()| ExitCode::SUCCESS)
        }
        LabCommand::Supervise(args) => {
            bloomery_lab::program::run(&args.role).await.map(|()| ExitCode::SUCCESS)
        }
    }
}

/// This program as the supervisor.
fn helper() -> anyhow::Result<Helper> {
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    Ok(Helper { program, arguments: ["lab", SUPERVISE].map(OsString::from).to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_named_by_boot_path_and_bmc() {
        let machine = |path, bmc| Ok(MachineArg { path, bmc });
        assert_eq!("uefi".parse(), machine(BootPath::Uefi, BmcKind::None));
        assert_eq!("bios-undionly,bmc=ipmi".parse(), machine(BootPath::BiosUndionly, BmcKind::Ipmi));
        assert_eq!("uefi-http,bmc=redfish".parse(), machine(BootPath::UefiHttp, BmcKind::Redfish));
        for wrong in ["", "arm64", "uefi,bmc=ilo", "uefi,ipmi", "uefi,disk=1"] {
            assert!(wrong.parse::<MachineArg>().is_err(), "{wrong:?}");
        }
    }
}
