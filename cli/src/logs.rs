//! `bloomery logs`: what a machine's kernel or a service of the appliance wrote, and what it writes.

use std::time::Duration;

use anyhow::Context as _;
use anyhow::ensure;
use bloomery_pairing::client::{AdminClient, ClientError};
use bloomery_pairing::wire::{LogPiece, LogQuery, MAX_LOG_LINES};

use crate::connection::ConnectionArgs;
use crate::service::check_name;
use crate::{output, progress};

const EXAMPLES: &str = "\
Examples:
  # What the kernel of a machine says, and what it says from now on
  bloomery logs 4c4c4544-0042-3510-8052-b4c04f564433 -f --kubeconfig kubeconfig

  bloomery logs --service controllers --kubeconfig kubeconfig

  # Go on with what it writes from now on
  bloomery logs --service bootsvc -f --tail 20 --kubeconfig kubeconfig

  # What administrators did on the appliance
  bloomery logs --service appliance-audit --kubeconfig kubeconfig";

/// Between requests that found nothing: an appliance that has no room for one that waits answers at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Show the kernel log of a machine, or the log of a service of the appliance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Begin with so many of the last lines
    #[arg(long, value_name = "LINES", default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_LOG_LINES)))]
    tail: u32,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Whose log.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The machine: the name of its Server, as `kubectl get servers` shows it
    #[arg(value_name = "SERVER")]
    server: Option<String>,
    /// The service, as `bloomery service list` shows it; `appliance-audit` for what administrators did
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

impl Which {
    /// The name, in the form that the appliance knows.
    fn name(&self) -> anyhow::Result<String> {
        let name = self.server.as_ref().or(self.service.as_ref()).cloned().unwrap_or_default();
        if self.server.is_some() {
            return server_name(&name);
        }
        check_name(&name)?;
        Ok(name)
    }

    async fn read(
        &self,
        client: &AdminClient,
        name: &str,
        query: &LogQuery,
    ) -> Result<LogPiece, ClientError> {
        if self.server.is_some() {
            client.machine_log(name, query).await
        } else {
            client.log(name, query).await
        }
    }
}

/// Servers are named by UUIDs in lower case.
fn server_name(name: &str) -> anyhow::Result<String> {
    let name = name.to_lowercase();
    let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    ensure!(
        !name.is_empty() && name.bytes().all(is_plain),
        "failed to find the server {name:?}: names are UUIDs; `kubectl get servers` shows them"
    );
    Ok(name)
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { which, follow, tail, connection } = args;
    let name = which.name()?;
    let (client, connection) = connection.appliance()?;
    let failed = || format!("failed to read the log of {name}");
    let doing = format!("asking {} for the log of {name}", connection.endpoint());
    let first = LogQuery { lines: tail, after: None, wait: false };
    let mut piece =
        progress::during(&doing, which.read(&client, &name, &first)).await.with_context(failed)?;
    if which.server.is_some() && piece.text.is_empty() && tail > 0 {
        eprintln!(
            "(nothing was received from it yet: a node sends its log once it has its end of the tunnel)"
        );
    }
    loop {
        if piece.skipped {
            eprintln!("(lines are missing here: the log was turned over)");
        }
        let printed = output::piece(&printable(&piece.text)).context("failed to print the log")?;
        // `bloomery logs -f … | head` ends with its reader.
        if !printed || !follow && !piece.more {
            return Ok(());
        }
        if piece.text.is_empty() && !piece.more {
            tokio::time::sleep(PAUSE).await;
        }
        let query = LogQuery { lines: 0, after: Some(piece.next), wait: !piece.more };
        piece = which.read(&client, &name, &query).await.with_context(failed)?;
    }
}

/// Without the control characters that a stranger may have sent to the service: they are commands to a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gives_the_terminal_no_commands() {
        assert_eq!(printable("a\tb\u{1b}[2J\r\u{9b}c\n"), "a\tb\u{fffd}[2J\u{fffd}\u{fffd}c\n");
    }
}
