//! Reads `modules.toml`, the lists of drivers for each part of the image. It must never let a
//! driver that this kernel lacks pass in silence.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::Kernel;
use crate::stage::progress;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    boot: Vec<String>,
    nic: Vec<String>,
    root: Vec<String>,
    agent: Vec<String>,
}

/// Module files for each part of the image, dependencies included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// For the appliance's initramfs.
    pub boot: BTreeSet<PathBuf>,
    /// For the appliance's root.
    pub root: BTreeSet<PathBuf>,
    /// For the agent's initramfs.
    pub agent: BTreeSet<PathBuf>,
}

impl Selection {
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("failed to understand {}", path.display()))
    }

    /// Finds the sets in a kernel.
    ///
    /// # Errors
    /// The kernel lacks a module of the `boot` set. Others it lacks are named in a warning: one
    /// missing driver is no reason to have no image at all.
    pub fn choose(&self, kernel: &Kernel) -> Result<Chosen> {
        let names = |sets: &[&'static str]| -> Vec<&str> {
            sets.iter().flat_map(|set| self.set(set)).map(String::as_str).collect()
        };
        let (boot, missing) = kernel.closure(names(&["boot"]));
        if !missing.is_empty() {
            bail!("kernel {} lacks modules needed to boot: {}", kernel.release, missing.join(", "));
        }
        let (root, missing_root) = kernel.closure(names(&["boot", "nic", "root"]));
        let (agent, missing_agent) = kernel.closure(names(&["nic", "agent"]));
        let missing: BTreeSet<String> = missing_root.into_iter().chain(missing_agent).collect();
        if !missing.is_empty() {
            let names = missing.into_iter().collect::<Vec<_>>().join(", ");
            progress("kernel", &format!("WARNING: kernel {} lacks {names}", kernel.release));
        }
        Ok(Chosen { boot, root, agent })
    }

    fn set(&self, name: &str) -> &[String] {
        match name {
            "boot" => &self.boot,
            "nic" => &self.nic,
            "root" => &self.root,
            "agent" => &self.agent,
            _ => &[],
        }
    }
}
