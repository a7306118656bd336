//! Programs and files that `make setup` unpacks or installs: found, run, and named when they are missing.
//!
//! Nothing is downloaded here.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// UEFI code without Secure Boot (package `ovmf`).
pub const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// Folder of unpacked tools, beside `out/lab`.
const UNPACKED: &str = "tools";

/// The file `name`: unpacked beside the lab's folder or in this build's `out`, else at `installed`.
///
/// # Errors
/// It is nowhere; the message names the Debian `package`.
pub fn find(lab: &Path, name: &str, installed: &str, package: &str) -> Result<PathBuf> {
    let executable = std::env::current_exe().ok();
    let beside = [lab.parent(), executable.as_deref().and_then(Path::parent)];
    // Cargo runs tests in the folder of their crate, which is beside `out`.
    let builds = [Path::new("out"), Path::new("../out")].map(Some);
    let unpacked = beside.into_iter().chain(builds).flatten().map(|folder| folder.join(UNPACKED).join(name));
    let found = unpacked.chain([PathBuf::from(installed)]).find(|path| path.exists());
    let found = found.with_context(|| {
        format!("failed to find {name}; run `make setup`, or install the Debian package {package}")
    })?;
    std::path::absolute(&found).with_context(|| format!("failed to name {}", found.display()))
}

/// Runs a program of the Debian package `package` to its end.
///
/// # Errors
/// It is missing, or fails.
pub async fn run(command: &mut Command, package: &str) -> Result<()> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .await
        .with_context(|| format!("failed to start {program} (Debian package {package})"))?;
    if !output.status.success() {
        bail!("failed to run {program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn unpacked_file_beside_the_lab_comes_first() {
        let out = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(out.path().join("tools")).expect("a folder");
        let program = out.path().join("tools/dhcpd");
        std::fs::write(&program, "").expect("a write");
        let found = super::find(&out.path().join("lab"), "dhcpd", "/usr/sbin/dhcpd", "isc-dhcp-server");
        assert_eq!(found.expect("the unpacked program"), program);
    }

    #[test]
    fn missing_file_names_its_package() {
        let out = tempfile::tempdir().expect("a temporary folder");
        let error = super::find(out.path(), "no-such", "/no/such", "such-package").expect_err("nothing");
        assert!(error.to_string().contains("such-package"), "{error}");
    }
}
