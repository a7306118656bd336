//! `bloomery pairing`: the pairing code from the admin's side.

use bloomery_pairing::client::ClientError;

use crate::connection::{ConnectionArgs, ConnectionError};
use crate::output::{self, Format, OutputError};
use crate::progress;

const EXAMPLES: &str = "\
Examples:
  # Somebody saw the code: make it worthless, get a new one
  bloomery pairing reissue --kubeconfig kubeconfig";

/// Manage the code that others become administrators with
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Reissue(ReissueArgs),
}

/// Replace the pairing code; the former one stops working, identities handed out before keep working
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct ReissueArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// How to print the new code
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) async fn run(args: Args) -> Result<(), PairingError> {
    match args.command {
        Command::Reissue(args) => reissue(args).await,
    }
}

async fn reissue(args: ReissueArgs) -> Result<(), PairingError> {
    let connection = args.connection.resolve().map_err(|source| PairingError::Connection { source })?;
    let client = connection.appliance().map_err(|source| PairingError::Connection { source })?;
    let doing = format!("asking {} for a new pairing code", connection.endpoint());
    let answer = progress::during(&doing, client.reissue())
        .await
        .map_err(|source| PairingError::Reissue { source: Box::new(source) })?;
    match args.output {
        Format::Text => output::text(&format!("Pairing code: {}\n", answer.code)),
        Format::Json => output::json(&answer),
    }
    .map_err(|source| PairingError::Output { source })
}

/// Why there is no new code.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The kubeconfig does not lead to an appliance.
    #[error("failed to find the appliance")]
    Connection {
        /// Why.
        source: ConnectionError,
    },
    /// The appliance did not do it.
    #[error("failed to re-issue the pairing code")]
    Reissue {
        /// Why.
        source: Box<ClientError>,
    },
    /// The new code is in force but could not be printed.
    #[error("failed to print the new code (it is in force; the appliance's console shows it)")]
    Output {
        /// Why.
        source: OutputError,
    },
}
