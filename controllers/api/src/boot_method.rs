//! How a machine that was sent to the network is told to boot from its disk.
//!
//! Never decides which machine boots from disk: see `decision`.

pub use bloomery_config::BootFromDiskMethod;

/// Values a Server's `bootFromDiskMethod` may have, in the order in which error messages list them.
pub const SERVER_METHODS: [&str; 4] = ["", "ipxe-exit", "http-404", "ipxe-sanboot"];
/// Values a Server's `pxeMode` may have, in the order in which error messages list them.
pub const PXE_MODES: [&str; 3] = ["", "bios", "uefi"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lenient_and_options_strict() {
        assert_eq!(BootFromDiskMethod::from_field(""), None);
        assert_eq!(BootFromDiskMethod::from_field("explode"), Some(BootFromDiskMethod::IpxeExit));
        assert!(BootFromDiskMethod::parse("explode").is_err());
        for word in &SERVER_METHODS[1..] {
            assert_eq!(BootFromDiskMethod::parse(word).unwrap().as_str(), *word);
            assert_eq!(BootFromDiskMethod::from_field(word).unwrap().as_str(), *word);
        }
    }
}
