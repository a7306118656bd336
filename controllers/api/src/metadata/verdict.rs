//! Whether a machine can use the configuration that was made for it, as Talos's own validator says.

use serde::{Deserialize, Serialize};

/// What Talos says where no disk to install to is named.
const NO_DISK: [&str; 2] = ["install disk or diskSelector", "install instructions are required"];
/// What it says of a document and a section of the first one that both set the same thing.
const CONFLICT: [&str; 3] = ["v1alpha1 config", "both v1alpha1 and", "conflict"];

/// What speaks against a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Flaw {
    /// No disk to install to is named.
    NoInstallDisk,
    /// Two documents say the same thing.
    DocumentsInConflict,
    /// Talos refuses it for another reason.
    Refused,
}

impl Flaw {
    /// One word for conditions.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoInstallDisk => "NoInstallDisk",
            Self::DocumentsInConflict => "DocumentsInConflict",
            Self::Refused => "ConfigurationInvalid",
        }
    }

    /// What ends it.
    const fn remedy(self) -> &'static str {
        match self {
            Self::NoInstallDisk => {
                "; name the disk in a patch of the Server, its class or the cluster: machine: {install: {disk: /dev/sda}}"
            }
            Self::DocumentsInConflict => "; take one of the two out of the patches",
            Self::Refused => "",
        }
    }
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What speaks against it, and Talos's own words; `None` where a machine can use it.
    pub flaw: Option<(Flaw, String)>,
}

impl Verdict {
    /// A machine can use it.
    pub const GOOD: Self = Self { flaw: None };

    /// Of what the validator says: its errors, or why it could not read the text at all.
    pub fn of(is_valid: bool, errors: &[String], load_error: &str) -> Self {
        if is_valid && errors.is_empty() && load_error.is_empty() {
            return Self::GOOD;
        }
        let said = if load_error.is_empty() { errors.join("; ") } else { load_error.trim().to_owned() };
        let any = |words: &[&str]| errors.iter().any(|error| words.iter().any(|word| error.contains(word)));
        let flaw = if any(&NO_DISK) {
            Flaw::NoInstallDisk
        } else if any(&CONFLICT) {
            Flaw::DocumentsInConflict
        } else {
            Flaw::Refused
        };
        Self { flaw: Some((flaw, said)) }
    }

    /// Reason and message for a person; `None` where a machine can use it.
    pub fn told(&self) -> Option<(&'static str, String)> {
        let (flaw, said) = self.flaw.as_ref()?;
        let message = format!("the machine configuration is not valid: {said}{}", flaw.remedy());
        Some((flaw.reason(), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_talos_says_becomes_one_word() {
        for (errors, expected) in [
            (&["either install disk or diskSelector should be defined"][..], "NoInstallDisk"),
            (&["install instructions are required in \"metal\" mode"], "NoInstallDisk"),
            (&["static hostname is already set in v1alpha1 config"], "DocumentsInConflict"),
            (
                &["time servers cannot be specified in both v1alpha1 and new-style configuration"],
                "DocumentsInConflict",
            ),
            (&["unknown machine type \"master\""], "ConfigurationInvalid"),
            (&[], "ConfigurationInvalid"),
        ] {
            let errors: Vec<String> = errors.iter().map(|error| (*error).to_owned()).collect();
            let (reason, message) = Verdict::of(false, &errors, "").told().unwrap();
            assert_eq!(reason, expected, "{errors:?}");
            assert!(errors.iter().all(|error| message.contains(error)), "{message}");
        }
        assert_eq!(Verdict::of(true, &[], "").told(), None);
        let unread = Verdict::of(false, &[], "expected a YAML document at line 1\n");
        assert!(unread.told().unwrap().1.ends_with("expected a YAML document at line 1"));
        // Contradictions count as a no.
        assert!(Verdict::of(true, &["no".to_owned()], "").told().is_some());
        assert!(Verdict::of(false, &[], "").told().is_some());
    }
}
