//! The unified kernel image of the installer, made by Talos's own imager: GRUB and systemd-boot both take their kernel,
//! initramfs and command line from it.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use mkimage::components::Use;
use mkimage::tool;
use mkimage::tree;

use crate::sysroot::Sysroot;
use crate::{Build, KERNEL_ARGUMENTS};

/// The imager's name for it.
pub(crate) const FILE: &str = "metal-amd64-uki.efi";
/// Of systemd-boot-efi.
pub(crate) const BOOT: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// The line of the imager that says what it gives the kernel.
const SAYS: &str = "kernel command line: ";

/// Makes it in the folder `to` and returns the kernel's command line.
pub(crate) fn build(build: &Build, vmlinuz: &Path, initramfs: &Path, to: &Path) -> Result<String> {
    let sysroot = Sysroot::merge(build, "stub", build.packages.of(Use::BootLoader))?;
    let (stub, boot) = (sysroot.file(STUB)?, sysroot.file(BOOT)?);
    tree::make_empty_dir(to)?;
    let profile = format!(
        "arch: amd64\nplatform: metal\nsecureboot: false\nversion: {}\n\
         customization:\n  extraKernelArgs: [{}]\n\
         input:\n  kernel: {{path: {}}}\n  initramfs: {{path: {}}}\n  sdStub: {{path: {}}}\n  sdBoot: {{path: {}}}\n\
         output: {{kind: uki, outFormat: raw}}\n",
        build.version,
        KERNEL_ARGUMENTS.join(", "),
        vmlinuz.display(),
        initramfs.display(),
        stub.display(),
        boot.display()
    );
    let mut imager = Command::new(build.programs.join("installer"))
        .arg0("imager")
        .args(["--output", tool::text(to)?, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start Talos's imager")?;
    let mut stdin = imager.stdin.take().context("failed to open the imager's input")?;
    stdin.write_all(profile.as_bytes()).context("failed to give the imager its profile")?;
    drop(stdin);
    let output = imager.wait_with_output().context("failed to wait for the imager")?;
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("Talos's imager failed ({}): {}", output.status, said.trim());
    }
    command_line(&said).map(str::to_owned).context("Talos's imager did not say the kernel's command line")
}

fn command_line(said: &str) -> Option<&str> {
    said.lines().find_map(|line| Some(line.split_once(SAYS)?.1.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_what_the_imager_says() {
        let said = "profile ready:\n  kind: uki\nkernel command line: talos.platform=metal pti=on nopti\nbuilding UKI...\n";
        assert_eq!(command_line(said), Some("talos.platform=metal pti=on nopti"));
        assert_eq!(command_line("UKI ready\n"), None);
    }

    #[test]
    fn the_last_word_about_page_tables_is_ours() {
        // Talos puts its own `pti=on` before ours and refuses to start without it.
        assert!(KERNEL_ARGUMENTS.contains(&"nopti"));
        assert!(!KERNEL_ARGUMENTS.iter().any(|argument| argument.starts_with("pti=")));
    }
}
