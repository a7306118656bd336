//! What other services need to know of the tunnel: a file with the plane's address in it.
//!
//! The boot services put it into the kernel arguments of nodes. It must never hold a secret.

use std::net::Ipv6Addr;
use std::path::Path;

use bloomery_base::Replace;

/// The file, in `--publish-dir`.
pub const FILE: &str = "server-address";

/// Writes the address, if it changed.
pub fn publish(directory: &Path, server: Ipv6Addr) -> std::io::Result<()> {
    let path = directory.join(FILE);
    let text = format!("{server}\n");
    if std::fs::read_to_string(&path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    Replace::with_mode(0o644).write(&path, text.as_bytes())
}
