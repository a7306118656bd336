//! `bloomery trace`: what each machine did on its way from DISCOVER to the agent, where it stopped, and what to do.

pub(crate) mod model;
pub(crate) mod text;

use std::time::SystemTime;

use bloomery_pairing::client::ClientError;
use serde_json::Value;

use crate::connection::{ConnectionArgs, ConnectionError};
use crate::output::{self, Format, OutputError};
use crate::progress;
use model::Traces;

const EXAMPLES: &str = "\
Examples:
  # Every machine that asked the network what to boot, and how far it got
  bloomery trace --kubeconfig kubeconfig

  # One of them step by step, by UUID (or how it begins), MAC or address
  bloomery trace 52:54:00:77:01:01
  bloomery trace 0ef1

  # Those that stopped on the way
  bloomery trace -o json |
    jq '.machines[] | select(.verdict.state == \"failed\")'";

/// Show how far machines got when they booted over the network, and what to do about those that stopped
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// One machine: UUID or how it begins, MAC or address [default: all, in a table]
    machine: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) async fn run(args: Args) -> Result<(), TraceError> {
    let connection = args.connection.resolve().map_err(|source| TraceError::Connection { source })?;
    let doing = format!("asking {}", connection.endpoint());
    let client = connection.appliance().map_err(|source| TraceError::Connection { source })?;
    let traces: Value = progress::during(&doing, Box::pin(client.traces()))
        .await
        .map_err(|source| TraceError::Appliance { source: Box::new(source) })?;
    let print = match (args.output, args.machine) {
        (Format::Json, None) => output::json(&traces),
        (Format::Json, Some(machine)) => output::json(&model::select(&traces, &machine)?),
        (Format::Text, None) => output::text(&text::table(&model::read(traces)?, SystemTime::now())),
        (Format::Text, Some(machine)) => {
            let Traces { machines } = model::read(model::select(&traces, &machine)?)?;
            output::text(&machines.iter().map(text::steps).collect::<Vec<_>>().join("\n"))
        }
    };
    print.map_err(|source| TraceError::Output { source })
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The kubeconfig does not lead to an appliance.
    #[error("failed to find the appliance")]
    Connection { source: ConnectionError },
    #[error("failed to get the boot traces")]
    Appliance { source: Box<ClientError> },
    /// A much newer or older appliance.
    #[error("failed to read the boot traces (-o json shows them as they are)")]
    Unreadable { source: serde_json::Error },
    /// Nothing is known of such a machine.
    #[error(
        "failed to find {machine:?} among the {known} machines that asked what to boot since the boot services started; \
         a machine that is missing sent no DHCPDISCOVER that arrived here: check its boot order, cable and VLAN"
    )]
    Unknown {
        machine: String,
        /// How many are known.
        known: usize,
    },
    #[error("failed to print the boot traces")]
    Output { source: OutputError },
}
