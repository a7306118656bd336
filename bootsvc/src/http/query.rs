//! What iPXE says of its machine in the query of `/ipxe` (spec/sidero.md §3.4).
//!
//! Whatever cannot be read is left out: the answer for a machine we cannot name is decided like that
//! for one we do not know.

use bloomery_api::arch::Arch;

use crate::agent::decide::canonical_uuid;
use crate::mac;

/// The keys that the decision uses; the others are for logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// SMBIOS UUID in lower case, if it is one.
    pub uuid: Option<String>,
    /// Hardware address in colon form.
    pub mac: Option<String>,
    /// What `${buildarch}` says.
    pub arch: Arch,
    /// What `${platform}` says; upstream's script does not send it.
    pub platform: Option<Platform>,
    /// Serial number, as it was sent.
    pub serial: String,
}

/// The firmware iPXE runs on, which decides how it leaves for the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    Efi,
    Bios,
}

impl Platform {
    fn from_query(word: &str) -> Option<Self> {
        match word {
            "efi" => Some(Self::Efi),
            "pcbios" => Some(Self::Bios),
            _ => None,
        }
    }
}

impl Query {
    /// Reads the part of the URL after `?`. Of a repeated key the first counts, as in Go.
    pub fn parse(query: &str) -> Self {
        let value = |wanted: &str| {
            form_urlencoded::parse(query.as_bytes())
                .find(|(key, _)| key == wanted)
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        Self {
            uuid: canonical_uuid(&value("uuid")),
            mac: mac::normalize(&value("mac")),
            arch: Arch::from_query(&value("arch")),
            platform: Platform::from_query(&value("platform")),
            serial: value("serial"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";

    #[test]
    fn reads_what_ipxe_sends() {
        let query = Query::parse(
            "uuid=4C4C4544-0042-3110-8051-B7C04F4E3332&mac=52-54-00-77-00-01&domain=&hostname=\
             &serial=SN%200001&arch=arm64&platform=efi",
        );
        assert_eq!(
            query,
            Query {
                uuid: Some(UUID.to_owned()),
                mac: Some("52:54:00:77:00:01".to_owned()),
                arch: Arch::Arm64,
                platform: Some(Platform::Efi),
                serial: "SN 0001".to_owned(),
            }
        );
    }

    #[test]
    fn leaves_out_what_it_cannot_read() {
        for query in ["", "uuid=&mac=&arch=", "uuid=x&mac=y&arch=i386", "=&&%", "uuid=..%2F..%2Fetc"] {
            let read = Query::parse(query);
            assert_eq!((read.uuid, read.mac, read.arch), (None, None, Arch::Amd64), "{query}");
        }
        assert_eq!(Query::parse(&format!("uuid={UUID}&uuid=x")).uuid.as_deref(), Some(UUID));
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_lets_markup_through(query in ".{0,80}", uuid in "[0-9a-fA-F-]{30,40}|.{36}") {
            let read = Query::parse(&format!("uuid={uuid}&mac={query}&{query}"));
            if let Some(uuid) = read.uuid {
                proptest::prop_assert!(uuid.bytes().all(|octet| octet == b'-' || octet.is_ascii_hexdigit()));
            }
        }
    }
}
