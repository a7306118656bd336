//! The file of the list: replaced as a whole, readable by its owner only, never made anew while it is damaged.

use std::io;
use std::path::{Path, PathBuf};

use super::registry::Registry;
use crate::secret_file;

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StoreError {
    #[error("failed to read the pairings from {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "failed to understand the pairings in {}: restore the file from a backup, or remove it; everybody has to pair \
         anew then",
        path.display()
    )]
    Damaged { path: PathBuf, source: serde_json::Error },
    #[error("failed to understand the pairings in {}: a newer version wrote them", path.display())]
    Newer { path: PathBuf },
    #[error("failed to write the pairings to {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Reads the list, or begins one.
pub(super) fn open(path: &Path, shared_from: Option<i64>) -> Result<Registry, StoreError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let registry = Registry::new(shared_from);
            keep(path, &registry)?;
            return Ok(registry);
        }
        Err(source) => return Err(StoreError::Read { path: path.to_owned(), source }),
    };
    let registry: Registry = serde_json::from_slice(&text)
        .map_err(|source| StoreError::Damaged { path: path.to_owned(), source })?;
    if registry.is_known_version() { Ok(registry) } else { Err(StoreError::Newer { path: path.to_owned() }) }
}

/// Replaces the file.
pub(super) fn keep(path: &Path, registry: &Registry) -> Result<(), StoreError> {
    let write = |source| StoreError::Write { path: path.to_owned(), source };
    let text = serde_json::to_vec_pretty(registry).map_err(|error| write(error.into()))?;
    secret_file::replace(path, &text).map_err(write)
}
