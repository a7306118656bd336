//! What the image knows of itself: `/etc/bloomery-release`, `KEY=value` lines.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-11-01: no image is older, so no clock may be before it.
const OLDEST_BUILD: u64 = 1_793_491_200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `VERSION`
    pub version: String,
    /// `BUILD_EPOCH`, seconds since 1970: no clock may be before it.
    pub built: SystemTime,
}

impl Release {
    /// Reads the file; what is missing or damaged is made up for.
    pub fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
        };
        let epoch = value("BUILD_EPOCH").and_then(|epoch| epoch.parse::<u64>().ok()).unwrap_or(0);
        Self {
            version: value("VERSION").unwrap_or(env!("CARGO_PKG_VERSION")).to_owned(),
            built: UNIX_EPOCH + Duration::from_secs(epoch.clamp(OLDEST_BUILD, u64::from(u32::MAX))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_image_says() {
        let release = Release::parse("VERSION=1.2.3\nBUILD_EPOCH=1800000001\n");
        assert_eq!(release.version, "1.2.3");
        assert_eq!(release.built, UNIX_EPOCH + Duration::from_secs(1_800_000_001));
    }

    #[test]
    fn makes_up_for_what_is_missing_or_absurd() {
        for text in ["", "BUILD_EPOCH=\n", "BUILD_EPOCH=-1", "BUILD_EPOCH=0"] {
            let release = Release::parse(text);
            assert_eq!(release.built, UNIX_EPOCH + Duration::from_secs(OLDEST_BUILD), "{text:?}");
            assert_eq!(release.version, env!("CARGO_PKG_VERSION"));
        }
    }
}
