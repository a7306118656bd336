//! Two copies of the built image that differ in one file: what the kernel starts.
//!
//! Both get a boot menu that lets the kernel's first line through to the console, which starts the clock. The
//! built image itself is only read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::initramfs;

/// Name of the FAT partition in the image's table.
const ESP: &str = "esp";
const SECTOR: u64 = 512;
const MENU: &str = "::/grub/grub.cfg";
const INITRAMFS: &str = "::/a/initramfs.img";
/// Words of the menu's kernel command line that hide the kernel's first line, which has the level "notice".
const QUIET: &str = "quiet loglevel=4";
/// Shows "notice", hides "info".
const NOTICE: &str = "loglevel=6";

/// The two images.
pub(super) struct Images {
    pub(super) ours: PathBuf,
    pub(super) peer: PathBuf,
}

/// Makes both below `work`.
pub(super) fn prepare(out: &Path, work: &Path) -> anyhow::Result<Images> {
    fs::create_dir_all(work).with_context(|| format!("failed to make {}", work.display()))?;
    let built = out.join("bloomery-amd64.img");
    if !built.is_file() {
        bail!("failed to find {}; make it with `make image`", built.display());
    }
    let images = Images { ours: work.join("ours.img"), peer: work.join("peer.img") };
    let esp = esp_offset(&built)?;
    for image in [&images.ours, &images.peer] {
        run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(&built).arg(image))?;
        show_first_line(&Fat { image, esp }, work)?;
    }
    let packed = work.join("peer-initramfs.img");
    fs::write(&packed, initramfs::pack(out)?)
        .with_context(|| format!("failed to write {}", packed.display()))?;
    Fat { image: &images.peer, esp }.put(&packed, INITRAMFS)?;
    Ok(images)
}

fn show_first_line(fat: &Fat<'_>, work: &Path) -> anyhow::Result<()> {
    let menu = work.join("grub.cfg");
    fat.get(MENU, &menu)?;
    let text = fs::read_to_string(&menu).context("failed to read the boot menu")?;
    fs::write(&menu, text.replace(QUIET, NOTICE)).context("failed to write the boot menu")?;
    fat.put(&menu, MENU)
}

fn esp_offset(image: &Path) -> anyhow::Result<u64> {
    let disk = gpt::GptConfig::new()
        .open(image)
        .with_context(|| format!("failed to read the partition table of {}", image.display()))?;
    let esp = disk.partitions().values().find(|partition| partition.name == ESP);
    Ok(esp.with_context(|| format!("failed to find the partition {ESP} in {}", image.display()))?.first_lba
        * SECTOR)
}

/// The FAT file system inside of an image, through mtools.
struct Fat<'a> {
    image: &'a Path,
    esp: u64,
}

impl Fat<'_> {
    fn get(&self, from: &str, to: &Path) -> anyhow::Result<()> {
        run(Command::new("mcopy").args(["-o", "-n", "-i", &self.argument()?, from]).arg(to))
    }

    fn put(&self, from: &Path, to: &str) -> anyhow::Result<()> {
        // Removed first: there may not be room for both.
        run(Command::new("mdel").args(["-i", &self.argument()?, to]))?;
        run(Command::new("mcopy").args(["-i", &self.argument()?]).arg(from).arg(to))
    }

    fn argument(&self) -> anyhow::Result<String> {
        let image = self.image.to_str().context("failed to name the image: its path is not UTF-8")?;
        Ok(format!("{image}@@{}", self.esp))
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    // The offset is in the middle of no cylinder, which mtools would otherwise complain about.
    let output = command.env("MTOOLS_SKIP_CHECK", "1").output();
    let output = output.with_context(|| format!("failed to start {}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("failed to run {}: {}", command.get_program().display(), said.trim());
    }
    Ok(())
}
