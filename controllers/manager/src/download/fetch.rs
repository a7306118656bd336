//! One try to bring one file: link it if it is here already, else copy or transfer it, check it, put it in place.
//!
//! Never puts anything in place that is not whole, synced and of the SHA-512 that is asked for.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha512};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::partial::{self, Partial};
use super::place::{Place, Record, Stamp};
use super::source::Source;
use super::transfer::Transfer;
use super::{Error, Limits, Progress, Trust, local, sniff};

const CHUNK: usize = 1 << 20;

/// What is to be brought, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The URL as it was written.
    pub text: String,
    /// What it means.
    pub source: Source,
    /// SHA-512 asked for, or nothing.
    pub sha512: String,
    pub place: Place,
    /// Where else the same file may be already: files and what they are said to be.
    pub elsewhere: Vec<Place>,
}

impl Job {
    /// The SHA-512 that the URL must give because it gave it first. A SHA-512 that is asked for counts in its place, and
    /// an uploaded file changes with the upload of an administrator.
    fn pinned(&self) -> Result<Option<String>, Error> {
        match self.source {
            Source::Web(_) if self.sha512.is_empty() => self.place.pinned(&self.text),
            Source::Web(_) | Source::Asset(_) => Ok(None),
        }
    }

    /// Remembers what the URL gave.
    fn pin(&self, sha512: &str) -> Result<(), Error> {
        match self.source {
            Source::Web(_) => self.place.pin(&self.text, sha512),
            Source::Asset(_) => Ok(()),
        }
    }

    /// Fails on content that nothing was said of and that cannot be the right one.
    fn accept_unchecked(&self, part: &Path, actual: &str) -> Result<(), Error> {
        if !self.sha512.is_empty() {
            return Ok(());
        }
        let url = || self.text.clone();
        if let Some(problem) = sniff::text_in(part).map_err(Error::file("read", part))? {
            return Err(Error::NotAnAsset { url: url(), problem });
        }
        match self.pinned()? {
            Some(pinned) if pinned != actual => {
                Err(Error::Changed { url: url(), pinned, actual: actual.to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub size: u64,
    pub sha512: String,
    /// True when it was here already, for another Environment.
    pub linked: bool,
}

#[derive(Clone, Debug)]
pub struct Fetcher {
    pub trust: Trust,
    pub limits: Limits,
    /// Directory of `file:` URLs.
    pub assets: PathBuf,
}

impl Fetcher {
    /// The marks of the asset that a source names; nothing for a web server's file.
    pub fn stamp(&self, source: &Source) -> Option<Stamp> {
        match source {
            Source::Web(_) => None,
            Source::Asset(path) => local::stamp(&self.assets, path).ok(),
        }
    }

    /// One try. A `stop` ends a transfer but nothing that works on files: what comes after finds them whole.
    pub async fn fetch(
        &self,
        job: &Job,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Placed, Error> {
        let (fetcher, task) = (self.clone(), job.clone());
        let path = job.place.path();
        let linked = blocking(&path, move || fetcher.link(&task)).await?;
        if let Some(placed) = linked {
            return Ok(placed);
        }
        let (fetcher, task) = (self.clone(), job.clone());
        match &job.source {
            Source::Asset(relative) => {
                let relative = relative.clone();
                blocking(&path, move || fetcher.copy(&task, &relative)).await
            }
            Source::Web(url) => {
                self.transfer(job, url, progress, stop).await?;
                blocking(&path, move || finish(&task, None)).await
            }
        }
    }

    /// Brings the part of a job to its end.
    async fn transfer(
        &self,
        job: &Job,
        url: &Url,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let mut partial = Partial::open(&job.place, &job.text).await?;
        let (trust, limits) = (&self.trust, &self.limits);
        let transfer = Transfer { trust, limits, url, is_checked: !job.sha512.is_empty(), progress };
        let bounded = tokio::time::timeout(limits.whole, transfer.run(&mut partial));
        let outcome = match stop.run_until_cancelled(bounded).await {
            Some(Ok(outcome)) => return outcome,
            Some(Err(_)) => Error::Slow { url: url.to_string(), limit: limits.whole },
            None => Error::Unwanted,
        };
        // What came counts for the next try.
        partial.sync().await?;
        Err(outcome)
    }

    /// Links the file if it is here already under another name.
    fn link(&self, job: &Job) -> Result<Option<Placed>, Error> {
        let current = self.stamp(&job.source);
        let pinned = job.pinned()?;
        for other in &job.elsewhere {
            let Some(record) = other.record() else { continue };
            let same = record.url == job.text
                && record.copied_from == current
                && (job.sha512.is_empty() || record.sha512.eq_ignore_ascii_case(&job.sha512))
                && pinned.as_ref().is_none_or(|pinned| *pinned == record.sha512);
            if !same || digest_of(&other.path()).ok().as_ref() != Some(&record.sha512) {
                continue;
            }
            job.place.prepare()?;
            partial::discard(&job.place)?;
            let part = job.place.part();
            // Another file system cannot be linked to; then the file is fetched.
            if std::fs::hard_link(other.path(), &part).is_err() {
                continue;
            }
            let size = std::fs::metadata(&part).map_err(Error::file("inspect", &part))?.len();
            job.pin(&record.sha512)?;
            job.place.install(&part, &record)?;
            return Ok(Some(Placed { size, sha512: record.sha512, linked: true }));
        }
        Ok(None)
    }

    fn copy(&self, job: &Job, relative: &Path) -> Result<Placed, Error> {
        job.place.prepare()?;
        partial::discard(&job.place)?;
        let Ok(url) = Url::parse(&job.text) else {
            return Err(Error::Answer { url: job.text.clone(), problem: "it is no URL" });
        };
        let directory = job.place.directory().to_owned();
        let accept = |size| self.limits.check(&url, &directory, size, 0);
        let stamp = local::copy(&self.assets, relative, &job.place, accept)?;
        finish(job, Some(stamp))
    }
}

/// Checks and syncs the complete part, and puts it in place.
fn finish(job: &Job, copied_from: Option<Stamp>) -> Result<Placed, Error> {
    let part = job.place.part();
    let actual = digest_of(&part).map_err(Error::file("read", &part))?;
    if !job.sha512.is_empty() && !actual.eq_ignore_ascii_case(&job.sha512) {
        partial::discard(&job.place)?;
        return Err(Error::Mismatch { url: job.text.clone(), wanted: job.sha512.clone(), actual });
    }
    if let Err(refusal) = job.accept_unchecked(&part, &actual) {
        partial::discard(&job.place)?;
        return Err(refusal);
    }
    let file = File::open(&part).map_err(Error::file("open", &part))?;
    file.sync_all().map_err(Error::file("sync", &part))?;
    let size = file.metadata().map_err(Error::file("inspect", &part))?.len();
    let record = Record { url: job.text.clone(), sha512: actual.clone(), copied_from };
    job.pin(&actual)?;
    job.place.install(&part, &record)?;
    Ok(Placed { size, sha512: actual, linked: false })
}

/// The SHA-512 of a file in hexadecimal.
pub fn digest_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
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
    Ok(format!("{:x}", hasher.finalize()))
}

/// Runs work on a thread for it, so that it does not hold up others.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Lost { path: path.to_owned() })?
}
