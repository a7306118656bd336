//! Looks at the files of an Environment, and says what has to be done about each.
//!
//! Never believes a status or a record alone: a file counts by its content. Digests are remembered by the
//! file's marks, so that a large file is read once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bloomery_api::Environment;
use bloomery_api::condition::ConditionStatus;
use bloomery_api::environment::{INITRD_FILE, KERNEL_FILE};
use bloomery_platform::chain;
use parking_lot::Mutex;

use super::downloads::State;
use crate::download::place::{Place, Record, Stamp};
use crate::download::source::{SHA512_DIGITS, Source, is_sha512};
use crate::download::{Job, digest_of};
use crate::reconcile::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is here and it is the right one.
    Verified,
    /// It is not here, or what is here comes from elsewhere and serves until it is replaced.
    Missing,
    /// Its SHA-512 is not the one asked for, or not the one it had when it was put here.
    Mismatch { wanted: String, actual: String },
}

/// How an asset stands, for the status and the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AssetState {
    Here {
        /// Its size and SHA-512, when it was brought just now.
        brought: Option<(u64, String)>,
    },
    /// It will be here.
    Coming(State),
    /// What was here was not the right one and is gone; it will be fetched.
    Removed { wanted: String, actual: String },
    /// It is fetched when a machine waits for it, and none does.
    NotAskedFor,
    /// It can never be here before the Environment is changed.
    Unusable { problem: String },
}

/// An asset that an Environment asks for; one without URL is not asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// File name in the Environment's directory.
    pub(super) file: &'static str,
    pub(super) url: String,
    /// SHA-512 asked for, or nothing.
    pub(super) sha512: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asset {
    pub(super) wanted: Wanted,
    pub(super) standing: AssetState,
}

pub(super) fn wanted(environment: &Environment) -> Vec<Wanted> {
    let kernel = &environment.spec.kernel;
    let initrd = &environment.spec.initrd;
    [(KERNEL_FILE, &kernel.url, &kernel.sha512), (INITRD_FILE, &initrd.url, &initrd.sha512)]
        .into_iter()
        .filter(|(_, url, _)| !url.is_empty())
        .map(|(file, url, sha512)| Wanted { file, url: url.clone(), sha512: sha512.clone() })
        .collect()
}

/// The job of bringing an asset, or why there can be none.
pub(super) fn job(root: &Path, assets: &Path, name: &str, wanted: &Wanted) -> Result<Job, String> {
    let Wanted { file, url, sha512 } = wanted;
    if !sha512.is_empty() && !is_sha512(sha512) {
        return Err(format!("its sha512 is not {SHA512_DIGITS} hexadecimal digits"));
    }
    let source = Source::parse(url, assets).map_err(|error| chain(&error))?;
    let place = Place::new(root, name, file).ok_or("the Environment's name makes no directory")?;
    Ok(Job { text: url.clone(), source, sha512: sha512.clone(), place, elsewhere: Vec::new() })
}

/// Where else files of this root may be that come from the same URL.
pub(super) fn elsewhere(root: &Path, own: &Place) -> Vec<Place> {
    let names = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .flat_map(|name| [KERNEL_FILE, INITRD_FILE].map(|file| Place::new(root, &name, file)))
        .flatten()
        .filter(|place| place != own)
        .collect()
}

#[derive(Clone, Debug, Default)]
pub(super) struct Digests(Arc<Mutex<HashMap<PathBuf, (Stamp, String)>>>);

/// Looks at a file. Runs on a thread for blocking work: reading it takes a while.
pub(super) async fn inspect(
    job: &Job,
    source: Option<Stamp>,
    is_known: bool,
    digests: &Digests,
) -> Result<Finding, Error> {
    let (job, digests) = (job.clone(), digests.clone());
    let path = job.place.path();
    let failed = |source| Error::File { path: path.display().to_string(), source };
    tokio::task::spawn_blocking(move || look(&job, source.as_ref(), is_known, &digests))
        .await
        .map_err(|error| failed(std::io::Error::other(error)))?
        .map_err(failed)
}

/// `source` is what the asset's source looks like now, where that can be told; `is_known` says that the file
/// was seen here under this URL before there were records.
fn look(job: &Job, source: Option<&Stamp>, is_known: bool, digests: &Digests) -> std::io::Result<Finding> {
    let Some(actual) = digests.of(&job.place.path())? else { return Ok(Finding::Missing) };
    let mismatch = |wanted: &str| Finding::Mismatch { wanted: wanted.to_owned(), actual: actual.clone() };
    let is_asked_for = job.sha512.is_empty() || actual.eq_ignore_ascii_case(&job.sha512);
    match job.place.record() {
        Some(record) if record.url == job.text => {
            let is_outdated = source.is_some() && record.copied_from.as_ref() != source;
            Ok(match () {
                () if actual != record.sha512 => mismatch(&record.sha512),
                () if !is_asked_for => mismatch(&job.sha512),
                () if is_outdated && job.sha512.is_empty() => Finding::Missing,
                () => Finding::Verified,
            })
        }
        // The content is what is asked for, whoever put it here.
        _ if is_asked_for && (!job.sha512.is_empty() || is_known) => {
            let url = job.text.clone();
            let record = Record { url, sha512: actual.clone(), copied_from: source.cloned() };
            job.place.write_record(&record).map_err(std::io::Error::other)?;
            Ok(Finding::Verified)
        }
        _ => Ok(Finding::Missing),
    }
}

/// True when the status says that this URL's file was here.
pub(super) fn was_ready(environment: &Environment, wanted: &Wanted) -> bool {
    environment.status.iter().flat_map(|status| &status.conditions).any(|condition| {
        condition.url == wanted.url
            && condition.status == ConditionStatus::True
            && condition.sha512 == wanted.sha512
    })
}

impl Digests {
    /// The digest of a regular file that is not empty.
    fn of(&self, path: &Path) -> std::io::Result<Option<String>> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() && metadata.len() > 0 => metadata,
            Ok(_) => return Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let stamp = Stamp::of(&metadata);
        let known = self.0.lock().get(path).cloned();
        if let Some((_, digest)) = known.filter(|(known, _)| *known == stamp) {
            return Ok(Some(digest));
        }
        let digest = digest_of(path)?;
        self.0.lock().insert(path.to_owned(), (stamp, digest.clone()));
        Ok(Some(digest))
    }

    /// Forgets the files below a directory that is gone.
    pub(super) fn forget(&self, directory: &Path) {
        self.0.lock().retain(|path, _| !path.starts_with(directory));
    }
}

#[cfg(test)]
mod tests;
