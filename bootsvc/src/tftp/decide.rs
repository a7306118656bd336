//! Which file a read request means: a pure function of the path.

use crate::loaders::Loader;

/// Name that iPXE asks for by itself, in the directory of its loader or at the root.
const AUTOEXEC: &str = "autoexec.ipxe";

/// A file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// The boot script, made for the address the client asked.
    Script,
    Loader(Loader),
}

impl File {
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
    // Firmware writes either slash, in upper case at times, and below a directory that another server had.
    let path = path.replace('\\', "/").to_ascii_lowercase();
    let mut components = path.split('/').filter(|component| !matches!(*component, "" | "."));
    let name = components.next_back()?;
    if components.any(|component| component == "..") {
        return None;
    }
    match name {
        AUTOEXEC => Some(File::Script),
        name => Loader::from_file_name(name).map(File::Loader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_loader_however_firmware_writes_its_name() {
        for path in [
            "snp.efi",
            "/snp.efi",
            "\\snp.efi",
            "SNP.EFI",
            "/tftpboot/snp.efi",
            "tftpboot\\x86_64\\Snp.efi",
            "/tftp/./snp.efi",
        ] {
            assert_eq!(find(path), Some(File::Loader(Loader::SnpX86)), "{path}");
        }
        assert_eq!(find("/tftpboot/undionly.kpxe.0"), Some(File::Loader(Loader::Undionly)));
        assert_eq!(find("any/where/AutoExec.ipxe"), Some(File::Script));
        for path in ["", "/", "..", "../snp.efi", "a/../snp.efi", "snp.efi/", "snp.efi/x", "etc/passwd"] {
            let expected = (path == "snp.efi/").then_some(File::Loader(Loader::SnpX86));
            assert_eq!(find(path), expected, "{path}");
        }
    }
}
