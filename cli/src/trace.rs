//! `bloomery trace`: what each machine did on its way from DISCOVER to the agent, where it stopped, and what to do.

pub(crate) mod model;
pub(crate) mod text;

use std::time::SystemTime;

use anyhow::Context as _;
use serde_json::Value;

use crate::connection::Common;
use crate::output::{self, Format};
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
    common: Common,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { machine, common: Common { connection, output } } = args;
    let (client, connection) = connection.appliance()?;
    let doing = format!("asking {}", connection.endpoint());
    let traces: Value =
        progress::during(&doing, Box::pin(client.traces())).await.context("failed to get the boot traces")?;
    let print = match (output, machine) {
        (Format::Json, None) => output::json(&traces),
        (Format::Json, Some(machine)) => output::json(&model::select(&traces, &machine)?),
        (Format::Text, None) => output::text(&text::table(&model::read(traces)?, SystemTime::now())),
        (Format::Text, Some(machine)) => {
            let Traces { machines } = model::read(model::select(&traces, &machine)?)?;
            output::text(&machines.iter().map(text::steps).collect::<Vec<_>>().join("\n"))
        }
    };
    print.context("failed to print the boot traces")
}
