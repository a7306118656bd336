//! `bloomery servers`: which Servers are one machine, which are two, and which are to be forgotten.
//!
//! The plane holds machines that it cannot tell apart; these commands are a person's word about them.

mod carry_out;
mod plan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use crate::connection::Common;

const EXAMPLES: &str = "\
Examples:
  # Which Servers are in conflict, and with which command it ends
  kubectl get servers
  kubectl describe server NAME

  bloomery servers merge --help
  bloomery servers split --help
  bloomery servers forget --help";

const MERGE_EXAMPLES: &str = "\
Examples:
  # The board of OLD was changed: its machine registered anew as NEW.
  # OLD keeps its binding and its record, NEW goes away.
  bloomery servers merge 4c4c4544-0044-5a10-8054-b4c04f565831 \\
    --into 4c4c4544-0042-3510-8054-b4c04f565831

  # The network card of the machine was changed; this is the new one.
  bloomery servers merge 52:54:00:12:34:56 \\
    --into 4c4c4544-0042-3510-8054-b4c04f565831";

const SPLIT_EXAMPLES: &str = "\
Examples:
  # Two Servers that share a serial number or a card are two machines
  bloomery servers split 4c4c4544-0042-3510-8054-b4c04f565831 \\
    4c4c4544-0044-5a10-8054-b4c04f565831

  # Two machines have one UUID: that with this card is the other one.
  # It gets a Server of its own when it registers next.
  bloomery servers split 03000200-0400-0500-0006-000700080009 \\
    52:54:00:12:34:56";

const FORGET_EXAMPLES: &str = "\
Examples:
  # The machine is gone for good; its ServerBinding is deleted already
  bloomery servers forget 4c4c4544-0042-3510-8054-b4c04f565831";

/// How long a deleted Server is waited for: the controllers answer within seconds, under load within a minute.
const GONE_WITHIN: &str = "60s";

/// Say which Servers are one machine, which are two, and which to forget
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Merge(MergeArgs),
    Split(SplitArgs),
    Forget(ForgetArgs),
}

/// Same machine, board or card changed: one Server takes the marks of the other
#[derive(Debug, clap::Args)]
#[command(after_help = MERGE_EXAMPLES)]
struct MergeArgs {
    /// The Server that goes away, or a network card of the machine that shows the UUID of the other
    #[arg(value_name = "SERVER|CARD")]
    other: String,
    /// The Server that stays, with its binding and its record
    #[arg(long, value_name = "SERVER")]
    into: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// Two machines: neither is taken for the other any more
#[derive(Debug, clap::Args)]
#[command(after_help = SPLIT_EXAMPLES)]
struct SplitArgs {
    /// A Server
    #[arg(value_name = "SERVER")]
    server: String,
    /// The other Server, or a network card of the machine that shows the UUID of the first
    #[arg(value_name = "SERVER|CARD")]
    other: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// Delete a Server that a cluster had or may have had
#[derive(Debug, clap::Args)]
#[command(after_help = FORGET_EXAMPLES)]
struct ForgetArgs {
    /// The Server
    #[arg(value_name = "SERVER")]
    server: String,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, clap::Args)]
struct CommonArgs {
    #[command(flatten)]
    common: Common,
    /// How long to wait until a deleted Server is gone
    #[arg(long, value_name = "DURATION", default_value = GONE_WITHIN, value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// `merge`, `split` or `forget`.
    action: &'static str,
    /// The Server that it is about.
    server: String,
    /// The other Server or card.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    /// Servers that are gone, or going.
    removed: Vec<String>,
    gone: bool,
    /// What follows, for people.
    text: String,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (common, order) = match args.command {
        Command::Merge(MergeArgs { other, into, common }) => (common, Order::Merge { other, into }),
        Command::Split(SplitArgs { server, other, common }) => (common, Order::Split { server, other }),
        Command::Forget(ForgetArgs { server, common }) => (common, Order::Forget { server }),
    };
    let CommonArgs { common: Common { connection, output }, timeout } = common;
    let client = connection.kubernetes().await?;
    let report = carry_out::carry_out(&client, &order, timeout).await.context("failed to carry it out")?;
    output.print(&report, || format!("{}\n", report.text)).context("failed to print the result")
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    Merge { other: String, into: String },
    Split { server: String, other: String },
    Forget { server: String },
}
