//! Where a file is put, and the record beside it of what it is and where it came from.
//!
//! Never a path outside its root: names that could lead there make no place.

use bloomery_base::{Replace, sync_directory};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;

/// Longest name of a Kubernetes object.
const LONGEST_NAME: usize = 253;
/// URLs of one place whose first content is remembered: a person who goes back to an older release is still protected.
const MOST_PINS: usize = 16;
/// Everyone may read what is served to everyone.
const FILE_MODE: u32 = 0o644;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    directory: PathBuf,
    file: &'static str,
}

/// Marks of a file by which a change is seen without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// What a file in its place is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub url: String,
    /// Its SHA-512 when it was put in place.
    pub sha512: String,
    /// The file it was copied from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<Stamp>,
}

/// What a URL gave when it was first fetched for a place without a SHA-512 to check it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pin {
    url: String,
    sha512: String,
}

impl Stamp {
    /// The marks of a file.
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            size: metadata.len(),
            inode: metadata.ino(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

/// True for what the API server takes as a name of an object: no name of it can lead out of a directory.
pub fn is_safe_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= LONGEST_NAME
        && name.bytes().all(|byte| plain(byte) || byte == b'-' || byte == b'.')
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
}

impl Place {
    /// `<root>/<name>/<file>`, unless the name is none that an object can have.
    pub fn new(root: &Path, name: &str, file: &'static str) -> Option<Self> {
        is_safe_name(name).then(|| Self { directory: root.join(name), file })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self) -> PathBuf {
        self.directory.join(self.file)
    }

    /// What came so far.
    pub(super) fn part(&self) -> PathBuf {
        self.directory.join(format!(".{}.part", self.file))
    }

    /// What is known of that.
    pub(super) fn notes(&self) -> PathBuf {
        self.directory.join(format!(".{}.part.json", self.file))
    }

    fn record_path(&self) -> PathBuf {
        self.directory.join(format!(".{}.source.json", self.file))
    }

    fn pins_path(&self) -> PathBuf {
        self.directory.join(format!(".{}.pins.json", self.file))
    }

    /// The SHA-512 of what this URL gave first, if it was fetched for this place before.
    ///
    /// # Errors
    /// The file of it cannot be read: then nobody can tell whether the content is another one.
    pub(super) fn pinned(&self, url: &str) -> Result<Option<String>, Error> {
        let pins = self.pins()?;
        let pinned = pins.into_iter().find(|pin| pin.url == url).map(|pin| pin.sha512);
        // Files that were brought before there were pins have their record alone.
        Ok(pinned.or_else(|| self.record().filter(|record| record.url == url).map(|record| record.sha512)))
    }

    /// Remembers what a URL gave, or should give from now on.
    pub(super) fn pin(&self, url: &str, sha512: &str) -> Result<(), Error> {
        let mut pins = self.pins()?;
        pins.retain(|pin| pin.url != url);
        pins.push(Pin { url: url.to_owned(), sha512: sha512.to_owned() });
        let surplus = pins.len().saturating_sub(MOST_PINS);
        write_json(&self.pins_path(), &pins.split_off(surplus))
    }

    fn pins(&self) -> Result<Vec<Pin>, Error> {
        let path = self.pins_path();
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(std::io::Error::from)
                .map_err(Error::file("understand", &path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::file("read", &path)(error)),
        }
    }

    /// The record, or nothing when there is none that can be read.
    pub fn record(&self) -> Option<Record> {
        std::fs::read(self.record_path()).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    pub fn write_record(&self, record: &Record) -> Result<(), Error> {
        write_json(&self.record_path(), record)
    }

    pub(super) fn prepare(&self) -> Result<(), Error> {
        std::fs::create_dir_all(&self.directory).map_err(Error::file("make", &self.directory))
    }

    /// Takes file and record away. What the URL gave first stays remembered.
    pub fn clear(&self) -> Result<(), Error> {
        remove(&self.path())?;
        remove(&self.record_path())
    }

    /// Renames a complete and synced file into place, and says what it is.
    pub(super) fn install(&self, complete: &Path, record: &Record) -> Result<(), Error> {
        let path = self.path();
        std::fs::rename(complete, &path).map_err(Error::file("put in place", &path))?;
        self.write_record(record)?;
        remove(&self.notes())?;
        sync_directory(&self.directory).map_err(Error::file("sync", &self.directory))
    }
}

/// Writes a small JSON file as a whole.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |error| Error::file("write", path)(error);
    let text = serde_json::to_vec(value).map_err(std::io::Error::from).map_err(failed)?;
    Replace::with_mode(FILE_MODE).write(path, &text).map_err(failed)
}

/// Removes a file that may be absent.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_names_of_objects_make_places() {
        for (name, safe) in [
            ("default", true),
            ("a.b-c9", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("/etc", false),
            (".hidden", false),
            ("a.", false),
            ("A", false),
            ("a\0", false),
        ] {
            assert_eq!(Place::new(Path::new("/env"), name, "vmlinuz").is_some(), safe, "{name:?}");
        }
        assert!(!is_safe_name(&"a".repeat(254)));
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_root(name in ".{0,12}") {
            if let Some(place) = Place::new(Path::new("/env"), &name, "vmlinuz") {
                prop_assert_eq!(place.directory().parent(), Some(Path::new("/env")));
                let path = place.path();
                prop_assert_eq!(path.parent(), Some(place.directory()));
            }
        }
    }

    #[test]
    fn a_record_is_read_back_and_a_broken_one_is_none() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path(), "e", "vmlinuz").unwrap();
        place.prepare().unwrap();
        assert_eq!(place.record(), None);
        let record = Record { url: "http://k".to_owned(), sha512: "00".to_owned(), copied_from: None };
        place.write_record(&record).unwrap();
        assert_eq!(place.record(), Some(record));
        std::fs::write(place.record_path(), "{").unwrap();
        assert_eq!(place.record(), None);
        place.clear().unwrap();
        place.clear().unwrap();
    }

    #[test]
    fn the_first_content_of_a_url_is_remembered_while_its_file_comes_and_goes() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path(), "e", "vmlinuz").unwrap();
        place.prepare().unwrap();
        let old = Record { url: "http://old".to_owned(), sha512: "0".to_owned(), copied_from: None };
        place.write_record(&old).unwrap();
        assert_eq!(place.pinned("http://old").unwrap().unwrap(), "0", "of before there were pins");
        assert_eq!(place.pinned("http://k").unwrap(), None);
        place.pin("http://k", "1").unwrap();
        place.clear().unwrap();
        assert_eq!(place.pinned("http://k").unwrap().unwrap(), "1");
        place.pin("http://k", "2").unwrap();
        assert_eq!(place.pinned("http://k").unwrap().unwrap(), "2");
        for number in 0..MOST_PINS {
            place.pin(&format!("http://{number}"), "3").unwrap();
        }
        assert_eq!(place.pinned("http://k").unwrap(), None, "the list is bounded");
        std::fs::write(place.pins_path(), "[").unwrap();
        assert!(place.pinned("http://0").is_err(), "what cannot be read is no leave");
    }
}
