//! Kernel modules, loaded without kmod: by name with what they need, or for all hardware that is there.
//!
//! A module's failure is never fatal: it is reported, and the next module is tried.

mod alias;
mod coldplug;
mod index;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

pub use coldplug::{Coldplug, Report};
pub use index::Index;

/// Where modules lie, by kernel release.
const MODULES_ROOT: &str = "/lib/modules";
/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h: the kernel decompresses (`CONFIG_MODULE_DECOMPRESS`).
const COMPRESSED_FILE: i32 = 4;
/// Where the kernel shows loaded modules, and built-in ones that have parameters.
const LOADED_MODULES: &str = "/sys/module";

/// What modules need without saying so in modules.dep or modules.softdep: they ask for it through `request_module`,
/// which has no modprobe to call here.
///
/// ext4 finds its checksum through the crypto API (a mount fails with "Cannot load crc32c driver" without one); vfat
/// takes the tables of its default code page and character set from Debian's configuration (437 and ascii).
const UNDECLARED: &[(&str, &[&str])] = &[
    ("ext4", &["crc32c_generic", "crc32c_intel"]),
    ("vfat", &["nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8"]),
    ("dm_verity", &["sha256_generic", "sha256_ssse3"]),
];

/// Why modules are not there.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to read the module index {path:?}")]
    ReadIndex { path: PathBuf, source: io::Error },
    #[error("failed to find the kernel module {name:?}")]
    Unknown { name: String },
    #[error("failed to open the kernel module {path:?}")]
    Open { path: PathBuf, source: io::Error },
    /// The kernel did not take the module (`ENODEV`: its hardware is not there).
    #[error("failed to load the kernel module {name}")]
    Load { name: String, source: Errno },
}

/// What became of a module that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Loaded now.
    Loaded,
    /// It was there, as a module or built in.
    Present,
}

/// How a module gets into the kernel.
pub trait Kernel {
    /// Loads the file; `Ok(false)` if the module was there already.
    fn load(&self, name: &str, path: &Path) -> Result<bool, Error>;
}

/// The kernel that runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunningKernel;

impl Kernel for RunningKernel {
    fn load(&self, name: &str, path: &Path) -> Result<bool, Error> {
        if Path::new(LOADED_MODULES).join(name).join("initstate").exists() {
            return Ok(false);
        }
        let file = File::open(path).map_err(|source| Error::Open { path: path.into(), source })?;
        let compressed = path.extension().is_some_and(|extension| extension != "ko");
        match rustix::system::finit_module(file, c"", if compressed { COMPRESSED_FILE } else { 0 }) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(source) => Err(Error::Load { name: name.to_owned(), source }),
        }
    }
}

/// The modules of one kernel release, and which of them have been loaded through this value.
#[derive(Debug)]
pub struct Modules<K = RunningKernel> {
    directory: PathBuf,
    index: Index,
    done: HashSet<String>,
    kernel: K,
}

impl Modules {
    /// The modules of the running kernel, in `/lib/modules/<release>`.
    pub fn of_running_kernel() -> Result<Self, Error> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self::open(Path::new(MODULES_ROOT).join(release), RunningKernel)
    }
}

impl<K: Kernel> Modules<K> {
    /// The modules in `directory`, which holds modules.dep.
    pub fn open(directory: PathBuf, kernel: K) -> Result<Self, Error> {
        let index = Index::read(&directory)?;
        Ok(Self { directory, index, done: HashSet::new(), kernel })
    }

    /// The index of names and aliases.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Loads a module by name or alias with all that it needs, dependencies first.
    ///
    /// A hard dependency that fails is this module's failure; a soft one is reported in the log only.
    pub fn load(&mut self, name: &str) -> Result<Outcome, Error> {
        let name = index::normalize(name);
        if self.index.is_builtin(&name) {
            return Ok(Outcome::Present);
        }
        if self.index.path(&name).is_some() {
            return self.load_file(&name);
        }
        let targets = self.index.matching(&name);
        let mut outcome = Err(Error::Unknown { name });
        for target in targets {
            let loaded = self.load(&target);
            // One module that works is enough: an alias names alternatives.
            if outcome.is_err() || matches!(loaded, Ok(Outcome::Loaded)) {
                outcome = loaded;
            }
        }
        outcome
    }

    fn load_file(&mut self, name: &str) -> Result<Outcome, Error> {
        // Noted before the dependencies are loaded, so that a circle among them ends.
        if !self.done.insert(name.to_owned()) {
            return Ok(Outcome::Present);
        }
        let result = self.load_in_order(name);
        if result.is_err() {
            self.done.remove(name);
        }
        result
    }

    fn load_in_order(&mut self, name: &str) -> Result<Outcome, Error> {
        let soft = self.index.soft_dependencies(name);
        let undeclared =
            UNDECLARED.iter().filter(|(module, _)| *module == name).flat_map(|(_, needs)| *needs);
        let wished: Vec<String> =
            soft.pre.into_iter().chain(undeclared.map(|need| (*need).to_owned())).collect();
        for need in &wished {
            self.load_if_there(name, need);
        }
        for need in self.index.dependencies(name) {
            self.load_file(&need)?;
        }
        let Some(path) = self.index.path(name) else {
            return Err(Error::Unknown { name: name.to_owned() });
        };
        let loaded = self.kernel.load(name, &self.directory.join(path))?;
        for need in &soft.post {
            self.load_if_there(name, need);
        }
        Ok(if loaded { Outcome::Loaded } else { Outcome::Present })
    }

    fn load_if_there(&mut self, module: &str, need: &str) {
        match self.load(need) {
            Ok(_) | Err(Error::Unknown { .. }) => {}
            Err(error) => tracing::debug!(module, need, %error, "soft dependency not loaded"),
        }
    }
}

#[cfg(test)]
mod tests;
