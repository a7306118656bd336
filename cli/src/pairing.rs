//! `bloomery pairing`: the pairings, and the code for further administrators.

use bloomery_pairing::client::ClientError;
use bloomery_pairing::wire::{Pairing, PairingState, SHARED_ID};

use crate::connection::{Connection, ConnectionArgs, ConnectionError};
use crate::output::{self, Format, OutputError};
use crate::progress;

const EXAMPLES: &str = "\
Examples:
  # Who has access, from which workstation, until when?
  bloomery pairing list --kubeconfig kubeconfig

  # Take it away from one of them; this makes a new pairing code, too
  bloomery pairing revoke k3v9q2mt --kubeconfig kubeconfig

  # Somebody saw the code: make it worthless, get a new one
  bloomery pairing reissue --kubeconfig kubeconfig";

/// Manage who administers the appliance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Revoke(RevokeArgs),
    Reissue(ReissueArgs),
}

const LIST_EXAMPLES: &str = "\
Examples:
  bloomery pairing list --kubeconfig kubeconfig
  bloomery pairing list -o json | jq '.pairings[] | select(.state == \"active\")'";

/// List the pairings: ID, name, and until when the certificate is good
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

const REVOKE_EXAMPLES: &str = "\
Examples:
  # bloomery pairing list shows the IDs
  bloomery pairing revoke k3v9q2mt --kubeconfig kubeconfig

  # The certificate that an earlier version gave to everybody
  bloomery pairing revoke shared --kubeconfig kubeconfig

  # Without a new pairing code, since nobody saw the present one
  bloomery pairing revoke k3v9q2mt --keep-code --kubeconfig kubeconfig";

/// End a pairing: its certificate is refused on both ports, and cannot be renewed
///
/// Makes a new pairing code as well: whoever knew the former one could pair again.
#[derive(Debug, clap::Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeArgs {
    /// Its ID, as `bloomery pairing list` shows it; `shared` for what an earlier version handed out
    id: String,
    /// Leave the pairing code as it is
    #[arg(long)]
    keep_code: bool,
    /// Do it even if it is your own, which ends your access
    #[arg(long)]
    own: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    /// How to print the outcome
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

const REISSUE_EXAMPLES: &str = "\
Examples:
  bloomery pairing reissue --kubeconfig kubeconfig";

/// Replace the pairing code; the former one stops working, certificates handed out before keep working
#[derive(Debug, clap::Args)]
#[command(after_help = REISSUE_EXAMPLES)]
struct ReissueArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// How to print the new code
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) async fn run(args: Args) -> Result<(), PairingError> {
    match args.command {
        Command::List(args) => list(args).await,
        Command::Revoke(args) => revoke(args).await,
        Command::Reissue(args) => reissue(args).await,
    }
}

fn connect(args: ConnectionArgs) -> Result<Connection, PairingError> {
    args.resolve().map_err(|source| PairingError::Connection { source })
}

async fn list(args: ListArgs) -> Result<(), PairingError> {
    let connection = connect(args.connection)?;
    let client = connection.appliance().map_err(|source| PairingError::Connection { source })?;
    let doing = format!("asking {} for the pairings", connection.endpoint());
    let answer = progress::during(&doing, client.pairings())
        .await
        .map_err(|source| PairingError::List { source: Box::new(source) })?;
    match args.output {
        Format::Text => output::text(&table(&answer.pairings)),
        Format::Json => output::json(&answer),
    }
    .map_err(|source| PairingError::Output { source })
}

fn table(pairings: &[Pairing]) -> String {
    let heading = ["ID", "NAME", "STATE", "PAIRED", "EXPIRES", "FROM"].map(str::to_owned);
    let rows = pairings.iter().map(|pairing| {
        let state = match pairing.state {
            PairingState::Active => "active",
            PairingState::Expired => "expired",
            PairingState::Revoked => "revoked",
        };
        let own = if pairing.own { " (you)" } else { "" };
        let dash = || "-".to_owned();
        [
            pairing.id.clone(),
            format!("{}{own}", pairing.name),
            state.to_owned(),
            pairing.paired.clone().unwrap_or_else(dash),
            pairing.expires.clone(),
            if pairing.address.is_empty() { dash() } else { pairing.address.clone() },
        ]
    });
    output::table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
}

async fn revoke(args: RevokeArgs) -> Result<(), PairingError> {
    let RevokeArgs { id, keep_code, own, connection, output } = args;
    let id = id.to_ascii_lowercase();
    let is_id = id.parse::<bloomery_pairing::PairingId>().is_ok();
    if id != SHARED_ID && !is_id {
        return Err(PairingError::Id { id });
    }
    let connection = connect(connection)?;
    let client = connection.appliance().map_err(|source| PairingError::Connection { source })?;
    let failed = |source| PairingError::Revoke { id: id.clone(), source: Box::new(source) };
    if !own && connection.pairing().is_some_and(|own| own.as_str() == id) {
        return Err(PairingError::Own { id });
    }
    let doing = format!("revoking {id} on {}", connection.endpoint());
    let answer = progress::during(&doing, client.revoke(&id, keep_code)).await.map_err(failed)?;
    match output {
        Format::Text => {
            let code = match (&answer.code, keep_code) {
                (Some(code), _) => format!("Pairing code: {code}\n"),
                (None, false) => "The appliance's console shows the new pairing code.\n".to_owned(),
                (None, true) => String::new(),
            };
            output::text(&format!("Revoked: {} {}\n{code}", answer.revoked.id, answer.revoked.name))
        }
        Format::Json => output::json(&answer),
    }
    .map_err(|source| PairingError::Output { source })
}

async fn reissue(args: ReissueArgs) -> Result<(), PairingError> {
    let connection = connect(args.connection)?;
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

/// Why the pairings are as they were, or are not shown.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The kubeconfig does not lead to an appliance.
    #[error("failed to find the appliance")]
    Connection { source: ConnectionError },
    #[error("failed to list the pairings")]
    List { source: Box<ClientError> },
    #[error("failed to revoke {id:?}: it is no ID of a pairing; `bloomery pairing list` shows the IDs")]
    Id { id: String },
    /// The caller would lock itself out.
    #[error(
        "failed to revoke {id}: it is the pairing of this kubeconfig, whose access would end; add --own if you mean it"
    )]
    Own { id: String },
    #[error("failed to revoke {id} (`bloomery pairing list` shows what there is)")]
    Revoke { id: String, source: Box<ClientError> },
    #[error("failed to re-issue the pairing code")]
    Reissue { source: Box<ClientError> },
    /// It is done but could not be printed.
    #[error("failed to print the outcome (it is in force; the appliance's console shows the present code)")]
    Output { source: OutputError },
}
