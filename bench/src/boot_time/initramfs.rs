//! The peer's initramfs: our drivers, busybox, one shell script, and keys that it does not have to make itself.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use cpio::newc;
use rcgen::{CertificateParams, KeyPair};

use super::PEER_ADDRESS;

/// The script that is `/init`.
const SCRIPT: &str = include_str!("peer.sh");
/// Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";
/// Where the build leaves the drivers of the first stage, packed as an archive of their own.
const DRIVERS: &str = "work/kernel/boot.cpio.zst";
/// Fast to unpack, and small enough for the FAT partition.
const ZSTD_LEVEL: i32 = 9;
/// `inode(7)`: regular, executable.
const EXECUTABLE: u32 = 0o100_755;
/// `inode(7)`: regular, for its owner.
const PRIVATE: u32 = 0o100_600;
/// `inode(7)`: directory.
const DIRECTORY: u32 = 0o040_755;

/// The whole initramfs: the drivers' archive, then the peer's.
pub(super) fn pack(out: &Path) -> anyhow::Result<Vec<u8>> {
    let drivers = out.join(DRIVERS);
    let mut image = fs::read(&drivers).with_context(|| format!("failed to read {}", drivers.display()))?;
    let archive =
        zstd::encode_all(archive()?.as_slice(), ZSTD_LEVEL).context("failed to compress the initramfs")?;
    image.extend(archive);
    Ok(image)
}

fn archive() -> anyhow::Result<Vec<u8>> {
    let busybox = fs::read(BUSYBOX)
        .with_context(|| format!("failed to read {BUSYBOX} (Debian package busybox-static; `make setup`)"))?;
    let serving = KeyPair::generate().context("failed to make a key")?;
    let certificate = CertificateParams::new(vec![PEER_ADDRESS.to_string(), "127.0.0.1".to_owned()])
        .and_then(|params| params.self_signed(&serving))
        .context("failed to make a certificate")?;
    let service_accounts = KeyPair::generate().context("failed to make a key")?;
    let script = SCRIPT.replace("@ADDRESS@", &PEER_ADDRESS.to_string());
    let files = [
        ("bin", DIRECTORY, Vec::new()),
        ("bin/busybox", EXECUTABLE, busybox),
        ("init", EXECUTABLE, script.into_bytes()),
        ("keys", DIRECTORY, Vec::new()),
        ("keys/tls.crt", PRIVATE, certificate.pem().into_bytes()),
        ("keys/tls.key", PRIVATE, serving.serialize_pem().into_bytes()),
        ("keys/sa.pub", PRIVATE, service_accounts.public_key_pem().into_bytes()),
        ("keys/sa.key", PRIVATE, service_accounts.serialize_pem().into_bytes()),
    ];
    let mut bytes = Vec::new();
    for (number, (name, mode, content)) in (1..).zip(files) {
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large for cpio"))?;
        let mut entry = newc::Builder::new(name).ino(number).mode(mode).write(&mut bytes, size);
        entry.write_all(&content).with_context(|| format!("failed to pack {name}"))?;
        entry.finish().with_context(|| format!("failed to pack {name}"))?;
    }
    newc::trailer(&mut bytes).context("failed to end the archive")?;
    Ok(bytes)
}
