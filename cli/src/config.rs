//! `bloomery config`: questions about `bloomery.yaml` that need no appliance.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use bloomery_config::{Config, Problem};
use serde::Serialize;

use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  bloomery config check bloomery.yaml
  bloomery config check -o json - < bloomery.yaml";

/// Stands for standard input.
const STDIN: &str = "-";

/// Work with bloomery.yaml, the appliance's configuration
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(CheckArgs),
}

/// Check a file as strictly as the appliance does; exits with 1 when something is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct CheckArgs {
    /// The file; - for standard input
    file: PathBuf,
    /// How to print what is wrong
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    problems: Vec<ReportedProblem<'a>>,
}

#[derive(Serialize)]
struct ReportedProblem<'a> {
    line: usize,
    column: usize,
    message: &'a str,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::Check(args) => check(args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let text = read(&args.file)?;
    let parsed = Config::parse_bytes(&text);
    let problems = parsed.as_ref().err().map(bloomery_config::ConfigError::problems).unwrap_or_default();
    let reported = problems.iter().map(|Problem { line, column, message }| ReportedProblem {
        line: *line,
        column: *column,
        message,
    });
    let report = Report { valid: problems.is_empty(), problems: reported.collect() };
    args.output.print(&report, || describe(&args.file, problems)).context("failed to print the result")?;
    match problems.len() {
        0 => Ok(()),
        1 => bail!("failed to validate the configuration: 1 problem"),
        count => bail!("failed to validate the configuration: {count} problems"),
    }
}

/// One line per problem, as editors and people can jump to.
fn describe(file: &Path, problems: &[Problem]) -> String {
    let file = file.display();
    if problems.is_empty() {
        return format!("{file}: valid\n");
    }
    let mut text = String::new();
    for Problem { line, column, message } in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{file}:{line}:{column}: {message}");
    }
    text
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let text = if file.as_os_str() == STDIN {
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text).map(|_| text)
    } else {
        fs::read(file)
    };
    text.with_context(|| format!("failed to read {}", file.display()))
}
