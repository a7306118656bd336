//! Makes GRUB for BIOS and UEFI and puts the BIOS half where firmware finds it, by the rules of
//! GRUB's own `grub-bios-setup`. It must never search disks for its menu: the menu is on the disk
//! that the firmware booted, whatever else is plugged in.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::layout::{Partition, SECTOR};
use crate::components::Use;
use crate::packages::Packages;
use crate::tool::{self, GRUB_MKIMAGE};
use crate::tree;

/// Where GRUB's modules lie in its packages.
const MODULE_DIR: &str = "usr/lib/grub";
/// What both firmwares need: to read the FAT partition, the environment and the kernel.
const MODULES: [&str; 15] = [
    "normal",
    "configfile",
    "part_gpt",
    "fat",
    "linux",
    "echo",
    "test",
    "true",
    "loadenv",
    "serial",
    "terminal",
    "minicmd",
    "sleep",
    "reboot",
    "halt",
];
/// A menu prefix without a drive means the drive the BIOS booted; the FAT is the second partition.
const BIOS_PREFIX: &str = "(,gpt2)/grub";
/// A prefix without any device means the partition the EFI program came from.
const EFI_PREFIX: &str = "/grub";
/// Bytes of a sector, as a length.
const SECTOR_LEN: usize = 512;
/// Size of the boot code's part of sector 0; disk signature and partition table follow.
const BOOT_CODE: usize = 440;
/// Offset in `boot.img` of the core's first sector (u64, `GRUB_BOOT_MACHINE_KERNEL_SECTOR`).
const KERNEL_SECTOR: usize = 0x5c;
/// Offset in `boot.img` of the jump past the floppy workaround (`GRUB_BOOT_MACHINE_DRIVE_CHECK`);
/// two no-ops there make it trust the drive number of the BIOS.
const DRIVE_CHECK: usize = 0x66;
/// Two x86 `nop`.
const NOPS: [u8; 2] = [0x90, 0x90];
/// Offset in the core's first sector of the block list's only entry: start sector (u64), then
/// length in sectors (u16), already right (`GRUB_DISKBOOT` block list).
const BLOCK_LIST: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// `EFI/BOOT/BOOTX64.EFI`.
    pub efi: PathBuf,
    boot: Vec<u8>,
    core: Vec<u8>,
}

impl Images {
    /// Makes both images with scratch files in `work`.
    pub fn make(packages: &Packages, work: &Path) -> Result<Self> {
        tree::make_dir(work)?;
        let bios = module_dir(packages, "i386-pc")?;
        let core = work.join("core.img");
        make_image("i386-pc", BIOS_PREFIX, &bios, &["biosdisk"], &core)?;
        let efi = work.join("BOOTX64.EFI");
        let efi_modules = module_dir(packages, "x86_64-efi")?;
        make_image("x86_64-efi", EFI_PREFIX, &efi_modules, &["efi_gop", "all_video"], &efi)?;
        let read =
            |path: PathBuf| fs::read(&path).with_context(|| format!("failed to read {}", path.display()));
        Ok(Self { efi, boot: read(bios.join("boot.img"))?, core: read(core)? })
    }

    /// Writes the BIOS half: boot code into sector 0, core into its partition. Signature and
    /// partition table in sector 0 stay.
    pub fn embed(&self, disk: &mut File, partition: &Partition) -> Result<()> {
        let mut sector = [0; SECTOR_LEN];
        disk.seek(SeekFrom::Start(0))?;
        disk.read_exact(&mut sector).context("failed to read sector 0")?;
        let sector = boot_sector(&self.boot, &sector, partition.first)?;
        let core = located_core(&self.core, partition)?;
        disk.seek(SeekFrom::Start(0))?;
        disk.write_all(&sector).context("failed to write the boot code")?;
        disk.seek(SeekFrom::Start(partition.first * SECTOR))?;
        disk.write_all(&core).context("failed to write GRUB's core")
    }
}

fn module_dir(packages: &Packages, platform: &str) -> Result<PathBuf> {
    packages
        .of(Use::BootLoader)
        .map(|package| package.dir.join(MODULE_DIR).join(platform))
        .find(|dir| dir.is_dir())
        .with_context(|| format!("no package of components.toml has GRUB for {platform}"))
}

fn make_image(platform: &str, prefix: &str, modules: &Path, extra: &[&str], target: &Path) -> Result<()> {
    let mut command = GRUB_MKIMAGE.command()?;
    command.args(["-O", platform, "-p", prefix, "-d", tool::text(modules)?, "-o", tool::text(target)?]);
    command.args(MODULES).args(extra);
    tool::output("grub-mkimage", command).map(drop)
}

/// Sector 0: GRUB's boot code told where the core is, before the table that is there.
fn boot_sector(boot: &[u8], present: &[u8; SECTOR_LEN], core_at: u64) -> Result<[u8; SECTOR_LEN]> {
    if boot.len() != present.len() {
        bail!("GRUB's boot.img has {} bytes, expected {}", boot.len(), present.len());
    }
    let mut sector = *present;
    sector[..BOOT_CODE].copy_from_slice(&boot[..BOOT_CODE]);
    sector[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_at.to_le_bytes());
    sector[DRIVE_CHECK..DRIVE_CHECK + NOPS.len()].copy_from_slice(&NOPS);
    Ok(sector)
}

/// The core told where its own second sector is.
fn located_core(core: &[u8], partition: &Partition) -> Result<Vec<u8>> {
    if core.len() as u64 > partition.bytes() {
        bail!("GRUB's core has {} bytes, more than partition {} holds", core.len(), partition.name);
    }
    if core.len() < SECTOR_LEN {
        bail!("GRUB's core has only {} bytes", core.len());
    }
    let sectors = u16::from_le_bytes([core[BLOCK_LIST + 8], core[BLOCK_LIST + 9]]);
    let expected = (core.len() as u64).div_ceil(SECTOR) - 1;
    if u64::from(sectors) != expected {
        bail!("GRUB's core says it has {sectors} sectors after the first, it has {expected}");
    }
    let mut located = core.to_vec();
    located[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(partition.first + 1).to_le_bytes());
    Ok(located)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: Partition = Partition { name: "bios-boot", first: 2048, sectors: 2048 };

    fn core(sectors: u16) -> Vec<u8> {
        let mut core = vec![0xcc; SECTOR_LEN * (usize::from(sectors) + 1)];
        core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&1u64.to_le_bytes());
        core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&sectors.to_le_bytes());
        core
    }

    #[test]
    fn boot_code_keeps_signature_and_table() {
        let mut present = [0x11; 512];
        present[510..].copy_from_slice(&[0x55, 0xaa]);
        let sector = boot_sector(&[0x22; 512], &present, 2048).unwrap();
        assert_eq!(sector[BOOT_CODE..], present[BOOT_CODE..]);
        assert_eq!(sector[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(sector[0x66..0x68], [0x90, 0x90]);
        assert_eq!((sector[0], sector[0x68], sector[439]), (0x22, 0x22, 0x22));
    }

    #[test]
    fn core_learns_where_it_is() {
        let located = located_core(&core(300), &PARTITION).unwrap();
        assert_eq!(located[500..508], 2049u64.to_le_bytes());
        assert_eq!(located[508..510], 300u16.to_le_bytes());
    }

    #[test]
    fn wrong_images_are_refused() {
        assert!(boot_sector(&[0; 100], &[0; 512], 1).is_err());
        assert!(located_core(&[0; 100], &PARTITION).is_err());
        assert!(located_core(&core(3000), &PARTITION).is_err(), "larger than the partition");
        let mut cut = core(300);
        cut.truncate(512 * 200);
        assert!(located_core(&cut, &PARTITION).is_err(), "length does not match the block list");
    }
}
