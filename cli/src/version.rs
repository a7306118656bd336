//! `bloomery version`.

use serde::Serialize;

use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  bloomery version
  bloomery version -o json";

/// Print the version of this program
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    args.output.print(&Version { version }, || format!("bloomery {version}\n"))
}
