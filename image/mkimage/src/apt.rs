//! A private apt: fetches packages from the suites of `components.toml` with Debian's signatures
//! checked. It must never touch the machine's own apt state, trust a key outside Debian's archive
//! keyring, or name a mirror: that comes from the machine's own sources or from the caller.

pub mod index;

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::components::Components;
use crate::lock::{Archive, Locked, Offer};
use crate::stage::{progress, sha256_file};
use crate::tool::{self, APT_GET};
use crate::tree;

/// Debian's archive keys; the second name is the one of releases after bookworm.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];
/// Suites whose name ends so lie in the archive for security updates.
const SECURITY_SUFFIX: &str = "-security";
const ARCHITECTURE: &str = "amd64";
/// Tries per file before apt gives up.
const RETRIES: &str = "Acquire::Retries=3";

/// Mirrors given by the caller instead of the machine's own.
#[derive(Debug, Clone, Default)]
pub struct Mirrors {
    /// URI of the main archive.
    pub main: Option<String>,
    /// URI of the archive for security updates.
    pub security: Option<String>,
}

/// An apt with its own state and cache below one directory. Its indices are fetched once, at the
/// first question.
#[derive(Debug)]
pub struct PrivateApt<'a> {
    root: PathBuf,
    components: &'a Components,
    mirrors: &'a Mirrors,
    indices: OnceCell<index::Indices>,
}

impl<'a> PrivateApt<'a> {
    /// All state lives below `root`, which must be absolute.
    pub fn new(root: PathBuf, components: &'a Components, mirrors: &'a Mirrors) -> Self {
        Self { root, components, mirrors, indices: OnceCell::new() }
    }

    /// Downloads one package into `dir` and returns its path, the checksum verified against the
    /// record as well as by apt.
    pub fn download(&self, locked: &Locked, dir: &Path) -> Result<PathBuf> {
        self.indices()?;
        let exact = format!("{}={}", locked.package, locked.version);
        let scratch = tempfile::tempdir_in(dir).context("failed to make a download directory")?;
        let mut command = self.command()?;
        command.current_dir(scratch.path()).args(["--quiet", "download", &exact]);
        tool::output("apt-get download", command).with_context(|| format!("failed to fetch {exact}"))?;
        let deb = fs::read_dir(scratch.path())?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get download left no file for {exact}"))?;
        let sha256 = sha256_file(&deb)?;
        if sha256 != locked.sha256 {
            bail!("package {exact} has checksum {sha256}, its index says {}", locked.sha256);
        }
        let target = dir.join(format!("{sha256}.deb"));
        fs::rename(&deb, &target).with_context(|| format!("failed to store {}", target.display()))?;
        Ok(target)
    }

    fn indices(&self) -> Result<&index::Indices> {
        if let Some(known) = self.indices.get() {
            return Ok(known);
        }
        self.update()?;
        let files = self.index_files()?;
        let indices = index::Indices::load(&files, &self.wanted())?;
        Ok(self.indices.get_or_init(|| indices))
    }

    /// Name prefixes worth keeping from the indices: those of the components, without the flavour
    /// for metapackages, whose real package has a longer name.
    fn wanted(&self) -> Vec<String> {
        let prefix = |name: &str, metapackage: bool| match name.rsplit_once('-') {
            Some((series, _)) if metapackage => series.to_owned(),
            _ => name.to_owned(),
        };
        self.components.debian.iter().map(|wanted| prefix(&wanted.package, wanted.metapackage)).collect()
    }

    fn update(&self) -> Result<()> {
        progress("packages", "asking the archive what it has");
        for dir in ["lists/partial", "archives/partial"] {
            tree::make_dir(&self.root.join(dir))?;
        }
        fs::write(self.root.join("status"), "").context("failed to write apt's status file")?;
        let machine = machine_targets()?;
        let sources = sources(self.components, self.mirrors, &machine, keyring()?)?;
        fs::write(self.sources_path(), sources).context("failed to write apt's sources")?;
        let mut command = self.command()?;
        command.args(["--quiet", "--error-on=any", "update"]);
        tool::output("apt-get update", command).context("failed to fetch the package indices")?;
        Ok(())
    }

    fn index_files(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut command = self.command()?;
        command.args(["indextargets", "--format", "$(RELEASE) $(FILENAME)", "Created-By: Packages"]);
        let text = tool::output("apt-get indextargets", command)?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(suite, file)| (suite.to_owned(), PathBuf::from(file)))
            .collect())
    }

    fn sources_path(&self) -> PathBuf {
        self.root.join("bloomery.sources")
    }

    /// apt-get with our directories in place of the machine's; its apt.conf (proxies) still counts.
    fn command(&self) -> Result<Command> {
        let mut command = APT_GET.command()?;
        let root = tool::text(&self.root)?;
        let sources = self.sources_path();
        for (name, value) in [
            ("Dir::State", root),
            ("Dir::State::lists", &format!("{root}/lists")),
            ("Dir::State::status", &format!("{root}/status")),
            ("Dir::Cache", root),
            ("Dir::Etc::sourcelist", tool::text(&sources)?),
            ("Dir::Etc::sourceparts", "/dev/null"),
            ("Dir::Etc::preferences", "/dev/null"),
            ("Dir::Etc::preferencesparts", "/dev/null"),
            ("APT::Architecture", ARCHITECTURE),
            // Files below a home directory are out of reach for apt's own sandbox user.
            ("APT::Sandbox::User", ""),
            ("Acquire::GzipIndexes", "false"),
            ("Acquire::Languages", "none"),
        ] {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        command.args(["-o", RETRIES]);
        Ok(command)
    }
}

impl Archive for PrivateApt<'_> {
    fn offers(&self, package: &str, suite: &str) -> Result<Vec<Offer>> {
        self.indices()?.offers(package, suite)
    }
}

fn keyring() -> Result<&'static Path> {
    KEYRINGS
        .iter()
        .map(Path::new)
        .find(|path| path.is_file())
        .context("Debian's archive keys are not here: apt-get install debian-archive-keyring")
}

/// One source of the machine's own apt.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    uri: String,
    suite: String,
    section: String,
}

fn machine_targets() -> Result<Vec<Target>> {
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let text = APT_GET.run(["indextargets", "--format", format, "Created-By: Packages"])?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some(Target { uri: words.next()?, suite: words.next()?, section: words.next()? })
        })
        .collect())
}

/// The mirror that serves a suite: the caller's, else where the machine gets that suite itself,
/// else where it gets its own suites of the same archive.
fn mirror(suite: &str, mirrors: &Mirrors, machine: &[Target]) -> Result<String> {
    let security = suite.ends_with(SECURITY_SUFFIX);
    let (given, flag) =
        if security { (&mirrors.security, "--security-mirror") } else { (&mirrors.main, "--mirror") };
    if let Some(uri) = given {
        return Ok(uri.clone());
    }
    let same_archive = |target: &&Target| {
        target.section == "main"
            && target.suite.ends_with(SECURITY_SUFFIX) == security
            && target.uri.trim_end_matches('/').ends_with(if security { "security" } else { "debian" })
    };
    machine
        .iter()
        .find(|target| target.suite == suite && target.section == "main")
        .or_else(|| machine.iter().find(same_archive))
        .map(|target| target.uri.clone())
        .with_context(|| {
            format!("this machine's apt sources have no Debian mirror for {suite}; name one with {flag} URI")
        })
}

/// The deb822 sources of the private apt: one stanza per suite and section.
fn sources(components: &Components, mirrors: &Mirrors, machine: &[Target], keyring: &Path) -> Result<String> {
    let pairs: BTreeSet<(&str, &str)> =
        components.debian.iter().map(|package| (package.suite.as_str(), package.section.as_str())).collect();
    let mut text = String::new();
    for (suite, section) in pairs {
        let uri = mirror(suite, mirrors, machine)?;
        write!(
            text,
            "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: {section}\nTargets: Packages\n\
             Architectures: {ARCHITECTURE}\nSigned-By: {}\n\n",
            keyring.display()
        )?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, suite: &str, section: &str) -> Target {
        Target { uri: uri.into(), suite: suite.into(), section: section.into() }
    }

    fn machine() -> Vec<Target> {
        vec![
            target("http://vendor.example/apt", "stable", "main"),
            target("http://near.example/debian/", "bookworm", "main"),
            target("http://near.example/debian-security/", "bookworm-security", "main"),
        ]
    }

    #[test]
    fn mirrors_are_the_machines_own() {
        let none = Mirrors::default();
        let of = |suite| mirror(suite, &none, &machine()).unwrap();
        assert_eq!(of("bookworm"), "http://near.example/debian/");
        assert_eq!(of("trixie"), "http://near.example/debian/");
        assert_eq!(of("bookworm-security"), "http://near.example/debian-security/");
    }

    #[test]
    fn the_callers_mirror_wins() {
        let mirrors = Mirrors { main: Some("http://mine.example/d".into()), security: None };
        assert_eq!(mirror("trixie", &mirrors, &machine()).unwrap(), "http://mine.example/d");
        let uri = mirror("bookworm-security", &mirrors, &machine()).unwrap();
        assert_eq!(uri, "http://near.example/debian-security/");
    }

    #[test]
    fn no_mirror_names_the_flag() {
        let error = mirror("bookworm-security", &Mirrors::default(), &machine()[..2]).unwrap_err();
        assert!(error.to_string().contains("--security-mirror"), "{error}");
    }

    #[test]
    fn sources_are_signed_and_one_stanza_per_suite_and_section() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../components.toml");
        let components = Components::load(&path).unwrap();
        let text = sources(&components, &Mirrors::default(), &machine(), Path::new("/k.gpg")).unwrap();
        assert_eq!(text.matches("Signed-By: /k.gpg\n").count(), text.matches("Types: deb\n").count());
        assert_eq!(text.matches("Suites: trixie\nComponents: non-free-firmware\n").count(), 1);
    }
}
