//! Joins Debian's root certificates into the one file that TLS libraries look for. It must never
//! add a certificate of its own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::packages::Unpacked;
use crate::tree::{self, Kind, MODE_DATA};

/// Certificates in the package, one per file.
const SOURCE: &str = "usr/share/ca-certificates/mozilla";
/// Where Go, OpenSSL and rustls-native-certs look.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
/// How each certificate begins.
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Writes the bundle, in the order of the file names.
pub fn install(package: &Unpacked, root: &Path) -> Result<()> {
    let source = package.dir.join(SOURCE);
    let mut bundle = String::new();
    for entry in tree::walk(&source)? {
        if !matches!(entry.kind, Kind::File { .. }) {
            continue;
        }
        let path = source.join(&entry.relative);
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        if !text.contains(PEM_BEGIN) {
            bail!("{} holds no certificate", path.display());
        }
        bundle.push_str(text.trim_end());
        bundle.push('\n');
    }
    if bundle.is_empty() {
        bail!("package {} has no certificates", package.locked.package);
    }
    tree::write(&root.join(BUNDLE), bundle.as_bytes(), MODE_DATA)
}
