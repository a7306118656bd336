//! The host name. A name that DNS would refuse is refused here.

use rustix::io::Errno;

/// Linux' own limit (`__NEW_UTS_LEN`); a label of RFC 1123 is at most 63 bytes anyway.
const MAX_NAME: usize = 64;
/// RFC 1123 section 2.1 with RFC 1035 section 2.3.4.
const MAX_LABEL: usize = 63;

/// Why the host name was not set.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    /// Not a host name in the sense of RFC 1123.
    #[error("failed to set the host name: {name:?} is not made of letters, digits, dots and inner dashes")]
    Invalid { name: String },
    /// `sethostname(2)` refused.
    #[error("failed to set the host name to {name:?}")]
    Set { name: String, source: Errno },
}

/// Whether `name` is a host name: labels of letters, digits and inner dashes, joined by dots, 64 bytes at most.
pub fn is_valid_name(name: &str) -> bool {
    let label_ok = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= MAX_NAME && name.split('.').all(label_ok)
}

/// Sets the kernel's host name.
pub fn set_name(name: &str) -> Result<(), Error> {
    if !is_valid_name(name) {
        return Err(Error::Invalid { name: name.to_owned() });
    }
    rustix::system::sethostname(name.as_bytes())
        .map_err(|source| Error::Set { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::is_valid_name;

    #[test]
    fn knows_host_names() {
        for good in ["a", "bloomery", "plane-1.site.example", "3com", &"x".repeat(63)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "a_b", "ü", "a b", ".", "a.", &"x".repeat(64), "a\0b"] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }
}
