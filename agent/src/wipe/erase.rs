//! Erasing one disk, fast or in full, and making sure that it is erased.
//!
//! It must never believe a disk: what counts is what is read back afterwards. It must look whether it is to stop at
//! least after every chunk.

use std::io;
use std::ops::Range;

use bloomery_sys::nvme::{self, SanitizeState};

use super::medium::Medium;
use super::method::Method;
use crate::disks::ranges;

/// Discards and zeroes go out in pieces of this size: a second or so on a slow disk.
const CHUNK: u64 = 64 << 20;
/// Discards are quick even where zeroes are not.
const DISCARD_CHUNK: u64 = 1 << 30;
/// What a sanitize counts to.
const SANITIZE_WHOLE: u64 = 1 << 16;

/// Who is told how far it is, and says whether to go on.
pub trait Progress {
    /// This way is tried now, from the start of the disk.
    fn method(&self, name: &str);
    /// So many bytes are done in this way.
    fn done(&self, bytes: u64);
    fn is_cancelled(&self) -> bool;
}

/// Why a disk is not erased.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The agent ends, or nobody waits any more.
    #[error("failed to finish: stopped on the way")]
    Cancelled,
    #[error("failed to erase it at byte {at} ({method})")]
    Write {
        method: &'static str,
        /// First byte of the request.
        at: u64,
        source: io::Error,
    },
    #[error("failed to make it erase itself ({method})")]
    Itself { method: &'static str, source: nvme::Error },
    #[error("failed to make it erase itself ({method}): it ended as {state:?}")]
    Sanitize { method: &'static str, state: SanitizeState },
    /// Data may be in a cache still.
    #[error("failed to flush it")]
    Flush(#[source] io::Error),
    #[error("failed to read it back")]
    Read(#[source] io::Error),
    /// It was said to be erased, and is not.
    #[error("failed to find it erased: byte {at} is not zero")]
    NotZero { at: u64 },
    #[error("failed to erase it in any way: {reasons}")]
    AllFailed {
        /// Each with why.
        reasons: String,
    },
}

/// Discards all, then zeroes both ends, the partitions' ends and the places of known copies.
pub fn fast(
    medium: &mut impl Medium,
    partitions: &[Range<u64>],
    progress: &impl Progress,
) -> Result<(), Error> {
    let size = medium.size();
    if medium.discards() {
        progress.method("discard, zeroes at the ends");
        match chunks(size, DISCARD_CHUNK, progress, "discard", |range| medium.discard(range)) {
            // A disk that does not take it is none the worse for it: the zeroes are what counts.
            Ok(()) | Err(Error::Write { .. }) => {}
            Err(error) => return Err(error),
        }
    } else {
        progress.method("zeroes at the ends");
    }
    let places = ranges::signatures(size, partitions);
    for range in &places {
        stop_if_cancelled(progress)?;
        let failed = |source| Error::Write { method: "zeroes", at: range.start, source };
        medium.write_zeroes(range).map_err(failed)?;
    }
    settle(medium)?;
    verify(medium, &places, progress)?;
    progress.done(size);
    Ok(())
}

/// Erases every byte, in the first way that works.
pub fn full(medium: &mut impl Medium, progress: &impl Progress) -> Result<(), Error> {
    let size = medium.size();
    let mut reasons = Vec::new();
    for method in medium.methods() {
        progress.method(method.name());
        progress.done(0);
        let outcome = apply(medium, method, progress).and_then(|()| {
            settle(medium)?;
            verify(medium, &ranges::samples(size, medium.sector(), jitter()), progress)
        });
        match outcome {
            Ok(()) => {
                progress.done(size);
                return Ok(());
            }
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => {
                let error = bloomery_base::chain(&error);
                tracing::info!(method = method.name(), %error, "next way");
                reasons.push(error);
            }
        }
    }
    reasons.dedup();
    Err(Error::AllFailed { reasons: reasons.join("; ") })
}

fn apply(medium: &mut impl Medium, method: Method, progress: &impl Progress) -> Result<(), Error> {
    let (size, name) = (medium.size(), method.name());
    match method {
        Method::Format(erase) => {
            medium.format(erase).map_err(|source| Error::Itself { method: name, source })
        }
        Method::Sanitize(action) => {
            let mut tell = |share: u16| {
                progress.done(share_of(size, share));
                !progress.is_cancelled()
            };
            match medium.sanitize(action, &mut tell) {
                Ok(SanitizeState::Done) => Ok(()),
                Ok(SanitizeState::Running(_)) => Err(Error::Cancelled),
                Ok(state) => Err(Error::Sanitize { method: name, state }),
                Err(source) => Err(Error::Itself { method: name, source }),
            }
        }
        Method::SecureDiscard => {
            chunks(size, DISCARD_CHUNK, progress, name, |range| medium.discard_securely(range))
        }
        Method::Discard => chunks(size, DISCARD_CHUNK, progress, name, |range| medium.discard(range)),
        Method::ZeroOut => chunks(size, CHUNK, progress, name, |range| medium.zero_out(range)),
        Method::Write => chunks(size, CHUNK, progress, name, |range| medium.write_zeroes(range)),
    }
}

/// So many of 65536 parts of the size.
fn share_of(size: u64, share: u16) -> u64 {
    let done = u128::from(size) * u128::from(share) / u128::from(SANITIZE_WHOLE);
    u64::try_from(done).unwrap_or(size)
}

/// The whole disk, chunk by chunk.
fn chunks(
    size: u64,
    chunk: u64,
    progress: &impl Progress,
    method: &'static str,
    mut request: impl FnMut(&Range<u64>) -> io::Result<()>,
) -> Result<(), Error> {
    let mut at = 0;
    while at < size {
        stop_if_cancelled(progress)?;
        let end = at.saturating_add(chunk).min(size);
        request(&(at..end)).map_err(|source| Error::Write { method, at, source })?;
        at = end;
        progress.done(at);
    }
    Ok(())
}

fn stop_if_cancelled(progress: &impl Progress) -> Result<(), Error> {
    if progress.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
}

/// Nothing of the old content is left in the kernel.
fn settle(medium: &mut impl Medium) -> Result<(), Error> {
    medium.flush().map_err(Error::Flush)?;
    // The partitions have caches of their own, which are dropped with them. Where there are none, that fails on some
    // kinds of devices; the reading back past the caches decides.
    if let Err(error) = medium.forget_partitions() {
        let error = bloomery_base::chain(&error);
        tracing::debug!(%error, "partitions not forgotten");
    }
    medium.flush().map_err(Error::Flush)
}

fn verify(medium: &mut impl Medium, ranges: &[Range<u64>], progress: &impl Progress) -> Result<(), Error> {
    for range in ranges {
        stop_if_cancelled(progress)?;
        if let Some(at) = medium.first_non_zero(range).map_err(Error::Read)? {
            return Err(Error::NotZero { at });
        }
    }
    Ok(())
}

/// Moves the samples of a check. Where the kernel has no randomness, they lie where they always do.
fn jitter() -> u64 {
    let mut bytes = [0; 8];
    match bloomery_sys::random::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests;
