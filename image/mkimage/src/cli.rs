//! The command line. It is the only part that may read the environment or ask git for the time.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::advisories;
use crate::apt::Mirrors;
use crate::build::{self, Until};
use crate::clusterctl;
use crate::packages::Policy;
use crate::reproducible;
use crate::settings::Settings;
use crate::tool;

/// Seconds of a day: builds of one day share their time, so that a commit alone rebuilds nothing.
const DAY: u32 = 24 * 60 * 60;
/// Time of builds outside git: a tarball has no commit to ask. 2026-11-01, the oldest date that PID 1 believes.
const EPOCH_WITHOUT_GIT: u32 = 1_793_491_200;
/// Conventional variable for the time of a build (reproducible-builds.org).
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Builds the appliance's disk image; needs neither root nor mounts.
#[derive(Debug, Parser)]
#[command(name = "mkimage", version)]
pub struct Cli {
    #[command(flatten)]
    paths: Paths,
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Args)]
struct Paths {
    /// Repository to build from
    #[arg(long, global = true, default_value = ".")]
    source: PathBuf,
    /// Directory of the results [default: SOURCE/out]
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// Directory of the static Rust programs [default: SOURCE/target/x86_64-unknown-linux-gnu/release]
    #[arg(long, global = true)]
    programs: Option<PathBuf>,
    /// The Go program [default: OUT/controlplane]
    #[arg(long, global = true)]
    controlplane: Option<PathBuf>,
    /// Cluster API's manifest [default: OUT/cluster-api.yaml]
    #[arg(long, global = true)]
    cluster_api: Option<PathBuf>,
    /// zstd level of the root image; 3 is quick and 15 % larger
    #[arg(long, global = true, default_value_t = 19, value_parser = clap::value_parser!(u32).range(1..=22))]
    squashfs_level: u32,
    /// Stop when a package of components.lock cannot be had any more, in place of taking the current one
    #[arg(long, global = true, env = "BLOOMERY_LOCKED", value_parser = clap::builder::FalseyValueParser::new())]
    locked: bool,
    /// Debian mirror [default: the machine's own]
    #[arg(long, global = true, value_name = "URI", env = "BLOOMERY_MIRROR")]
    mirror: Option<String>,
    /// Mirror of Debian's security updates [default: the machine's own]
    #[arg(long, global = true, value_name = "URI", env = "BLOOMERY_SECURITY_MIRROR")]
    security_mirror: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build what is out of date
    Build {
        /// Last stage to run
        #[arg(long, value_enum, default_value = "disk")]
        until: Until,
    },
    /// Fetch and unpack the Debian packages only
    Packages {
        /// Take the suites' current versions and record them
        #[arg(long)]
        update: bool,
    },
    /// Check crates, Go modules and Go itself against the pinned lists of security advisories
    Advisories {
        /// What `go env GOVERSION` says
        #[arg(long, value_name = "VERSION")]
        go_version: Option<String>,
    },
    /// Write OUT/clusterctl, a local repository for clusterctl
    Clusterctl,
    /// Build twice and compare every bit
    VerifyReproducible,
}

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> Result<()> {
        let locked = if self.paths.locked { Policy::LockedOnly } else { Policy::Locked };
        let settings = self.paths.settings()?;
        match self.command {
            Task::Build { until } => {
                let packages = build::packages(&settings, locked)?;
                build::run(&settings, &packages, until)
            }
            Task::Packages { update } => {
                let policy = if update { Policy::Update } else { locked };
                build::packages(&settings, policy).map(drop)
            }
            Task::Advisories { go_version } => {
                let today = time::OffsetDateTime::now_utc().date();
                advisories::check(&settings.source, go_version.as_deref(), today)
            }
            Task::Clusterctl => clusterctl::write(&settings),
            Task::VerifyReproducible => {
                let packages = build::packages(&settings, locked)?;
                reproducible::verify(&settings, &packages)
            }
        }
    }
}

impl Paths {
    fn settings(self) -> Result<Settings> {
        let source = std::path::absolute(&self.source).context("failed to find the repository")?;
        let or = |given: Option<PathBuf>, default: PathBuf| -> Result<PathBuf> {
            match given {
                Some(path) => std::path::absolute(&path).context("failed to find a given path"),
                None => Ok(default),
            }
        };
        let out = or(self.out, source.join("out"))?;
        Ok(Settings {
            programs: or(self.programs, source.join("target/x86_64-unknown-linux-gnu/release"))?,
            controlplane: or(self.controlplane, out.join("controlplane"))?,
            cluster_api: or(self.cluster_api, out.join("cluster-api.yaml"))?,
            cache: out.join("cache"),
            out,
            epoch: epoch(&source)?,
            source,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            squashfs_level: self.squashfs_level,
            mirrors: Mirrors { main: self.mirror, security: self.security_mirror },
        })
    }
}

/// The time of the build: `SOURCE_DATE_EPOCH`, else the day of the last commit.
fn epoch(source: &Path) -> Result<u32> {
    if let Ok(text) = env::var(SOURCE_DATE_EPOCH) {
        return text.trim().parse().with_context(|| format!("{SOURCE_DATE_EPOCH} is not a time: {text:?}"));
    }
    if !source.join(".git").exists() {
        return Ok(EPOCH_WITHOUT_GIT);
    }
    let mut command = Command::new(tool::GIT.path()?);
    command.arg("-C").arg(source).args(["log", "-1", "--format=%ct"]);
    let text = tool::output("git log", command).context("failed to find the time of the last commit")?;
    day_of(text.trim())
}

fn day_of(text: &str) -> Result<u32> {
    let Ok(seconds) = text.parse::<u32>() else { bail!("git said {text:?}, which is not a time") };
    Ok(seconds - seconds % DAY)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commits_of_one_day_share_their_time() {
        assert_eq!(day_of("1795400000").unwrap(), day_of("1795410000").unwrap());
        assert_eq!(day_of("1795400000").unwrap() % DAY, 0);
        assert!(day_of("yesterday").is_err());
    }
}
