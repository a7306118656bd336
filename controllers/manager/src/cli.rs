//! The command line of `controllers`.
//!
//! It reads one file, that of `--options`, and only says what was asked for.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bloomery_config::OptionSource;
use clap::{Args, Parser, Subcommand};

/// Webhooks, by the port table in DESIGN.md.
const WEBHOOK_PORT: &str = "9445";
/// Health and metrics, by the port table in DESIGN.md.
const HEALTH_ADDR: &str = "127.0.0.1:9441";
/// Environment assets, which the boot services serve.
const ENVIRONMENT_DIR: &str = "/var/lib/bloomery/env";
/// Files that Environments may name by `file:` URLs.
const ASSETS_DIR: &str = "/var/lib/bloomery/assets";
/// Who this plane is.
const PLANE_DIR: &str = "/var/lib/bloomery/plane";
/// Talos's library, as the image has it.
const TALOSCONFIG: &str = "/usr/bin/talosconfig";
/// How long `apply` tries in all: an API server under emulation needs half a minute to come up.
const APPLY_TIMEOUT_SECONDS: &str = "300";

/// Controllers for Sidero's machine kinds.
#[derive(Debug, Parser)]
#[command(name = "controllers", version, about)]
pub struct Cli {
    /// What to log, as a filter such as `info` or `bloomery_controllers=debug,info`. The client's own lines repeat each failure
    /// that we report.
    #[arg(long, env = "CONTROLLERS_LOG", default_value = "info,kube_client=off", global = true)]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Apply manifests to the API server once: CRDs first, then the rest.
    Apply(ApplyOptions),
    /// Run the controllers and their webhooks until SIGTERM.
    Run(Box<RunOptions>),
    /// Start Talos's library for the controllers, which may start nothing themselves.
    #[command(hide = true)]
    TalosconfigLauncher {
        /// The program.
        program: PathBuf,
    },
}

/// Options of `apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyOptions {
    /// Kubeconfig of an identity that may apply everything.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Directory of *.yaml files, applied in name order.
    #[arg(long, value_name = "DIR")]
    pub manifests: PathBuf,
    /// PEM file of the CA; its base64 takes the place of ${CA_BUNDLE} in the manifests.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// Name of the key that the API server encrypts Secrets with: those stored before it are written again, once.
    #[arg(long, value_name = "NAME")]
    pub encryption_key: Option<String>,
    /// Seconds after which to give up.
    #[arg(long, value_name = "SECONDS", default_value = APPLY_TIMEOUT_SECONDS, value_parser = seconds)]
    pub timeout: Duration,
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Kubeconfig of the controllers' identity; without it, the service account of the pod.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Port of the webhooks.
    #[arg(long, value_name = "PORT", default_value = WEBHOOK_PORT)]
    pub webhook_port: u16,
    /// Address the webhooks listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub webhook_bind: IpAddr,
    /// Directory with `tls.crt` and `tls.key` of the webhooks; read again when they change.
    #[arg(long, value_name = "DIR")]
    pub webhook_cert_dir: PathBuf,
    /// Address of health checks and metrics.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = HEALTH_ADDR)]
    pub health_addr: SocketAddr,
    /// Directory of Environment assets, `<name>/vmlinuz` and `<name>/initramfs.xz`.
    #[arg(long, value_name = "DIR", default_value = ENVIRONMENT_DIR)]
    pub env_dir: PathBuf,
    /// The one directory from which Environments may take files by `file:` URLs.
    #[arg(long, value_name = "DIR", default_value = ASSETS_DIR)]
    pub assets_dir: PathBuf,
    /// PEM file of CA certificates that downloads trust besides the public ones; it may be absent.
    #[arg(long, value_name = "FILE")]
    pub extra_ca_file: Option<PathBuf>,
    /// Directory of the plane's own identity.
    #[arg(long, value_name = "DIR", default_value = PLANE_DIR)]
    pub plane_dir: PathBuf,
    /// Program with Talos's library, which makes machine configurations.
    #[arg(long, value_name = "FILE", default_value = TALOSCONFIG)]
    pub talosconfig: PathBuf,
    /// Answer webhooks and do nothing else: another process has the controllers.
    #[arg(long)]
    pub webhooks_only: bool,
    /// Give up all files and system calls that the controllers do not need.
    #[arg(long)]
    pub confine: bool,
    /// Sidero's options and ours.
    #[command(flatten)]
    pub options: OptionSource,
}

/// Whole seconds, at least one.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        Ok(_) => Err("must be at least 1".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_config::ServiceOptions;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_needs_only_a_kubeconfig_and_certificates() {
        let cli = Cli::try_parse_from(["controllers", "run", "--kubeconfig", "k", "--webhook-cert-dir", "d"]);
        let Command::Run(options) = cli.unwrap().command else { panic!("not run") };
        assert_eq!(options.webhook_port, 9445);
        assert_eq!(options.health_addr.to_string(), "127.0.0.1:9441");
        assert!(options.webhook_bind.is_loopback());
        assert_eq!(options.assets_dir.to_str(), Some("/var/lib/bloomery/assets"));
        assert_eq!(options.plane_dir.to_str(), Some("/var/lib/bloomery/plane"));
        assert_eq!(*options.options.get(), ServiceOptions::default());
    }

    #[test]
    fn upstreams_options_are_read_strictly() {
        let run = |flag: &str| {
            Cli::try_parse_from(["controllers", "run", "--kubeconfig", "k", "--webhook-cert-dir", "d", flag])
        };
        for good in [
            "--server-reboot-timeout=1h30m",
            "--ipmi-pxe-method=bios",
            "--auto-accept-non-empty=true",
            "--auto-accept-non-empty",
            "--test-power-simulated-explicit-failure-prob=0.1",
            "--test-power-simulated-silent-failure-prob=1",
        ] {
            assert!(run(good).is_ok(), "{good}");
        }
        for bad in [
            "--server-reboot-timeout=20",
            "--ipmi-pxe-method=pxe",
            "--test-power-simulated-explicit-failure-prob=1.1",
            "--test-power-simulated-silent-failure-prob=NaN",
        ] {
            assert!(run(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zero_timeout_is_refused() {
        let arguments =
            ["controllers", "apply", "--kubeconfig", "k", "--manifests", "m", "--ca", "c", "--timeout", "0"];
        assert!(Cli::try_parse_from(arguments).is_err());
    }
}
