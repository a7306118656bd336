//! `bloomery service`: the appliance's services, and commands for one of them.

use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use bloomery_pairing::wire::ServiceCommand;
use serde_json::Value;

use crate::connection::Common;
use crate::status::model;
use crate::{output, progress};

const NOT_PRINTED: &str = "failed to print the outcome (it is in force; `bloomery service list` shows it)";

const EXAMPLES: &str = "\
Examples:
  # Which services are there, and which of them may be held?
  bloomery service list --kubeconfig kubeconfig

  # Keep the controllers stopped, then let them go on
  bloomery service hold controllers --kubeconfig kubeconfig
  bloomery service start controllers --kubeconfig kubeconfig";

/// List the appliance's services, hold, start or restart one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the services with their state, and which of them may be held
    #[command(after_help = LIST_EXAMPLES)]
    List(Common),
    /// End a service and keep it so until it is started, or the appliance is restarted
    ///
    /// Services that depend on it go on. Machines go on with what they were told before.
    #[command(after_help = HOLD_EXAMPLES)]
    Hold(Target),
    /// Start a service that is held, or that waits after a crash
    #[command(after_help = START_EXAMPLES)]
    Start(Target),
    /// End a service and start it again
    #[command(after_help = RESTART_EXAMPLES)]
    Restart(Target),
}

// No doc comment: it would be the commands' help.
#[derive(Debug, clap::Args)]
struct Target {
    /// The service, as `bloomery service list` shows it
    #[arg(value_name = "NAME")]
    service: String,
    #[command(flatten)]
    common: Common,
}

const LIST_EXAMPLES: &str = "\
Examples:
  bloomery service list --kubeconfig kubeconfig
  bloomery service list -o json | jq '.[] | select(.state == \"held\")'";

const HOLD_EXAMPLES: &str = "\
Examples:
  # No power commands and no new wipes for a while
  bloomery service hold controllers --kubeconfig kubeconfig";

const START_EXAMPLES: &str = "\
Examples:
  bloomery service start controllers --kubeconfig kubeconfig";

const RESTART_EXAMPLES: &str = "\
Examples:
  bloomery service restart etcd --kubeconfig kubeconfig";

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(common) => list(common).await,
        Command::Hold(target) => tell(target, ServiceCommand::Hold).await,
        Command::Start(target) => tell(target, ServiceCommand::Start).await,
        Command::Restart(target) => tell(target, ServiceCommand::Restart).await,
    }
}

async fn list(Common { connection, output }: Common) -> anyhow::Result<()> {
    let (client, connection) = connection.appliance()?;
    let doing = format!("asking {} for the services", connection.endpoint());
    let status: Value =
        progress::during(&doing, client.status()).await.context("failed to list the services")?;
    let text = || {
        let status: model::Status = serde_json::from_value(status.clone()).unwrap_or_default();
        table(&status.services, SystemTime::now())
    };
    output.print(&status["services"], text).context(NOT_PRINTED)
}

fn table(services: &[model::Service], now: SystemTime) -> String {
    let mut rows = vec![["SERVICE", "STATE", "SINCE", "RESTARTS", "MAY BE HELD"].map(str::to_owned)];
    rows.extend(services.iter().map(|service| {
        let model::Service { name, state, since, restarts, last_exit: _, hold_refused } = service;
        let hold = hold_refused.as_ref().map_or_else(|| "yes".to_owned(), |reason| format!("no: {reason}"));
        [name.clone(), state.clone(), output::age_since(since, now), restarts.to_string(), hold]
    }));
    output::table(&rows)
}

async fn tell(target: Target, command: ServiceCommand) -> anyhow::Result<()> {
    let Target { service, common: Common { connection, output } } = target;
    check_name(&service)?;
    let (client, connection) = connection.appliance()?;
    let order = format!("{} {service}", command.as_str());
    let doing = format!("telling {} to {order}", connection.endpoint());
    let answer = progress::during(&doing, client.tell_service(&service, command))
        .await
        .with_context(|| format!("failed to {order}"))?;
    output.print(&answer, || said(command, &answer.service, &answer.state)).context(NOT_PRINTED)
}

fn said(command: ServiceCommand, service: &str, state: &str) -> String {
    let hint = match command {
        ServiceCommand::Hold => {
            format!("; `bloomery service start {service}` ends that, and so does a restart of the appliance")
        }
        ServiceCommand::Start | ServiceCommand::Restart => {
            "; `bloomery service list` shows when it is running".to_owned()
        }
    };
    format!("{service}: {state}{hint}\n")
}

/// Refuses what cannot be a service's name, and so a part of a path.
pub(crate) fn check_name(service: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(
        !service.is_empty() && service.bytes().all(plain),
        "failed to find the service {service:?}: names have lower case letters, digits and dashes; \
         `bloomery service list` shows them"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_what_is_held_and_what_cannot_be() {
        let services: Vec<model::Service> = serde_json::from_value(json!([
            {"name": "etcd", "state": "running", "since": "2026-11-23T00:47:30Z", "restarts": 0,
             "holdRefused": "it is needed"},
            {"name": "controllers", "state": "held", "since": "2026-11-23T01:59:00Z", "restarts": 2},
        ]))
        .unwrap();
        let now = humantime::parse_rfc3339("2026-11-23T02:00:00Z").unwrap();
        let expected = "\
SERVICE      STATE    SINCE   RESTARTS  MAY BE HELD
etcd         running  1h 12m  0         no: it is needed
controllers  held     1m      2         yes
";
        assert_eq!(table(&services, now), expected);
    }

    #[test]
    fn names_are_parts_of_paths() {
        check_name("kube-apiserver").unwrap();
        for bad in ["", "a/b", "..", "A", "a b", "a?b", "é"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
