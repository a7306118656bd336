//! Stage `disk`: one raw GPT image that SeaBIOS-like and UEFI firmware boot. It must never need a
//! loop device, and never contain a state partition: PID 1 makes that behind the last one.

pub mod esp;
pub mod grub;
pub mod layout;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::packages::Packages;
use crate::settings::Settings;
use crate::stage::megabytes;

use layout::{Layout, SECTOR};

/// Builds the image at `target` from kernel, initramfs and root of `settings`.
pub fn assemble(settings: &Settings, packages: &Packages, target: &Path) -> Result<()> {
    let layout = Layout::product();
    let boot = grub::Images::make(packages, &settings.work())?;
    let esp = settings.work().join("esp.img");
    esp::make(settings, &boot, layout.esp().bytes(), &esp)?;

    let mut disk = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(target)
        .with_context(|| format!("failed to open {}", target.display()))?;
    disk.set_len(layout.bytes()).context("failed to size the image")?;
    layout.write(&mut disk)?;
    boot.embed(&mut disk, layout.bios_boot())?;
    place(&mut disk, &esp, layout.esp())?;
    place(&mut disk, &settings.squashfs(), layout.root_a())?;
    disk.sync_all().context("failed to flush the image")
}

/// Copies a file to the start of a partition, leaving runs of zeros as holes.
fn place(disk: &mut File, from: &Path, partition: &layout::Partition) -> Result<()> {
    /// Small enough to find holes, large enough for speed.
    const CHUNK: usize = 64 * 1024;
    let mut file = File::open(from).with_context(|| format!("failed to open {}", from.display()))?;
    let size = file.metadata().with_context(|| format!("failed to inspect {}", from.display()))?.len();
    if size > partition.bytes() {
        bail!(
            "{} has {}, partition {} only {}",
            from.display(),
            megabytes(size),
            partition.name,
            megabytes(partition.bytes())
        );
    }
    let mut offset = partition.first * SECTOR;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk).with_context(|| format!("failed to read {}", from.display()))?;
        if count == 0 {
            return Ok(());
        }
        if chunk[..count].iter().any(|byte| *byte != 0) {
            disk.seek(SeekFrom::Start(offset))?;
            disk.write_all(&chunk[..count])
                .with_context(|| format!("failed to write partition {}", partition.name))?;
        }
        offset += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_content_with_holes_and_refuses_what_does_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let (image, part) = (dir.path().join("image"), dir.path().join("part"));
        let mut content = vec![0; 300_000];
        content[299_999] = 7;
        std::fs::write(&part, &content).unwrap();
        let mut disk = File::options().create_new(true).read(true).write(true).open(&image).unwrap();
        disk.set_len(1_000_000).unwrap();
        let partition = layout::Partition { name: "p", first: 100, sectors: 600 };
        place(&mut disk, &part, &partition).unwrap();
        let bytes = std::fs::read(&image).unwrap();
        assert_eq!(bytes[51_200..351_200], content[..]);
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 1);
        let small = layout::Partition { name: "small", first: 0, sectors: 585 };
        let error = place(&mut disk, &part, &small).unwrap_err().to_string();
        assert!(error.contains("partition small"), "{error}");
    }
}
