//! Looks at the files of an Environment.
//!
//! Never writes them. Digests are remembered by size and time of change, so that a large file is read once.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bloomery_api::Environment;
use bloomery_api::environment::{INITRD_FILE, KERNEL_FILE};
use kube::ResourceExt;
use sha2::{Digest, Sha512};

use crate::reconcile::Error;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// What a file looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is here and it is the right one.
    Verified,
    /// It is not here.
    Missing,
    /// It has no content.
    Empty,
    /// Its SHA-512 is not the one asked for.
    Mismatch {
        /// Its SHA-512.
        actual: String,
    },
}

/// One asset of an Environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asset {
    /// File name in the Environment's directory.
    pub(super) file: &'static str,
    /// Where it comes from; an asset without one is not wanted.
    pub(super) url: String,
    /// SHA-512 asked for, or nothing.
    pub(super) sha512: String,
    /// What was found.
    pub(super) finding: Finding,
}

/// Digests by file, size and time of change.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests(Arc<Mutex<HashMap<PathBuf, Digested>>>);

/// A file's digest and what the file was when it was taken.
#[derive(Clone, Debug)]
struct Digested {
    size: u64,
    modified: SystemTime,
    digest: String,
}

/// Looks at both assets. Runs on a thread for blocking work: hashing takes a while.
pub(super) async fn inspect(
    directory: &Path,
    environment: &Environment,
    digests: &Digests,
) -> Result<Vec<Asset>, Error> {
    let directory = directory.join(environment.name_any());
    let kernel = &environment.spec.kernel;
    let initrd = &environment.spec.initrd;
    let wanted = [
        (KERNEL_FILE, kernel.url.clone(), kernel.sha512.clone()),
        (INITRD_FILE, initrd.url.clone(), initrd.sha512.clone()),
    ];
    let digests = digests.clone();
    let shown = directory.display().to_string();
    let work = tokio::task::spawn_blocking(move || {
        let look = |(file, url, sha512): (&'static str, String, String)| {
            let path = directory.join(file);
            let finding = look_at(&path, &sha512, &digests)
                .map_err(|source| Error::File { path: path.display().to_string(), source })?;
            Ok(Asset { file, url, sha512, finding })
        };
        wanted.into_iter().filter(|(_, url, _)| !url.is_empty()).map(look).collect()
    });
    work.await.unwrap_or_else(|error| Err(Error::File { path: shown, source: std::io::Error::other(error) }))
}

fn look_at(path: &Path, sha512: &str, digests: &Digests) -> std::io::Result<Finding> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Finding::Missing);
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Finding::Missing);
    }
    if metadata.len() == 0 {
        return Ok(Finding::Empty);
    }
    if sha512.is_empty() {
        return Ok(Finding::Verified);
    }
    let actual = digests.of(path, file, metadata.len(), metadata.modified()?)?;
    Ok(if actual.eq_ignore_ascii_case(sha512) { Finding::Verified } else { Finding::Mismatch { actual } })
}

impl Digests {
    fn of(
        &self,
        path: &Path,
        file: std::fs::File,
        size: u64,
        modified: SystemTime,
    ) -> std::io::Result<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(known) = known.filter(|known| known.size == size && known.modified == modified) {
            return Ok(known.digest);
        }
        let digest = sha512_of(file)?;
        let entry = Digested { size, modified, digest: digest.clone() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), entry);
        Ok(digest)
    }
}

fn sha512_of(mut file: std::fs::File) -> std::io::Result<String> {
    let mut hasher = Sha512::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut text = String::new();
    for byte in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::EnvironmentSpec;

    /// SHA-512 of "abc", from FIPS 180-2 appendix C.1.
    const ABC: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

    fn environment(sha512: &str) -> Environment {
        let mut environment = Environment::new("e", EnvironmentSpec::default());
        environment.spec.kernel.url = "http://k".to_owned();
        sha512.clone_into(&mut environment.spec.kernel.sha512);
        environment
    }

    async fn kernel(directory: &Path, sha512: &str, digests: &Digests) -> Finding {
        let assets = inspect(directory, &environment(sha512), digests).await.unwrap();
        assert_eq!(assets.len(), 1, "an asset without URL is not wanted");
        assets[0].finding.clone()
    }

    #[tokio::test]
    async fn files_are_judged_by_presence_size_and_digest() {
        let directory = tempfile::tempdir().unwrap();
        let digests = Digests::default();
        assert_eq!(kernel(directory.path(), "", &digests).await, Finding::Missing);
        std::fs::create_dir(directory.path().join("e")).unwrap();
        let file = directory.path().join("e").join(KERNEL_FILE);
        std::fs::write(&file, "").unwrap();
        assert_eq!(kernel(directory.path(), "", &digests).await, Finding::Empty);
        std::fs::write(&file, "abc").unwrap();
        assert_eq!(kernel(directory.path(), "", &digests).await, Finding::Verified);
        assert_eq!(kernel(directory.path(), &ABC.to_uppercase(), &digests).await, Finding::Verified);
        let other = "0".repeat(128);
        let mismatch = Finding::Mismatch { actual: ABC.to_owned() };
        assert_eq!(kernel(directory.path(), &other, &digests).await, mismatch);
        std::fs::write(&file, "abcd").unwrap();
        assert!(matches!(kernel(directory.path(), ABC, &digests).await, Finding::Mismatch { .. }));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(kernel(directory.path(), ABC, &digests).await, Finding::Missing);
    }
}
