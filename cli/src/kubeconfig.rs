//! `bloomery kubeconfig`: trades the pairing code on the appliance's console for a kubeconfig, and renews it.
//!
//! It must never harm a kubeconfig that is there: what it does not have to change stays.

mod file;
mod merge;
mod renew;

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::Context as _;
use bloomery_pairing::client::{self, Endpoint, Kubeconfig};
use bloomery_pairing::wire::PairResponse;
use bloomery_pairing::{Code, Person};
use zeroize::Zeroizing;

use crate::connection::ConnectionArgs;
use crate::{output, progress};

const EXAMPLES: &str = "\
Examples:
  # The appliance's console shows address and code; type the code when asked
  bloomery kubeconfig --endpoint 192.0.2.7 --code - --output kubeconfig

  # Add it to the contexts that kubectl knows
  bloomery kubeconfig --endpoint 192.0.2.7 --name forge \\
    --output ~/.kube/config --code -

  # Scripts; the code is in the process list and the shell's history then
  bloomery kubeconfig --endpoint 192.0.2.7 --output kubeconfig \\
    --code XXXXX-XXXXX-XXXXX-XXXXX-XXXXX-XXXXX

  # The certificate holds 90 days: let it hold 90 days from now on
  bloomery kubeconfig --renew --kubeconfig kubeconfig";

/// Stands for standard input.
const STDIN: &str = "-";
/// A code has 35 characters.
const MAX_CODE_BYTES: u64 = 1024;

/// Get an admin kubeconfig with the pairing code that the appliance's console shows, or renew one
///
/// The private key is made here and never leaves this machine. The certificate holds 90 days and names you and this
/// machine; `bloomery pairing list` shows it, `bloomery pairing revoke` ends it. kubectl needs nothing but the file:
/// renewing replaces the certificate in it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Where the appliance is; the port is 8443 unless given
    #[arg(long, value_name = "HOST[:PORT]", required_unless_present = "renew")]
    endpoint: Option<Endpoint>,
    /// The pairing code; - asks for it, or reads it from standard input
    #[arg(long, required_unless_present = "renew")]
    code: Option<String>,
    /// Renew the certificate in a kubeconfig in place, with the certificate itself and without a code
    #[arg(long, conflicts_with_all = ["code", "output", "api_port", "name", "person"])]
    renew: bool,
    /// Kubeconfig to renew [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE", requires = "renew")]
    kubeconfig: Option<PathBuf>,
    /// Context in it [default: its current one]
    #[arg(long, value_name = "NAME", requires = "renew")]
    context: Option<String>,
    /// Write to this file (mode 0600), keeping what else is in it; standard output if not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Port of the Kubernetes API, if it is reached by another one than the appliance's own
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    api_port: Option<u16>,
    /// Name of cluster, user and context
    #[arg(long, default_value = "bloomery")]
    name: String,
    /// Name in the certificate [default: this user and host]
    #[arg(long = "as", value_name = "USER@HOST")]
    person: Option<Person>,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let Args { endpoint, code, renew: renews, kubeconfig, context, output, api_port, name, person } = args;
    let (endpoint, code) = match (endpoint, code) {
        (Some(endpoint), Some(code)) if !renews => (endpoint, code),
        // The command line's rules leave renewals only.
        (endpoint, _) => return renew::run(ConnectionArgs { kubeconfig, context, endpoint }).await,
    };
    let code = read_code(code)?;
    let person = person.unwrap_or_else(client::this_person);
    let doing = format!("pairing with {endpoint} (this waits until your rights are in place)");
    let identity = progress::during(&doing, client::pair_as(&endpoint, &code, &person))
        .await
        .context("failed to get the admin identity")?;
    let yaml = Kubeconfig::new(&name, &endpoint, &identity, api_port)
        .to_yaml()
        .map(Zeroizing::new)
        .context("failed to make the kubeconfig")?;
    let PairResponse { id, user, expires, .. } = &identity.response;
    eprintln!("paired as {user}, ID {id}; the certificate expires on {expires}");
    let Some(path) = output else {
        return output::text(&yaml).context("failed to print the kubeconfig");
    };
    let written = file::write(&path, &name, &yaml).context("failed to save the kubeconfig")?;
    eprintln!("{} context {name:?} in {}; current context: {name:?}", written.verb(), path.display());
    Ok(())
}

fn read_code(code: String) -> anyhow::Result<Code> {
    let text = if code == STDIN {
        if io::stdin().is_terminal() {
            eprint!("Pairing code: ");
        }
        let mut text = Zeroizing::new(String::new());
        io::stdin()
            .lock()
            .take(MAX_CODE_BYTES)
            .read_line(&mut text)
            .context("failed to read the pairing code from standard input")?;
        text
    } else {
        Zeroizing::new(code)
    };
    text.parse().context("failed to use the pairing code")
}
