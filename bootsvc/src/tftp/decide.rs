//! Which file a read request means: a pure function of the path.

use crate::loaders::Loader;

/// Name that iPXE asks for by itself, in the directory of its loader or at the root.
const AUTOEXEC: &str = "autoexec.ipxe";

/// A file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// The boot script, made for the address the client asked.
    Script,
    /// An iPXE binary.
    Loader(Loader),
}

impl File {
    /// Its name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Script => AUTOEXEC,
            Self::Loader(loader) => loader.file_name(),
        }
    }
}

/// Finds the file for a path; none means "file not found", whatever the reason: what is not on
/// the list does not exist.
pub fn find(path: &str) -> Option<File> {
    // Firmware writes either slash, and with or without one in front.
    let path = path.replace('\\', "/");
    let components: Vec<&str> = path.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
    match components.as_slice() {
        [.., AUTOEXEC] => Some(File::Script),
        [name] => Loader::from_file_name(name).map(File::Loader),
        _ => None,
    }
}
