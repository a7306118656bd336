//! The state partition on files that stand for disks: power cuts at every write, real tools, other people's tables.

mod crash;
mod real;

use std::fs::File;
use std::path::{Path, PathBuf};

use super::decide::{Decision, decide};
use super::gpt::{Copies, Geometry};
use super::superblock;

/// A sector, and the size of the image before it is written to a larger disk.
const SECTOR: u64 = SECTOR_BYTES as u64;
const SECTOR_BYTES: usize = 512;
const IMAGE_BYTES: u64 = 64 << 20;
/// The disk that the image is written to.
const DISK_BYTES: u64 = 1 << 30;

/// An image with the four partitions of the product, made by the `gpt` crate, on a sparse file of `disk` bytes.
fn flashed(directory: &Path, disk: u64) -> PathBuf {
    let path = directory.join("disk.img");
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.set_len(IMAGE_BYTES).unwrap();
    let last = u32::try_from(IMAGE_BYTES / SECTOR - 1).unwrap();
    gpt::mbr::ProtectiveMBR::with_lb_size(last).overwrite_lba0(&mut file).unwrap();
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(gpt::disk::LogicalBlockSize::Lb512)
        .change_partition_count(true)
        .create_from_device(file, None)
        .unwrap();
    for (name, mebibytes) in [("bios", 1), ("esp", 8), ("root-a", 16), ("root-b", 16)] {
        let kind = gpt::partition_types::LINUX_FS;
        table.add_partition(name, mebibytes << 20, kind, 0, Some(2048)).unwrap();
    }
    let file = table.write().unwrap();
    file.set_len(disk).unwrap();
    path
}

fn open(path: &Path) -> (File, Geometry) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let geometry = super::open::geometry(&file).unwrap();
    (file, geometry)
}

fn decision(file: &File, geometry: Geometry) -> Decision {
    let copies = Copies::read(file, geometry);
    decide(&copies, &|lba| superblock::probe(file, geometry.offset(lba)))
}
