//! `resolv.conf`, written whole or not at all.
//!
//! It must never let a name from the network put more than itself into the file.

use bloomery_base::Replace;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// glibc reads no more than three (`MAXNS` in resolv.h).
const MAX_NAMESERVERS: usize = 3;
/// Longest domain name in text form (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// The settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers, the first is asked first.
    pub nameservers: Vec<IpAddr>,
    /// Domain appended to short names; left out when it is not a plain name.
    pub domain: Option<String>,
}

/// The file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write {}", path.display())]
pub struct Error {
    /// Which file.
    pub path: PathBuf,
    /// The system's reason.
    pub source: std::io::Error,
}

/// Writes the file anew, as a whole. Makes its directory if that is not there (an initramfs may have no `/etc`).
pub fn write(path: &Path, conf: &ResolvConf) -> Result<(), Error> {
    let error = |source| Error { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(error)?;
    }
    Replace::with_mode(0o644).volatile().write(path, text(conf).as_bytes()).map_err(error)
}

/// The file's text.
pub fn text(conf: &ResolvConf) -> String {
    let mut text = String::new();
    if let Some(domain) = conf.domain.as_deref().and_then(host_name) {
        let _ = writeln!(text, "search {domain}");
    }
    for server in conf.nameservers.iter().take(MAX_NAMESERVERS) {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

/// The name without a final dot if it is one by RFC 1123 §2.1 (letters, digits, hyphens, dots), or none.
pub fn host_name(name: &str) -> Option<&str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.len() <= MAX_NAME && name.split('.').all(label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_servers_in_order_and_no_more_than_three() {
        let servers = ["10.0.0.1", "10.0.0.2", "fd00::3", "10.0.0.4"];
        let conf = ResolvConf {
            nameservers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            domain: Some("lab.example.".to_owned()),
        };
        assert_eq!(
            text(&conf),
            "search lab.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver fd00::3\n"
        );
    }

    #[test]
    fn a_domain_cannot_smuggle_in_a_line() {
        for domain in ["a\nnameserver 6.6.6.6", "a b", "", "-a", "a-", "a..b", "é", &"a".repeat(64)] {
            let conf = ResolvConf { nameservers: Vec::new(), domain: Some(domain.to_owned()) };
            assert_eq!(text(&conf), "", "{domain:?}");
        }
    }

    #[test]
    fn makes_the_directory_replaces_the_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc/resolv.conf");
        write(&path, &ResolvConf::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        let conf = ResolvConf { nameservers: vec!["192.0.2.1".parse().unwrap()], domain: None };
        write(&path, &conf).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "nameserver 192.0.2.1\n");
        assert_eq!(std::fs::read_dir(dir.path().join("etc")).unwrap().count(), 1);
    }

    #[test]
    fn says_which_file_could_not_be_written() {
        let error = write(Path::new("/proc/resolv.conf"), &ResolvConf::default()).unwrap_err();
        assert_eq!(error.to_string(), "failed to write /proc/resolv.conf");
    }
}
