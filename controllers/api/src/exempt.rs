//! Disks for which the owner takes the responsibility: never wiped, and no reason to call a machine unclean.
//!
//! Duty: the annotation [`EXEMPT_DISKS_ANNOTATION`], read with an error that says where and what to do.
//! Never exempts a disk because a text could not be read, and never by an empty model or serial number.

use serde::{Deserialize, Serialize};

use crate::hardware::StorageDevice;
use crate::server::Server;

/// Annotation of a Server with a JSON list of [`ExemptDisk`].
pub const EXEMPT_DISKS_ANNOTATION: &str = "bloomery.dev/exempt-disks";
/// Most disks that one Server may exempt.
pub const MOST: usize = 64;

/// One disk, by both of what it says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExemptDisk {
    /// Model, as the inventory's `productName`.
    pub model: String,
    /// Serial number, as the inventory's `serialNumber`; absent or empty for a disk that has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub serial: String,
}

/// All exempt disks of a Server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExemptDisks(Vec<ExemptDisk>);

/// Why the annotation is of no use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum ExemptError {
    #[error(
        "failed to read annotation {EXEMPT_DISKS_ANNOTATION}: write a JSON list such as \
         [{{\"model\":\"LUN 00 Media 0\",\"serial\":\"000002660A01\"}}]"
    )]
    Syntax { source: serde_json::Error },
    /// A disk without a model would exempt any disk.
    #[error(
        "failed to use annotation {EXEMPT_DISKS_ANNOTATION}: entry {entry} has no model; copy productName of the disk \
         from the Server's spec.hardware.storage"
    )]
    NoModel {
        /// Its place in the list, from 1.
        entry: usize,
    },
    #[error("failed to use annotation {EXEMPT_DISKS_ANNOTATION}: {count} disks are more than {MOST}")]
    TooMany { count: usize },
}

impl ExemptDisks {
    /// Reads the annotation's text.
    pub fn parse(text: &str) -> Result<Self, ExemptError> {
        let disks: Vec<ExemptDisk> =
            serde_json::from_str(text).map_err(|source| ExemptError::Syntax { source })?;
        if disks.len() > MOST {
            return Err(ExemptError::TooMany { count: disks.len() });
        }
        if let Some(index) = disks.iter().position(|disk| disk.model.trim().is_empty()) {
            return Err(ExemptError::NoModel { entry: index + 1 });
        }
        Ok(Self(disks))
    }

    /// What the Server's annotation says; none without one.
    pub fn of(server: &Server) -> Result<Self, ExemptError> {
        let annotations = server.metadata.annotations.as_ref();
        let text = annotations.and_then(|all| all.get(EXEMPT_DISKS_ANNOTATION));
        text.map_or_else(|| Ok(Self::default()), |text| Self::parse(text))
    }

    /// The same for decisions: a text that cannot be read exempts nothing.
    pub fn of_or_none(server: &Server) -> Self {
        Self::of(server).unwrap_or_default()
    }

    /// True for a disk in the list: the same model and the same serial number, spaces around them apart.
    pub fn covers(&self, disk: &StorageDevice) -> bool {
        self.covers_named(&disk.product_name, &disk.serial_number)
    }

    /// The same for a disk by its two names.
    pub fn covers_named(&self, model: &str, serial: &str) -> bool {
        self.0
            .iter()
            .any(|exempt| exempt.model.trim() == model.trim() && exempt.serial.trim() == serial.trim())
    }

    /// The disks.
    pub fn disks(&self) -> &[ExemptDisk] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServerSpec;

    #[test]
    fn a_list_exempts_exactly_its_disks() {
        let exempt =
            ExemptDisks::parse(r#"[{"model":"LUN 00 Media 0","serial":"S1"},{"model":"iLO"}]"#).unwrap();
        for (model, serial, covered) in [
            ("LUN 00 Media 0", "S1", true),
            (" LUN 00 Media 0 ", "S1 ", true),
            ("LUN 00 Media 0", "S2", false),
            ("LUN 00 Media 0", "", false),
            ("lun 00 media 0", "S1", false),
            ("iLO", "", true),
            ("iLO", "S1", false),
            ("", "", false),
        ] {
            assert_eq!(exempt.covers_named(model, serial), covered, "{model:?} {serial:?}");
        }
    }

    #[test]
    fn a_text_that_cannot_be_used_says_why_and_exempts_nothing() {
        for (text, says) in [
            ("", "write a JSON list"),
            ("{}", "write a JSON list"),
            (r#"["sda"]"#, "write a JSON list"),
            (r#"[{"model":"a","disk":"b"}]"#, "write a JSON list"),
            (r#"[{"model":"a"},{"model":" ","serial":"x"}]"#, "entry 2 has no model"),
        ] {
            let error = ExemptDisks::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            let mut server = Server::new("a", ServerSpec::default());
            server.metadata.annotations =
                Some([(EXEMPT_DISKS_ANNOTATION.to_owned(), text.to_owned())].into());
            assert_eq!(ExemptDisks::of_or_none(&server), ExemptDisks::default());
        }
        let many = format!("[{}]", vec![r#"{"model":"a"}"#; MOST + 1].join(","));
        assert!(ExemptDisks::parse(&many).unwrap_err().to_string().contains("more than 64"));
    }
}
