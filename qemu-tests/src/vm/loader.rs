//! The boot floppy of a BIOS machine whose PXE client is not iPXE to the outside: SYSLINUX, iPXE's kernel, a script.
//!
//! The script only does what a PXE ROM does: ask, load the offered file over TFTP, start it.

use crate::{state::LabDir, tool};
use anyhow::{Context, Result};
use tokio::process::Command;

/// iPXE as a Linux kernel, unpacked by `make setup` from the Debian package `ipxe`.
const KERNEL: &str = "ipxe.lkrn";
/// Where the installed package has it.
const INSTALLED: &str = "/boot/ipxe.lkrn";
/// The one size that every BIOS boots from.
const FLOPPY_SIZE: u64 = 1_474_560;
const MENU: &str = "DEFAULT ipxe\nPROMPT 0\nLABEL ipxe\n KERNEL ipxe.lkrn\n INITRD boot.ipxe\n";
/// The user class replaces `iPXE`. Only IPv4 is asked for: the wait for a router advertisement would take 16 s.
const SCRIPT: &str = "#!ipxe\n\
    set user-class PXE\n\
    ifconf --configurator dhcp net0 || exit 1\n\
    echo PXE: tftp://${next-server}/${filename}\n\
    chain tftp://${next-server}/${filename} || exit 1\n";

/// File name of a machine's floppy in the lab's folder.
pub(super) fn floppy(machine: &str) -> String {
    format!("{machine}.floppy.raw")
}

/// Makes a machine's floppy if it has none yet.
///
/// # Errors
/// A tool is missing or fails.
pub(super) async fn make(dir: &LabDir, machine: &str) -> Result<()> {
    let path = dir.path(&floppy(machine));
    if path.exists() {
        return Ok(());
    }
    let kernel = tool::find(dir.root(), KERNEL, INSTALLED, "ipxe")?;
    let (menu, script) = (dir.path("run/syslinux.cfg"), dir.path("run/boot.ipxe"));
    std::fs::write(&menu, MENU).context("failed to write the floppy's menu")?;
    std::fs::write(&script, SCRIPT).context("failed to write the floppy's script")?;
    let image = dir.path(&format!("run/{machine}.floppy"));
    let file = std::fs::File::create(&image).context("failed to make the floppy")?;
    file.set_len(FLOPPY_SIZE).context("failed to make the floppy")?;
    let on = |program: &str| {
        let mut command = Command::new(program);
        // Its files are no one's drive; a configuration of the user must not matter.
        command.env("MTOOLSRC", "/dev/null").env("MTOOLS_SKIP_CHECK", "1");
        command
    };
    tool::run(on("mformat").arg("-i").arg(&image).args(["-f", "1440", "::"]), "mtools").await?;
    tool::run(on("syslinux").arg("--install").arg(&image), "syslinux").await?;
    tool::run(on("mcopy").arg("-i").arg(&image).args([&kernel, &menu, &script]).arg("::"), "mtools").await?;
    std::fs::rename(&image, &path).context("failed to put the floppy in place")
}
