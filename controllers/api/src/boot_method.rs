//! How a machine that was sent to the network is told to boot from its disk.
//!
//! Never decides which machine boots from disk: see `decision`.

/// A way back to the local disk from iPXE. Firmware differs in which of them works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootFromDiskMethod {
    /// The script `exit`: iPXE returns to the firmware.
    #[default]
    IpxeExit,
    /// HTTP 404: the boot attempt fails and the firmware goes on.
    Http404,
    /// The script `sanboot`: iPXE itself boots the first disk.
    IpxeSanboot,
}

/// Values a Server's `bootFromDiskMethod` may have, in the order in which error messages list them.
pub const SERVER_METHODS: [&str; 4] = ["", "ipxe-exit", "http-404", "ipxe-sanboot"];
/// Values a Server's `pxeMode` may have, in the order in which error messages list them.
pub const PXE_MODES: [&str; 3] = ["", "bios", "uefi"];

impl BootFromDiskMethod {
    /// The method a field names; `None` for an empty field. An unknown word is `ipxe-exit`, because a
    /// ServerClass's field is not validated and a machine must boot all the same.
    pub fn from_field(field: &str) -> Option<Self> {
        match field {
            "" => None,
            "http-404" => Some(Self::Http404),
            "ipxe-sanboot" => Some(Self::IpxeSanboot),
            _ => Some(Self::IpxeExit),
        }
    }

    /// The word used in fields and options.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IpxeExit => "ipxe-exit",
            Self::Http404 => "http-404",
            Self::IpxeSanboot => "ipxe-sanboot",
        }
    }
}

/// Error for an option that names no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read boot-from-disk method {0:?}: must be ipxe-exit, http-404 or ipxe-sanboot")]
pub struct UnknownMethod(pub String);

impl std::str::FromStr for BootFromDiskMethod {
    type Err = UnknownMethod;

    /// Strict, for options given by a person: only the three words.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "ipxe-exit" => Ok(Self::IpxeExit),
            "http-404" => Ok(Self::Http404),
            "ipxe-sanboot" => Ok(Self::IpxeSanboot),
            _ => Err(UnknownMethod(word.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lenient_and_options_strict() {
        assert_eq!(BootFromDiskMethod::from_field(""), None);
        assert_eq!(BootFromDiskMethod::from_field("explode"), Some(BootFromDiskMethod::IpxeExit));
        assert!("explode".parse::<BootFromDiskMethod>().is_err());
        for word in &SERVER_METHODS[1..] {
            assert_eq!(word.parse::<BootFromDiskMethod>().unwrap().as_str(), *word);
            assert_eq!(BootFromDiskMethod::from_field(word).unwrap().as_str(), *word);
        }
    }
}
