//! The tree of subcommands, and which module runs each.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    assets, completion, config, kubeconfig, lab, logs, machineconfig, pairing, servers, service, status,
    trace, version,
};

const EXAMPLES: &str = "\
Examples:
  # Become the administrator of the appliance whose console shows the code
  bloomery kubeconfig --endpoint 192.0.2.7 --code - --output kubeconfig

  # How is it?
  bloomery status --kubeconfig kubeconfig

  # Is this configuration right?
  bloomery config check bloomery.yaml

  # Try it all in virtual machines
  bloomery lab run --image out/bloomery-amd64.img";

/// Talks to a Bloomery appliance: a Sidero Metal management plane on a bootable image.
#[derive(Debug, Parser)]
#[command(name = "bloomery", version, about, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Kubeconfig(kubeconfig::Args),
    Status(status::Args),
    Trace(trace::Args),
    Servers(servers::Args),
    Service(service::Args),
    Logs(logs::Args),
    Machineconfig(machineconfig::Args),
    Pairing(pairing::Args),
    Assets(assets::Args),
    Config(config::Args),
    Lab(lab::LabArgs),
    Completion(completion::Args),
    Version(version::Args),
}

impl Cli {
    /// Runs what was asked for.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Kubeconfig(args) => kubeconfig::run(args).await?,
            Command::Status(args) => status::run(args).await?,
            Command::Trace(args) => trace::run(args).await?,
            Command::Servers(args) => servers::run(args).await?,
            Command::Service(args) => service::run(args).await?,
            Command::Logs(args) => logs::run(args).await?,
            Command::Machineconfig(args) => machineconfig::run(args).await?,
            Command::Pairing(args) => pairing::run(args).await?,
            Command::Assets(args) => assets::run(args).await?,
            Command::Config(args) => config::run(&args)?,
            Command::Lab(args) => return Box::pin(lab::run(args)).await,
            Command::Completion(args) => completion::run(&args, Self::command())?,
            Command::Version(args) => version::run(&args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of the narrowest terminal that is in use.
    const TERMINAL: usize = 80;

    #[test]
    fn the_tree_is_consistent() {
        let mut tree = Cli::command();
        tree.build();
        tree.debug_assert();
    }

    #[test]
    fn every_command_has_examples_that_no_terminal_wraps() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("bloomery "), "{name} has no example");
            for line in help.lines() {
                assert!(line.chars().count() < TERMINAL, "{name}: too long to be copied: {line}");
            }
            command.get_subcommands().filter(|inner| !inner.is_hide_set()).for_each(check);
        }
        let mut tree = Cli::command();
        tree.build();
        check(&tree);
    }

    #[test]
    fn every_argument_is_explained() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let (name, id) = (command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{name}: {id} has no help");
            }
            command.get_subcommands().filter(|inner| !inner.is_hide_set()).for_each(check);
        }
        let mut tree = Cli::command();
        tree.build();
        check(&tree);
    }
}
