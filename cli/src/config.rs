//! `bloomery config`: questions about `bloomery.yaml` that need no appliance.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bloomery_config::{Config, Problem};
use serde::Serialize;

use crate::output::{self, Format, OutputError};

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

pub(crate) fn run(args: &Args) -> Result<(), ConfigError> {
    match &args.command {
        Command::Check(args) => check(args),
    }
}

fn check(args: &CheckArgs) -> Result<(), ConfigError> {
    let text = read(&args.file)?;
    let parsed = Config::parse_bytes(&text);
    let problems = parsed.as_ref().err().map(bloomery_config::ConfigError::problems).unwrap_or_default();
    match args.output {
        Format::Text => output::text(&describe(&args.file, problems)),
        Format::Json => output::json(&Report {
            valid: problems.is_empty(),
            problems: problems
                .iter()
                .map(|Problem { line, column, message }| ReportedProblem {
                    line: *line,
                    column: *column,
                    message,
                })
                .collect(),
        }),
    }
    .map_err(|source| ConfigError::Output { source })?;
    match problems.len() {
        0 => Ok(()),
        count => Err(ConfigError::Invalid { count }),
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

fn read(file: &Path) -> Result<Vec<u8>, ConfigError> {
    let read = |source| ConfigError::Read { file: file.to_owned(), source };
    if file.as_os_str() == STDIN {
        let mut text = Vec::new();
        io::stdin().lock().read_to_end(&mut text).map_err(read)?;
        return Ok(text);
    }
    fs::read(file).map_err(read)
}

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// The file is not valid; what is wrong has been printed.
    #[error("failed to validate the configuration: {count} {}", if *count == 1 { "problem" } else { "problems" })]
    Invalid {
        /// How many problems.
        count: usize,
    },
    /// The result cannot be printed.
    #[error("failed to print the result")]
    Output { source: OutputError },
}
