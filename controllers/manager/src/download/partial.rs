//! What came of a file so far, and what must be known to go on with it.
//!
//! Never counts a byte as here that is not on the disk: after a power cut the part is cut back to what was synced.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};

use super::Error;
use super::place::{Place, remove, write_json};

/// Bytes between two syncs: what a power cut can cost.
const SYNC_EVERY: u64 = 32 << 20;
const BUFFER: usize = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) url: String,
    /// By what the server tells whether its file is still the same.
    pub(super) validator: Option<String>,
    /// Bytes of the whole, if the server said so.
    pub(super) total: Option<u64>,
    /// Bytes that are here for good.
    pub(super) synced: u64,
}

pub(super) struct Partial {
    pub(super) notes: Notes,
    path: PathBuf,
    notes_path: PathBuf,
    file: BufWriter<File>,
    written: u64,
}

impl Partial {
    /// Opens the part of a URL; a part of another URL is begun anew.
    pub(super) async fn open(place: &Place, url: &str) -> Result<Self, Error> {
        place.prepare()?;
        let (path, notes_path) = (place.part(), place.notes());
        let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let known = std::fs::read(&notes_path).ok();
        let known = known
            .and_then(|bytes| serde_json::from_slice::<Notes>(&bytes).ok())
            .filter(|notes| notes.url == url && notes.synced <= length);
        if known.is_none() {
            discard(place)?;
        }
        let notes = known.unwrap_or_else(|| Notes { url: url.to_owned(), ..Notes::default() });
        let file = open(&path).await?;
        let mut partial = Self { written: 0, path, notes_path, file, notes };
        partial.cut(partial.notes.synced).await?;
        Ok(partial)
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn restart(
        &mut self,
        validator: Option<String>,
        total: Option<u64>,
    ) -> Result<(), Error> {
        // First the notes: without them nothing of the old content is ever taken for the new one.
        remove(&self.notes_path)?;
        // Another file: a write of a try that was ended may still be under way into the old one.
        remove(&self.path)?;
        self.file = open(&self.path).await?;
        self.written = 0;
        self.notes.validator = validator;
        self.notes.total = total;
        self.notes.synced = 0;
        write_json(&self.notes_path, &self.notes)
    }

    async fn cut(&mut self, length: u64) -> Result<(), Error> {
        let failed = |operation| Error::file(operation, &self.path);
        self.file.flush().await.map_err(failed("write"))?;
        let file = self.file.get_mut();
        file.set_len(length).await.map_err(failed("truncate"))?;
        file.seek(std::io::SeekFrom::Start(length)).await.map_err(failed("seek in"))?;
        self.written = length;
        Ok(())
    }

    pub(super) async fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).await.map_err(Error::file("write", &self.path))?;
        self.written += bytes.len() as u64;
        if self.written - self.notes.synced >= SYNC_EVERY {
            self.sync().await?;
        }
        Ok(())
    }

    /// Makes what came so far last.
    pub(super) async fn sync(&mut self) -> Result<(), Error> {
        self.file.flush().await.map_err(Error::file("write", &self.path))?;
        self.file.get_ref().sync_data().await.map_err(Error::file("sync", &self.path))?;
        self.notes.synced = self.written;
        write_json(&self.notes_path, &self.notes)
    }
}

async fn open(path: &Path) -> Result<BufWriter<File>, Error> {
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o644).open(path).await;
    Ok(BufWriter::with_capacity(BUFFER, file.map_err(Error::file("open", path))?))
}

/// Takes a part and its notes away.
pub(super) fn discard(place: &Place) -> Result<(), Error> {
    remove(&place.notes())?;
    remove(&place.part())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_synced_is_there_again_and_the_rest_is_cut_off() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path(), "e", "vmlinuz").unwrap();
        let mut partial = Partial::open(&place, "u").await.unwrap();
        partial.restart(Some("\"1\"".to_owned()), Some(9)).await.unwrap();
        partial.append(b"abcd").await.unwrap();
        partial.sync().await.unwrap();
        partial.append(b"ef").await.unwrap();
        partial.file.flush().await.unwrap();
        drop(partial);
        assert_eq!(std::fs::read(place.part()).unwrap(), b"abcdef");

        let partial = Partial::open(&place, "u").await.unwrap();
        assert_eq!((partial.written(), partial.notes.total), (4, Some(9)));
        drop(partial);
        assert_eq!(std::fs::read(place.part()).unwrap(), b"abcd");

        assert_eq!(Partial::open(&place, "other").await.unwrap().written(), 0);
        assert_eq!(std::fs::read(place.part()).unwrap(), b"");
    }

    #[tokio::test]
    async fn a_part_without_notes_or_shorter_than_they_say_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path(), "e", "vmlinuz").unwrap();
        place.prepare().unwrap();
        std::fs::write(place.part(), "abc").unwrap();
        assert_eq!(Partial::open(&place, "u").await.unwrap().written(), 0);
        let notes = Notes { url: "u".to_owned(), synced: 7, ..Notes::default() };
        write_json(&place.notes(), &notes).unwrap();
        assert_eq!(Partial::open(&place, "u").await.unwrap().written(), 0);
    }
}
