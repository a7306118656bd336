//! Runs the Debian tools that the build leans on. It must never hide a tool's own words: a
//! failure carries the tool's error output, a missing tool the package that has it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Directories searched after `PATH`: an ordinary user's `PATH` has no sbin on Debian.
const ADMIN_DIRS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program of the build machine and the Debian package it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// File name of the program.
    pub program: &'static str,
    /// Debian package that installs it.
    pub package: &'static str,
}

/// Fetches packages with their signatures checked.
pub const APT_GET: Tool = Tool { program: "apt-get", package: "apt" };
/// Orders Debian versions.
pub const DPKG: Tool = Tool { program: "dpkg", package: "dpkg" };
pub const DPKG_DEB: Tool = Tool { program: "dpkg-deb", package: "dpkg" };
/// Says when the sources were committed.
pub const GIT: Tool = Tool { program: "git", package: "git" };
/// Writes modules.dep and modules.alias.
pub const DEPMOD: Tool = Tool { program: "depmod", package: "kmod" };
/// Names the firmware a driver asks for.
pub const MODINFO: Tool = Tool { program: "modinfo", package: "kmod" };
/// Decompresses kernel modules.
pub const XZ: Tool = Tool { program: "xz", package: "xz-utils" };
/// Makes the root file system image.
pub const MKSQUASHFS: Tool = Tool { program: "mksquashfs", package: "squashfs-tools" };
/// Makes the boot loader's images.
pub const GRUB_MKIMAGE: Tool = Tool { program: "grub-mkimage", package: "grub-common" };
/// Makes the FAT file system.
pub const MKFS_VFAT: Tool = Tool { program: "mkfs.vfat", package: "dosfstools" };
/// Makes directories in a FAT image.
pub const MMD: Tool = Tool { program: "mmd", package: "mtools" };
/// Copies files into a FAT image.
pub const MCOPY: Tool = Tool { program: "mcopy", package: "mtools" };

/// Every tool a full build calls, for the check before the first stage.
pub const ALL: [Tool; 12] =
    [APT_GET, DPKG, DPKG_DEB, GIT, DEPMOD, MODINFO, XZ, MKSQUASHFS, GRUB_MKIMAGE, MKFS_VFAT, MMD, MCOPY];

impl Tool {
    /// Path of the program.
    ///
    /// # Errors
    /// The program is on no search path; the text names the package to install.
    pub fn path(self) -> Result<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path)
            .chain(ADMIN_DIRS.iter().map(PathBuf::from))
            .map(|dir| dir.join(self.program))
            .find(|candidate| candidate.is_file())
            .with_context(|| {
                format!(
                    "{} is not installed: apt-get install {} (or run make setup)",
                    self.program, self.package
                )
            })
    }

    /// A command with a neutral environment: C locale, UTC, no build date of the caller's.
    pub fn command(self) -> Result<Command> {
        let mut command = Command::new(self.path()?);
        command.env("LC_ALL", "C").env("TZ", "UTC").env_remove("SOURCE_DATE_EPOCH");
        Ok(command)
    }

    /// Runs the tool to its end and returns its standard output as text.
    pub fn run<I, S>(self, args: I) -> Result<String>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command()?;
        command.args(args);
        output(self.program, command)
    }
}

/// Runs a prepared command to its end and returns its standard output as text.
pub fn output(name: &str, mut command: Command) -> Result<String> {
    let output = command.output().with_context(|| format!("failed to start {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Fails with one text that names every missing tool and the one command that installs them all.
pub fn require(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| tool.path().is_err()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let programs: Vec<&str> = missing.iter().map(|tool| tool.program).collect();
    let mut packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    bail!(
        "missing on this machine: {}; install with: apt-get install {} (or run make setup)",
        programs.join(", "),
        packages.join(" ")
    )
}

/// Turns a path into text for a tool's argument.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("path {} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_package_of_a_missing_tool() {
        let absent = Tool { program: "no-such-program-here", package: "some-package" };
        let error = require(&[absent]).unwrap_err().to_string();
        assert!(error.contains("no-such-program-here"), "{error}");
        assert!(error.contains("apt-get install some-package"), "{error}");
    }

    #[test]
    fn failure_carries_the_tools_own_words() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo disk on fire >&2; exit 3"]);
        let error = output("sh", command).unwrap_err().to_string();
        assert!(error.contains("disk on fire") && error.contains('3'), "{error}");
    }
}
