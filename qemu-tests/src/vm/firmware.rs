//! Firmware files of Debian and the per-machine copy of UEFI's variables.

use super::{
    loader,
    spec::{BootPath, Firmware, VmSpec},
};
use crate::{state::LabDir, tool::OVMF_CODE};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Empty UEFI variables that belong to [`OVMF_CODE`].
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// iPXE's ROM for virtio network cards, for BIOS and UEFI (package `ipxe-qemu`), which QEMU loads by itself.
const IPXE_ROM: &str = "/usr/lib/ipxe/qemu/efi-virtio.rom";

/// File name of a machine's UEFI variables in the lab's folder.
pub(super) fn variables(machine: &str) -> String {
    format!("{machine}.vars")
}

/// Checks that the machine's firmware is installed, and gives a UEFI machine its own variables if it has none yet.
///
/// # Errors
/// A Debian package is missing (it is named), or the copy fails.
pub(super) async fn prepare(dir: &LabDir, spec: &VmSpec) -> Result<()> {
    let firmware = match spec.firmware {
        Firmware::Uefi => [(OVMF_CODE, "ovmf"), (OVMF_VARS, "ovmf")].as_slice(),
        Firmware::Bios => [].as_slice(),
    };
    let rom = match spec.netboot {
        Some(BootPath::Bios | BootPath::Ipxe) => Some((IPXE_ROM, "ipxe-qemu")),
        Some(BootPath::BiosUndionly) => {
            loader::make(dir, &spec.name).await?;
            None
        }
        Some(BootPath::Uefi | BootPath::UefiHttp) | None => None,
    };
    for (path, package) in firmware.iter().copied().chain(rom) {
        if !Path::new(path).exists() {
            bail!("failed to find {path}: install the Debian package {package}");
        }
    }
    let own = dir.path(&variables(&spec.name));
    if spec.firmware == Firmware::Uefi && !own.exists() {
        std::fs::copy(OVMF_VARS, &own).with_context(|| format!("failed to make {}", own.display()))?;
    }
    Ok(())
}
