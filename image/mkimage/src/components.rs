//! Reads `components.toml`, the list of every foreign piece of the image. It must never accept a
//! field it does not know: a typo there would silently change what is built.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What a Debian package is unpacked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// The kernel and its modules.
    Kernel,
    /// Files that drivers load.
    Firmware,
    /// Network boot loaders served to other machines.
    Ipxe,
    /// Boot loader of our own disk.
    BootLoader,
    /// Roots of trust for HTTPS.
    Certificates,
    /// Programs and libraries of the root file system.
    Root,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianPackage {
    pub package: String,
    /// The package is empty; the one wanted is its dependency of the same series.
    #[serde(default)]
    pub metapackage: bool,
    /// Suite it is taken from, such as `bookworm-security`.
    pub suite: String,
    /// Section of the archive, such as `main`.
    pub section: String,
    pub source: String,
    /// SPDX expression.
    pub licence: String,
    /// What it is unpacked for.
    #[serde(rename = "use")]
    pub used_for: Use,
}

/// A Go module linked into the control plane program; informative, `go.mod` decides.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoModule {
    pub module: String,
    /// Version, with its `v`.
    pub version: String,
    /// SPDX expression.
    pub licence: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Components {
    /// Debian packages, in the order of the file.
    pub debian: Vec<DebianPackage>,
    #[serde(rename = "go")]
    pub go_modules: Vec<GoModule>,
}

impl Components {
    /// Reads and checks the list.
    ///
    /// # Errors
    /// The file is missing, has an unknown or missing field, or lists a package twice.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("failed to understand {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let components: Self = toml::from_str(text)?;
        for (index, package) in components.debian.iter().enumerate() {
            if components.debian[..index].iter().any(|other| other.package == package.package) {
                bail!("package {} is listed twice", package.package);
            }
        }
        Ok(components)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Components {
        Components::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../components.toml")).unwrap()
    }

    #[test]
    fn shipped_list_has_exactly_one_kernel() {
        let kernels = shipped().debian.iter().filter(|package| package.used_for == Use::Kernel).count();
        assert_eq!(kernels, 1);
    }

    #[test]
    fn go_modules_have_the_versions_of_go_mod() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane/go.mod");
        let go_mod = fs::read_to_string(path).unwrap();
        for module in shipped().go_modules {
            let required = go_mod
                .lines()
                .map(|line| line.trim().trim_start_matches("require ").split_whitespace())
                .find_map(|mut words| {
                    (words.next() == Some(&module.module)).then(|| words.next().unwrap_or_default())
                });
            assert_eq!(required, Some(module.version.as_str()), "{} in go.mod", module.module);
        }
    }

    #[test]
    fn rejects_unknown_fields_and_doubles() {
        let package = "[[debian]]\npackage = \"a\"\nsuite = \"s\"\nsection = \"main\"\nsource = \"a\"\n\
                       licence = \"MIT\"\nuse = \"root\"\n";
        assert!(Components::parse(&format!("go = []\n{package}")).is_ok());
        let error = Components::parse(&format!("go = []\n{package}colour = \"red\"\n")).unwrap_err();
        assert!(format!("{error:#}").contains("colour"), "{error:#}");
        let error = Components::parse(&format!("go = []\n{package}{package}")).unwrap_err();
        assert!(error.to_string().contains("listed twice"), "{error}");
    }
}
