//! Debian packages laid over one another, for the lookup of programs and libraries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mkimage::packages::Unpacked;
use mkimage::rootfs::libraries;
use mkimage::tree::{self, MODE_EXECUTABLE};

use crate::Build;

/// `/bin` and its kin lie in `/usr`.
const USR_MERGE: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// udev's own library lies in a folder that the loader finds by the program's run path only.
const PRIVATE: &str = "systemd";

/// The packages of some uses as one tree in the build's work folder.
#[derive(Debug)]
pub(crate) struct Sysroot {
    dir: PathBuf,
}

impl Sysroot {
    pub(crate) fn merge<'a>(
        build: &Build,
        name: &str,
        packages: impl Iterator<Item = &'a Unpacked>,
    ) -> Result<Self> {
        let dir = build.work(name);
        tree::make_empty_dir(&dir)?;
        for name in USR_MERGE {
            tree::make_dir(&dir.join("usr").join(name))?;
            tree::link(&format!("usr/{name}"), &dir.join(name))?;
        }
        for package in packages {
            let usr = package.dir.join("usr");
            tree::copy_all(&usr, &dir.join("usr"))
                .with_context(|| format!("failed to lay out {}", package.locked.package))?;
        }
        let private = dir.join(LIBRARIES).join(PRIVATE);
        if private.is_dir() {
            for entry in tree::walk(&private)? {
                let file = entry.relative.display().to_string();
                tree::link(&format!("{PRIVATE}/{file}"), &dir.join(LIBRARIES).join(&file))?;
            }
        }
        Ok(Self { dir })
    }

    pub(crate) fn file(&self, relative: &str) -> Result<PathBuf> {
        tree::resolve_in(&self.dir, Path::new(relative))
            .with_context(|| format!("no package of components.toml has {relative}"))
    }

    /// Installs programs at `usr/bin/NAME` of `root` with the libraries that they and `further` libraries need.
    pub(crate) fn install(&self, programs: &[(&str, &str)], further: &[&str], root: &Path) -> Result<()> {
        let mut placed = Vec::new();
        for (from, name) in programs {
            let to = root.join("usr/bin").join(name);
            tree::copy(&self.file(from)?, &to, MODE_EXECUTABLE)?;
            placed.push(to);
        }
        for name in further {
            let to = root.join(LIBRARIES).join(name);
            tree::copy(&self.file(&format!("{LIBRARIES}/{name}"))?, &to, MODE_EXECUTABLE)?;
            placed.push(to);
        }
        libraries::install(&placed, &[&self.dir], root)
    }
}
