//! The partition table of the image. It must never change between releases: an upgrade writes
//! into the slots of a disk that an older release laid out.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{Context, Result};
use gpt::mbr::ProtectiveMBR;
use gpt::{GptConfig, disk::LogicalBlockSize, partition, partition_types};
use uuid::Uuid;

/// Bytes of a sector; sticks and virtual disks all speak this size.
pub const SECTOR: u64 = 512;
/// Sectors of 1 MiB, the unit everything is aligned to.
const MIB: u64 = 1024 * 1024 / SECTOR;
/// GRUB's BIOS core has 170 kB; the usual size.
const BIOS_BOOT_MIB: u64 = 1;
/// Kernel and initramfs of two slots are 40 MB today: room for three times that.
const ESP_MIB: u64 = 128;
/// The root has about 85 MB today: room for more than twice that.
const ROOT_MIB: u64 = 192;
/// The backup table at the end of the disk: 33 sectors, rounded up.
const BACKUP_MIB: u64 = 1;
/// Identity of the disk until it is first booted. Fixed, so that two builds are equal.
const DISK_GUID: Uuid = Uuid::from_u128(0xb100_3e72_0000_4000_8000_0000_0000_0000);

/// A stretch of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Name in the table; PID 1 finds its partitions by it.
    pub name: &'static str,
    /// First sector.
    pub first: u64,
    /// Length in sectors.
    pub sectors: u64,
}

impl Partition {
    /// Length in bytes.
    pub fn bytes(&self) -> u64 {
        self.sectors * SECTOR
    }
}

/// All partitions, in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    partitions: [Partition; 4],
}

impl Layout {
    /// The layout of the product.
    pub fn product() -> Self {
        let mut next = MIB;
        let mut partition = |name, mib| {
            let partition = Partition { name, first: next, sectors: mib * MIB };
            next += partition.sectors;
            partition
        };
        Self {
            partitions: [
                partition("bios-boot", BIOS_BOOT_MIB),
                partition("esp", ESP_MIB),
                partition("root-a", ROOT_MIB),
                partition("root-b", ROOT_MIB),
            ],
        }
    }

    /// GRUB's core for BIOS.
    pub fn bios_boot(&self) -> &Partition {
        &self.partitions[0]
    }

    pub fn esp(&self) -> &Partition {
        &self.partitions[1]
    }

    /// The slot a new image boots.
    pub fn root_a(&self) -> &Partition {
        &self.partitions[2]
    }

    /// Size of the whole image in bytes.
    pub fn bytes(&self) -> u64 {
        let last = &self.partitions[3];
        (last.first + last.sectors + BACKUP_MIB * MIB) * SECTOR
    }

    /// Writes protective MBR, table and backup table. The file must have its full size.
    pub fn write(&self, disk: &mut File) -> Result<()> {
        let sectors =
            u32::try_from(self.bytes() / SECTOR - 1).context("the image is too large for an MBR")?;
        let mut mbr = ProtectiveMBR::with_lb_size(sectors);
        mbr.set_disk_signature([0; 4]);
        mbr.overwrite_lba0(disk).context("failed to write the protective MBR")?;
        let device: &mut File = disk;
        let mut table = GptConfig::new()
            .writable(true)
            .logical_block_size(LogicalBlockSize::Lb512)
            .create_from_device(device, Some(DISK_GUID))
            .context("failed to make the partition table")?;
        table.update_partitions(self.entries()).context("failed to fill the partition table")?;
        table.write().context("failed to write the partition table").map(drop)
    }

    fn entries(&self) -> BTreeMap<u32, partition::Partition> {
        let types = [
            partition_types::BIOS,
            partition_types::EFI,
            partition_types::LINUX_FS,
            partition_types::LINUX_FS,
        ];
        (1u32..)
            .zip(self.partitions.iter().zip(types))
            .map(|(number, (ours, part_type_guid))| {
                let entry = partition::Partition {
                    part_type_guid,
                    part_guid: Uuid::from_u128(DISK_GUID.as_u128() + u128::from(number)),
                    first_lba: ours.first,
                    last_lba: ours.first + ours.sectors - 1,
                    flags: 0,
                    name: ours.name.to_owned(),
                };
                (number, entry)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let layout = Layout::product();
        let mut disk = file.reopen().unwrap();
        disk.set_len(layout.bytes()).unwrap();
        layout.write(&mut disk).unwrap();
        file
    }

    #[test]
    fn table_reads_back_with_names_and_equal_root_slots() {
        let file = written();
        let disk = GptConfig::new().only_valid_headers(true).open(file.path()).unwrap();
        let found: Vec<_> = disk
            .partitions()
            .values()
            .map(|entry| (entry.name.as_str(), entry.first_lba, entry.last_lba - entry.first_lba + 1))
            .collect();
        let mib = 2048;
        assert_eq!(
            found,
            [
                ("bios-boot", mib, mib),
                ("esp", 2 * mib, 128 * mib),
                ("root-a", 130 * mib, 192 * mib),
                ("root-b", 322 * mib, 192 * mib),
            ]
        );
        let entries = disk.partitions();
        assert_eq!(entries[&1].part_type_guid, partition_types::BIOS);
        assert_eq!(entries[&2].part_type_guid, partition_types::EFI);
    }

    #[test]
    fn backup_table_is_in_the_last_sector_and_equal() {
        let file = written();
        let disk = GptConfig::new().only_valid_headers(true).open(file.path()).unwrap();
        let last = Layout::product().bytes() / SECTOR - 1;
        assert_eq!(disk.primary_header().unwrap().backup_lba, last);
        let backup = disk.backup_header().unwrap();
        assert_eq!(backup.current_lba, last);
        assert_eq!(backup.crc32_parts, disk.primary_header().unwrap().crc32_parts);
    }

    #[test]
    fn writing_twice_gives_the_same_bits() {
        let (one, two) = (written(), written());
        assert!(std::fs::read(one.path()).unwrap() == std::fs::read(two.path()).unwrap());
    }
}
