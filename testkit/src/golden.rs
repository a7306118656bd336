//! What the real Talos programs gave: files beside the project's tree.

use std::path::{Path, PathBuf};

/// The folder `shared/fixtures/talos/golden`.
pub fn golden() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/talos/golden");
    assert!(path.is_dir(), "there is no {}: put the project's shared files beside its tree", path.display());
    path
}
