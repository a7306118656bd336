//! `bloomery logs`: what a service of the appliance wrote, and what it writes.

use std::time::Duration;

use anyhow::Context as _;
use bloomery_pairing::wire::{LogQuery, MAX_LOG_LINES};

use crate::connection::ConnectionArgs;
use crate::service::check_name;
use crate::{output, progress};

const EXAMPLES: &str = "\
Examples:
  bloomery logs --service controllers --kubeconfig kubeconfig

  # Go on with what it writes from now on
  bloomery logs --service bootsvc -f --tail 20 --kubeconfig kubeconfig

  # What administrators did on the appliance
  bloomery logs --service appliance-audit --kubeconfig kubeconfig";

/// Between requests that found nothing: an appliance that has no room for one that waits answers at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Show the log of a service of the appliance
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The service, as `bloomery service list` shows it; `appliance-audit` for what administrators did
    #[arg(long, value_name = "NAME")]
    service: String,
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

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { service, follow, tail, connection } = args;
    check_name(&service)?;
    let (client, connection) = connection.appliance()?;
    let failed = || format!("failed to read the log of {service}");
    let doing = format!("asking {} for the log of {service}", connection.endpoint());
    let first = LogQuery { lines: tail, after: None, wait: false };
    let mut piece = progress::during(&doing, client.log(&service, &first)).await.with_context(failed)?;
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
        piece = client.log(&service, &query).await.with_context(failed)?;
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
