//! Makes the FAT partition: boot loader, kernel and initramfs of slot a, the commented example of
//! the configuration. It must never depend on the time: serial, label and file times are fixed.

use std::fs::{File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::grub::Images;
use crate::settings::Settings;
use crate::stage::remove_if_there;
use crate::tool::{self, MCOPY, MKFS_VFAT, MMD};
use crate::tree::{self, MODE_DATA};

/// Volume serial; fixed, so that two builds are equal.
const SERIAL: &str = "B1003E72";
/// Label people see when they plug the stick into a computer.
const LABEL: &str = "BLOOMERY";
/// Directories, parents first.
const DIRS: [&str; 5] = ["EFI", "EFI/BOOT", "grub", "a", "b"];
/// GRUB's environment block has exactly this size.
const GRUB_ENV_SIZE: usize = 1024;
/// Its first line.
const GRUB_ENV_HEADER: &str = "# GRUB Environment Block\n";
/// Slots of a new image: a is known good, none is on trial.
const GRUB_ENV: [(&str, &str); 3] = [("good", "a"), ("left", "0"), ("try", "")];

/// Builds the file system with `bytes` bytes at `target`.
pub fn make(settings: &Settings, boot: &Images, bytes: u64, target: &Path) -> Result<()> {
    remove_if_there(target)?;
    let file = File::create(target).with_context(|| format!("failed to make {}", target.display()))?;
    file.set_len(bytes).context("failed to size the FAT image")?;
    drop(file);
    let image = tool::text(target)?;
    dated(settings, MKFS_VFAT, ["--invariant", "-F", "32", "-i", SERIAL, "-n", LABEL, image])?;
    for dir in DIRS {
        dated(settings, MMD, ["-i", image, &format!("::{dir}")])?;
    }
    let staged = stage(settings, boot)?;
    for (source, name) in &staged {
        let destination = format!("::{name}");
        dated(settings, MCOPY, ["-m", "-i", image, tool::text(source)?, &destination])
            .with_context(|| format!("failed to put {name} on the FAT partition"))?;
    }
    Ok(())
}

/// Copies of all files with the build's time, and their names on the FAT.
fn stage(settings: &Settings, boot: &Images) -> Result<Vec<(PathBuf, &'static str)>> {
    let dir = settings.work().join("esp");
    tree::make_empty_dir(&dir)?;
    let env = dir.join("env.source");
    tree::write(&env, &environment_block(&GRUB_ENV), MODE_DATA)?;
    let sources = [
        (boot.efi.clone(), "EFI/BOOT/BOOTX64.EFI"),
        (settings.grub_menu(), "grub/grub.cfg"),
        (env, "grub/grubenv"),
        (settings.vmlinuz(), "a/vmlinuz"),
        (settings.initramfs(), "a/initramfs.img"),
        (settings.example_config(), "bloomery.yaml"),
    ];
    let time = UNIX_EPOCH + Duration::from_secs(settings.epoch.into());
    let mut staged = Vec::new();
    for (source, name) in sources {
        let copy = dir.join(name);
        tree::copy(&source, &copy, MODE_DATA)?;
        let file = File::options().write(true).open(&copy)?;
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
            .with_context(|| format!("failed to date {}", copy.display()))?;
        staged.push((copy, name));
    }
    Ok(staged)
}

/// Runs a FAT tool with the build's time as its clock (directories, volume label).
fn dated<const N: usize>(settings: &Settings, tool: tool::Tool, args: [&str; N]) -> Result<()> {
    let mut command = tool.command()?;
    command.env("SOURCE_DATE_EPOCH", settings.epoch.to_string()).args(args);
    tool::output(tool.program, command).map(drop)
}

/// GRUB's environment block: a header, `name=value` lines, `#` up to its fixed size.
fn environment_block(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut block = GRUB_ENV_HEADER.as_bytes().to_vec();
    for (name, value) in variables {
        block.extend(format!("{name}={value}\n").bytes());
    }
    block.resize(GRUB_ENV_SIZE, b'#');
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_block_has_grubs_shape() {
        let block = environment_block(&GRUB_ENV);
        assert_eq!(block.len(), 1024);
        let text = String::from_utf8(block).unwrap();
        let (head, tail) = text.split_at(text.find("\n##").unwrap() + 1);
        assert_eq!(head, "# GRUB Environment Block\ngood=a\nleft=0\ntry=\n");
        assert!(tail.bytes().all(|byte| byte == b'#'));
    }
}
