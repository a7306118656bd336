//! `bloomery kubeconfig`: trades the pairing code on the appliance's console for a kubeconfig.
//!
//! It must never harm a kubeconfig that is there: what it does not have to change stays.

mod file;
mod merge;

use std::io::{self, Read as _};
use std::path::PathBuf;

use bloomery_pairing::client::{self, ClientError, Endpoint, Kubeconfig, RenderError};
use bloomery_pairing::{Code, CodeError};
use zeroize::Zeroizing;

use crate::output::{self, OutputError};
use crate::progress;

pub use file::FileError;
pub use merge::MergeError;

const EXAMPLES: &str = "\
Examples:
  # The appliance's console shows address and code
  bloomery kubeconfig --endpoint 192.0.2.7 --output kubeconfig \\
    --code XXXXX-XXXXX-XXXXX-XXXXX-XXXXX-XXXXX

  # Add it to the contexts that kubectl knows
  bloomery kubeconfig --endpoint 192.0.2.7 --name forge \\
    --output ~/.kube/config --code XXXXX-XXXXX-XXXXX-XXXXX-XXXXX-XXXXX

  # Keep the code out of the process list and the shell's history
  bloomery kubeconfig --endpoint 192.0.2.7 --code -";

/// Stands for standard input.
const STDIN: &str = "-";
/// A code has 35 characters.
const MAX_CODE_BYTES: u64 = 1024;

/// Get an admin kubeconfig with the pairing code that the appliance's console shows
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the appliance is; the port is 8443 unless given
    #[arg(long, value_name = "HOST[:PORT]")]
    endpoint: Endpoint,
    /// The pairing code; - reads it from standard input
    #[arg(long)]
    code: String,
    /// Write to this file (mode 0600), keeping what else is in it; standard output if not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Port of the Kubernetes API, if it is reached by another one than the appliance's own
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    api_port: Option<u16>,
    /// Name of cluster, user and context
    #[arg(long, default_value = "bloomery")]
    name: String,
}

pub(crate) async fn run(args: Args) -> Result<(), KubeconfigError> {
    let Args { endpoint, code, output, api_port, name } = args;
    let code = read_code(code)?;
    let identity = progress::during(&format!("pairing with {endpoint}"), client::pair(&endpoint, &code))
        .await
        .map_err(|source| KubeconfigError::Pair { source: Box::new(source) })?;
    let yaml = Kubeconfig::new(&name, &endpoint, &identity, api_port)
        .to_yaml()
        .map(Zeroizing::new)
        .map_err(|source| KubeconfigError::Render { source })?;
    let Some(path) = output else {
        return output::text(&yaml).map_err(|source| KubeconfigError::Output { source });
    };
    let written = file::write(&path, &name, &yaml).map_err(|source| KubeconfigError::File { source })?;
    eprintln!("{} context {name:?} in {}; current context: {name:?}", written.verb(), path.display());
    Ok(())
}

fn read_code(code: String) -> Result<Code, KubeconfigError> {
    let text = if code == STDIN {
        let mut text = Zeroizing::new(String::new());
        io::stdin()
            .lock()
            .take(MAX_CODE_BYTES)
            .read_to_string(&mut text)
            .map_err(|source| KubeconfigError::Stdin { source })?;
        text
    } else {
        Zeroizing::new(code)
    };
    text.parse().map_err(|source| KubeconfigError::Code { source })
}

/// Why there is no kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// Standard input cannot be read.
    #[error("failed to read the pairing code from standard input")]
    Stdin {
        /// Why.
        source: io::Error,
    },
    /// The code was mistyped; nothing was sent.
    #[error("failed to use the pairing code")]
    Code {
        /// Why.
        source: CodeError,
    },
    /// The appliance was not reached, not recognized, or refused.
    #[error("failed to get the admin identity")]
    Pair {
        /// Why.
        source: Box<ClientError>,
    },
    /// It cannot be written as YAML.
    #[error("failed to make the kubeconfig")]
    Render {
        /// Why.
        source: RenderError,
    },
    /// The file cannot be written, or should not be.
    #[error("failed to save the kubeconfig")]
    File {
        /// Why.
        source: FileError,
    },
    /// It cannot be printed.
    #[error("failed to print the kubeconfig")]
    Output {
        /// Why.
        source: OutputError,
    },
}
