//! Measures what the product promises beside its peers, in one run on one machine, and says which goals are met.
//!
//! It must never print a figure that it did not measure in this run.

#![allow(missing_docs, reason = "a program: nothing is built on it")]
#![allow(clippy::doc_markdown, reason = "Kubernetes' kinds are words here")]

mod allocation;
mod boot_time;
mod cluster;
mod image_size;
mod memory;
mod network;
mod report;
mod scale;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use bloomery_lab::net::Helper;
use clap::{Parser, Subcommand, ValueEnum};
use report::{Figure, Report};

/// Name of the hidden subcommand that is the supervisor of the lab's namespaces.
const SUPERVISE: &str = "__supervise";
/// The program beside this one that enters the plane's namespaces.
const LAUNCHER: &str = "bench-enter";

/// Measures image size, memory, boot time and many machines beside their peers
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// First process of the lab's namespaces, or the part of the lab that is named
    #[command(name = SUPERVISE, hide = true)]
    Supervise {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        role: Vec<OsString>,
    },
    /// Simulated machines, in the measured plane's network
    #[command(name = scale::SIMULATE, hide = true)]
    Simulate,
    /// Clients that create objects, in the same place
    #[command(name = scale::CREATE, hide = true)]
    Create,
    /// A client that makes clusters and machines of Cluster API, in the same place
    #[command(name = allocation::SUBCOMMAND, hide = true)]
    Allocate,
}

/// What to measure, and where things are.
#[derive(Debug, Clone, clap::Args)]
struct Options {
    /// Folder of the built image; bench.json is written there
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Measure only these
    #[arg(value_enum)]
    parts: Vec<Subject>,
    /// The boot services to measure, as the image has them
    #[arg(long, value_name = "FILE", default_value = "target/x86_64-unknown-linux-gnu/release/bootsvc")]
    bootsvc: PathBuf,
    /// Boots of each kind, of which the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    boots: u32,
    /// Seconds at rest before memory is read; the garbage collectors need minutes to settle
    #[arg(long, default_value_t = 180)]
    settle: u64,
    /// Numbers of machines to measure; may be repeated [default: all]
    #[arg(long = "size", value_enum, value_name = "MACHINES")]
    sizes: Vec<scale::Size>,
    /// Bound how many machines are between power-on and registration at once [default: all, as in a rack]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// How far machines go
    #[arg(long, value_enum, default_value_t = scale::Goalpost::Clean)]
    until: scale::Goalpost,
    /// Fail when a goal is missed, not only when something could not be measured
    #[arg(long)]
    strict: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Size of the image
    ImageSize,
    /// Memory of the plane at rest
    Memory,
    /// Kernel start to a ready API
    BootTime,
    /// Proxy DHCP beside dnsmasq
    Dhcp,
    /// TFTP beside dnsmasq and tftpd-hpa
    Tftp,
    /// Boot files by HTTP beside nginx
    Http,
    /// A hundred, a thousand, five thousand and ten thousand machines
    Scale,
    /// A thousand and five thousand machines of ten clusters, and as many servers for them
    Allocation,
    /// Clusters of real Talos nodes beside the same by hand with talosctl (root, `make talos`)
    Cluster,
}

impl Subject {
    async fn measure(self, options: &Options) -> anyhow::Result<Vec<Figure>> {
        match self {
            Self::ImageSize => image_size::measure(options),
            Self::Memory => memory::measure(options).await,
            Self::BootTime => boot_time::measure(options).await,
            Self::Dhcp => network::isolated(options, network::dhcp::measure).await,
            Self::Tftp => network::isolated(options, network::tftp::measure).await,
            Self::Http => network::isolated(options, network::http::measure).await,
            Self::Scale => Box::pin(scale::measure(options)).await,
            Self::Allocation => Box::pin(allocation::measure(options)).await,
            Self::Cluster => Box::pin(cluster::measure(options)).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Supervise { role }) => {
            Box::pin(bloomery_lab::program::run(&role)).await.map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Simulate) => Box::pin(scale::simulate_inside()).await,
        Some(Command::Create) => Box::pin(scale::create_inside()).await,
        Some(Command::Allocate) => Box::pin(allocation::run_inside()).await,
        None => Box::pin(run(&cli.options)).await,
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// This program as the supervisor of the lab's namespaces.
fn supervisor() -> anyhow::Result<Helper> {
    let program = std::env::current_exe().context("failed to find this program's own file")?;
    Ok(Helper { program, arguments: vec![OsString::from(SUPERVISE)] })
}

async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let out =
        options.out.canonicalize().with_context(|| format!("failed to find {}", options.out.display()))?;
    let options = Options { out, ..options.clone() };
    let mut report = Report::default();
    for subject in Subject::value_variants() {
        if !options.parts.is_empty() && !options.parts.contains(subject) {
            continue;
        }
        let start = Instant::now();
        eprintln!("bench: measuring {subject:?} …");
        match Box::pin(subject.measure(&options)).await {
            Ok(figures) => report.figures.extend(figures),
            Err(error) => report.failures.push(format!("{subject:?}: {error:#}")),
        }
        eprintln!("bench: {subject:?} took {:.0} s", start.elapsed().as_secs_f64());
    }
    report.save(&options.out.join("bench.json"))?;
    print!("{}", report.table());
    let failed = !report.failures.is_empty() || (options.strict && !report.all_met());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
