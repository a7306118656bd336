//! Takes the wanted drivers out of the kernel package, with all they depend on and the firmware
//! they load. It must never leave out a dependency, stated or soft, nor keep compressed modules:
//! the image compresses as a whole.

pub mod firmware;
pub mod index;
pub mod selection;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bloomery_sys::modules::Index;

use crate::packages::Unpacked;
use crate::tool::{self, DEPMOD, XZ};
use crate::tree;

use index::closure;

/// Where modules lie in packages, before and after the merge of `/lib` into `/usr/lib`.
const MODULE_DIRS: [&str; 2] = ["usr/lib/modules", "lib/modules"];
/// Lists that `depmod` reads beside the modules.
const DEPMOD_INPUTS: [&str; 3] = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];
/// Lists that our programs read; what else `depmod` writes is for other programs.
const MODULE_LISTS: [&str; 5] =
    ["modules.alias", "modules.builtin", "modules.builtin.modinfo", "modules.dep", "modules.softdep"];

#[derive(Debug)]
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    pub vmlinuz: PathBuf,
    modules: PathBuf,
    index: Index,
}

impl Kernel {
    /// Finds release, image and modules in the package; runs `depmod` on it the first time.
    pub fn open(package: &Unpacked) -> Result<Self> {
        let root = &package.dir;
        let base = MODULE_DIRS
            .iter()
            .map(|dir| root.join(dir))
            .find(|dir| dir.is_dir())
            .with_context(|| format!("package {} has no modules", package.locked.package))?;
        let release = only_entry(&base)?;
        let modules = base.join(&release);
        let vmlinuz = root.join("boot").join(format!("vmlinuz-{release}"));
        if !vmlinuz.is_file() {
            bail!("package {} has no {}", package.locked.package, vmlinuz.display());
        }
        if !modules.join("modules.softdep").is_file() {
            depmod(root, &release)?;
        }
        let lists =
            MODULE_LISTS.iter().filter(|list| !modules.join(list).is_file()).copied().collect::<Vec<_>>();
        if !lists.is_empty() {
            bail!("package {} has no {}", package.locked.package, lists.join(", "));
        }
        let index = Index::read(&modules)?;
        Ok(Self { release, vmlinuz, modules, index })
    }

    /// The modules of `names` with everything they need, as paths below the modules directory;
    /// and the names this kernel does not have.
    pub fn closure<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> (BTreeSet<PathBuf>, Vec<String>) {
        closure(&self.index, names)
    }

    /// Firmware files the given modules name.
    pub fn firmware(&self, modules: &BTreeSet<PathBuf>) -> Result<BTreeSet<String>> {
        firmware::names(&self.modules, modules)
    }

    /// Fills `root/lib/modules/RELEASE` with the given modules, decompressed, and their lists.
    /// `root` must be a directory of its own: `lib` in it is a real one.
    pub fn install(&self, modules: &BTreeSet<PathBuf>, root: &Path) -> Result<()> {
        let target = root.join("lib/modules").join(&self.release);
        tree::make_empty_dir(&target)?;
        let mut compressed = Vec::new();
        for relative in modules {
            let to = target.join(relative);
            tree::copy(&self.modules.join(relative), &to, tree::MODE_DATA)?;
            match to.extension().and_then(|extension| extension.to_str()) {
                Some("xz") => compressed.push(to),
                Some("ko") => {}
                _ => bail!("module {} has an unknown compression", relative.display()),
            }
        }
        if !compressed.is_empty() {
            let mut command = XZ.command()?;
            command.args(["--decompress", "--quiet", "--"]).args(&compressed);
            tool::output("xz", command)?;
        }
        for name in DEPMOD_INPUTS {
            tree::copy(&self.modules.join(name), &target.join(name), tree::MODE_DATA)?;
        }
        depmod(root, &self.release)?;
        keep_only_lists(&target)
    }
}

fn depmod(root: &Path, release: &str) -> Result<()> {
    DEPMOD.run(["-b", tool::text(root)?, release]).map(drop)
}

fn keep_only_lists(modules: &Path) -> Result<()> {
    for entry in fs::read_dir(modules)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_file() && !MODULE_LISTS.contains(&name) {
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn only_entry(dir: &Path) -> Result<String> {
    let names: Vec<String> = fs::read_dir(dir)
        .with_context(|| format!("failed to list {}", dir.display()))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => bail!("{} should hold one kernel release, it holds {names:?}", dir.display()),
    }
}
