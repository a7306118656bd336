//! `bloomery pairing`: the pairings, and the code for further administrators.

use anyhow::{Context as _, bail};
use bloomery_pairing::wire::{Pairing, PairingState, SHARED_ID};

use crate::connection::Common;
use crate::{output, progress};

const NOT_PRINTED: &str =
    "failed to print the outcome (it is in force; the appliance's console shows the present code)";

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
    /// List the pairings: ID, name, and until when the certificate is good
    #[command(after_help = LIST_EXAMPLES)]
    List(Common),
    Revoke(RevokeArgs),
    /// Replace the pairing code; the former one stops working, certificates handed out before keep working
    #[command(after_help = REISSUE_EXAMPLES)]
    Reissue(Common),
}

const LIST_EXAMPLES: &str = "\
Examples:
  bloomery pairing list --kubeconfig kubeconfig
  bloomery pairing list -o json | jq '.pairings[] | select(.state == \"active\")'";

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
    common: Common,
}

const REISSUE_EXAMPLES: &str = "\
Examples:
  bloomery pairing reissue --kubeconfig kubeconfig";

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(common) => list(common).await,
        Command::Revoke(args) => revoke(args).await,
        Command::Reissue(common) => reissue(common).await,
    }
}

async fn list(Common { connection, output }: Common) -> anyhow::Result<()> {
    let (client, connection) = connection.appliance()?;
    let doing = format!("asking {} for the pairings", connection.endpoint());
    let answer = progress::during(&doing, client.pairings()).await.context("failed to list the pairings")?;
    output.print(&answer, || table(&answer.pairings)).context(NOT_PRINTED)
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

async fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    let RevokeArgs { id, keep_code, own, common: Common { connection, output } } = args;
    let id = id.to_ascii_lowercase();
    let is_id = id.parse::<bloomery_pairing::PairingId>().is_ok();
    if id != SHARED_ID && !is_id {
        bail!("failed to revoke {id:?}: it is no ID of a pairing; `bloomery pairing list` shows the IDs");
    }
    let (client, connection) = connection.appliance()?;
    if !own && connection.pairing().is_some_and(|own| own.as_str() == id) {
        bail!(
            "failed to revoke {id}: it is the pairing of this kubeconfig, whose access would end; add --own if you \
             mean it"
        );
    }
    let doing = format!("revoking {id} on {}", connection.endpoint());
    let answer = progress::during(&doing, client.revoke(&id, keep_code))
        .await
        .with_context(|| format!("failed to revoke {id} (`bloomery pairing list` shows what there is)"))?;
    let text = || {
        let code = match (&answer.code, keep_code) {
            (Some(code), _) => format!("Pairing code: {code}\n"),
            (None, false) => "The appliance's console shows the new pairing code.\n".to_owned(),
            (None, true) => String::new(),
        };
        format!("Revoked: {} {}\n{code}", answer.revoked.id, answer.revoked.name)
    };
    output.print(&answer, text).context(NOT_PRINTED)
}

async fn reissue(Common { connection, output }: Common) -> anyhow::Result<()> {
    let (client, connection) = connection.appliance()?;
    let doing = format!("asking {} for a new pairing code", connection.endpoint());
    let answer =
        progress::during(&doing, client.reissue()).await.context("failed to re-issue the pairing code")?;
    output.print(&answer, || format!("Pairing code: {}\n", answer.code)).context(NOT_PRINTED)
}
