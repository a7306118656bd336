//! `bloomery lab simulate`: machines at protocol level beside those of a running lab.
//!
//! The simulation itself runs in a second process of this program, inside the lab's private network.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bloomery_lab::net::Helper;
use bloomery_lab::simulate::config::{self, Config, Fetch, Mix, Operate, Target, Until};
use bloomery_lab::simulate::fleet::{self, End};
use bloomery_lab::simulate::inside;
use bloomery_lab::simulate::join::Running;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use super::DEFAULT_OUT;
use crate::output::{self, Format};

mod show;

/// Name of the subcommand that is the simulation.
pub(super) const INSIDE: &str = "__simulate";
/// Exit code when the time was over.
const TIME_OVER: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  # Fifty machines of all kinds beside those of the lab that runs in out/lab
  bloomery lab simulate 50

  # A thousand UEFI and Arm machines, accepted, until all of them are clean
  bloomery lab simulate 1000 --mix uefi=3,arm64=1 --accept --until clean

  # When those have ended: fifty others, with the result as JSON
  bloomery lab simulate 50 --first 50 --until registered -o json";

/// Simulate machines that netboot, register and are wiped, at protocol level
///
/// They speak DHCP, TFTP, HTTP and gRPC to the lab's plane like real ones, each with its own UUID, address and hardware,
/// and are switched by a power API that the plane is told of. They run until Ctrl-C, or until what --until names.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SimulateArgs {
    /// How many machines
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(config::MAX_MACHINES)))]
    machines: u32,
    /// Folder of the running lab, whose private network is joined
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    out: PathBuf,
    /// A plane on loopback instead of a lab's; any other address is refused
    #[arg(long, value_name = "ADDRESS", conflicts_with = "out")]
    target: Option<Ipv4Addr>,
    /// Number of the first machine: another run with other numbers makes other machines
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u32,
    /// Kinds of machines in proportion: bios, bios-undionly, uefi, uefi-http, arm64
    #[arg(long, value_name = "KIND=SHARE,…", default_value_t = Mix::default())]
    mix: Mix,
    /// Accept the machines, as an administrator would
    #[arg(long)]
    accept: bool,
    /// Do not tell the plane about the machines' power API
    #[arg(long)]
    no_power_api: bool,
    /// How much of each file is downloaded
    #[arg(long, value_enum, default_value_t = FetchArg::Loaders)]
    fetch: FetchArg,
    /// How often a registered machine asks for orders
    #[arg(long, value_name = "S", default_value_t = config::POLL.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    poll_seconds: u64,
    /// How long a wipe takes
    #[arg(long, value_name = "S", default_value_t = config::WIPE.as_secs())]
    wipe_seconds: u64,
    /// Spread power-on over this time, instead of all at once
    #[arg(long, value_name = "S", default_value_t = 0)]
    spread_seconds: u64,
    /// Bound how many are between power-on and registration at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// Stop with success once all machines have come this far
    #[arg(long, value_enum)]
    until: Option<UntilArg>,
    /// Stop after this time, with failure if --until has not happened
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// How to print the result
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Format,
}

/// How the simulation inside shows its result.
#[derive(Debug, Args)]
pub(super) struct InsideArgs {
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FetchArg {
    /// Everything, as real machines do
    All,
    /// Loaders in full, of kernel and initramfs the first bytes
    Loaders,
    /// The first bytes of everything
    Heads,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UntilArg {
    /// The plane knows all of them
    Registered,
    /// All of them are wiped
    Clean,
}

impl SimulateArgs {
    fn config(&self, target: Ipv4Addr, operate: Option<Operate>) -> Config {
        Config {
            first: self.first,
            mix: self.mix.clone(),
            fetch: match self.fetch {
                FetchArg::All => Fetch::All,
                FetchArg::Loaders => Fetch::Loaders,
                FetchArg::Heads => Fetch::Heads,
            },
            poll: Duration::from_secs(self.poll_seconds),
            wipe: Duration::from_secs(self.wipe_seconds),
            spread: Duration::from_secs(self.spread_seconds),
            at_once: self.at_once,
            operate,
            until: self.until.map(|until| match until {
                UntilArg::Registered => Until::Registered,
                UntilArg::Clean => Until::Clean,
            }),
            limit: self.seconds.map(Duration::from_secs),
            ..Config::new(self.machines, Target::new(target))
        }
    }
}

/// Simulates: here when the plane is on loopback, else inside the lab.
pub(super) async fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    if let Some(target) = args.target {
        if args.accept {
            bail!("failed to accept machines: --accept needs a lab, whose kubeconfig it uses");
        }
        return simulate(args.config(target, None), args.output, std::future::pending()).await;
    }
    let lab = Running::find(&args.out)?;
    let operate = operate(args, &lab)?;
    let config = args.config(lab.plane, operate);
    config.validate()?;
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    let format = if args.output == Format::Json { "json" } else { "text" };
    let helper = Helper { program, arguments: ["lab", INSIDE, "-o", format].map(Into::into).to_vec() };
    // A Ctrl-C reaches both; the simulation ends in order, and its exit code is ours.
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for signals")?;
    let mut inside = lab.start(&helper, &config, Stdio::inherit()).await?;
    let status = loop {
        tokio::select! {
            status = inside.child.wait() => break status.context("failed to wait for the simulation")?,
            _ = interrupt.recv() => {}
        }
    };
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// What is done at the lab's API; nothing when nothing was asked for.
fn operate(args: &SimulateArgs, lab: &Running) -> anyhow::Result<Option<Operate>> {
    if !args.accept && args.no_power_api {
        return Ok(None);
    }
    let kubeconfig = read_kubeconfig(&args.out.join("kubeconfig"))?;
    let (accept, management_api) = (args.accept, !args.no_power_api);
    Ok(Some(Operate { kubeconfig, server: Some(lab.api()), accept, management_api }))
}

fn read_kubeconfig(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}: is the lab's plane up?", path.display()))
}

/// The simulation inside the lab's network.
pub(super) async fn run_inside(args: &InsideArgs) -> anyhow::Result<ExitCode> {
    let (config, parent) = inside::order::<Config>().await?;
    simulate(config, args.output, parent.gone()).await
}

async fn simulate(config: Config, format: Format, end: impl Future<Output = ()>) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for signals")?;
    let stop = async {
        tokio::select! {
            () = end => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let until = config.until;
    let mut live = show::Live::new();
    let summary = Box::pin(fleet::run(config, |snapshot| live.show(snapshot), stop)).await?;
    live.end();
    match format {
        Format::Json => output::json(&summary)?,
        Format::Text => output::text(&show::summary(&summary))?,
    }
    Ok(match (summary.end, until) {
        (End::Done, _) | (End::Stopped | End::TimeOver, None) => ExitCode::SUCCESS,
        (End::Stopped, Some(_)) => ExitCode::from(super::run::INTERRUPTED),
        (End::TimeOver, Some(_)) => ExitCode::from(TIME_OVER),
    })
}
