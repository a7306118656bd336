//! `bloomery completion`.

use clap_complete::Shell;

use crate::output;

const EXAMPLES: &str = "\
Examples:
  # For this shell
  source <(bloomery completion bash)

  # For good
  bloomery completion fish > ~/.config/fish/completions/bloomery.fish";

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// `program` is the whole command line.
pub(crate) fn run(args: &Args, mut program: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "bloomery", &mut script);
    output::text(&String::from_utf8_lossy(&script))
}
