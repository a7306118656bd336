//! Disks of the lab's machines: an overlay of the image for the appliance, raw files for all others.
//!
//! The appliance's image is only ever read; writes go to an overlay.

use crate::{state::LabDir, vm::spec::VmSpec};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};
use tokio::process::Command;

/// Makes (or with kept state, finds) a disk of machine `name` on top of the raw image `image`.
///
/// # Errors
/// The image is missing, or it has changed since the kept disk was made: its blocks would not fit any more.
pub async fn overlay(dir: &LabDir, name: &str, image: &Path, size: &str) -> Result<PathBuf> {
    let image =
        image.canonicalize().with_context(|| format!("failed to find the image {}", image.display()))?;
    let meta = std::fs::metadata(&image).context("failed to read the image")?;
    let modified = meta.modified().context("failed to read the image's time")?;
    let since_epoch = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    let base = format!("{} {} {}\n", image.display(), meta.len(), since_epoch.as_nanos());

    let (disk, record) = (dir.path(&format!("{name}.qcow2")), dir.path(&format!("{name}.base")));
    if disk.exists() {
        if std::fs::read_to_string(&record).unwrap_or_default() != base {
            bail!(
                "failed to keep the state in {}: the image {} has changed since; start without --keep-state",
                disk.display(),
                image.display()
            );
        }
        return Ok(disk);
    }
    let backing = image.to_str().context("failed to name the image: its path is not UTF-8")?;
    create(&disk, &["-F", "raw", "-b", backing], size).await?;
    std::fs::write(record, base).context("failed to record the image")?;
    Ok(disk)
}

/// Makes (or with kept state, finds) the empty disks of a machine: raw and sparse.
///
/// # Errors
/// The lab's folder is full or gone.
pub fn blank(dir: &LabDir, spec: &VmSpec, bytes: u64) -> Result<Vec<PathBuf>> {
    let make = |index| {
        let disk = dir.path(&spec.disk_file(index));
        if !disk.exists() {
            let file = std::fs::File::create_new(&disk);
            file.and_then(|file| file.set_len(bytes))
                .with_context(|| format!("failed to make {}", disk.display()))?;
        }
        Ok(disk)
    };
    (0..spec.disks.len()).map(make).collect()
}

async fn create(disk: &Path, options: &[&str], size: &str) -> Result<()> {
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .args(options)
        .arg(disk)
        .arg(size)
        .output()
        .await
        .context("failed to start qemu-img (Debian package qemu-utils)")?;
    if !output.status.success() {
        bail!("failed to make {}: {}", disk.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn kept_disk_of_a_changed_image_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = LabDir::open(folder.path(), false).await.expect("a free folder");
        let image = folder.path().join("image.img");
        std::fs::write(&image, [0; 4096]).expect("a write");
        let disk = overlay(&dir, "appliance", &image, "1M").await.expect("an overlay");
        assert!(disk.exists());
        overlay(&dir, "appliance", &image, "1M").await.expect("the same overlay");
        std::fs::write(&image, [1; 8192]).expect("a write");
        let error = overlay(&dir, "appliance", &image, "1M").await.expect_err("another image");
        assert!(error.to_string().contains("--keep-state"), "{error}");
    }

    #[tokio::test]
    async fn missing_image_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = LabDir::open(folder.path(), false).await.expect("a free folder");
        let error = overlay(&dir, "appliance", Path::new("no/such.img"), "1M").await.expect_err("no image");
        assert!(error.to_string().contains("no/such.img"), "{error}");
    }
}
