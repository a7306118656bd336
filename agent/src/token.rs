//! What ties this agent to the boot that it was given; sent with every call.
//!
//! It must never be shown or logged: who has it may speak for this machine.

use tonic::metadata::{Ascii, MetadataValue};

/// The token of the kernel's command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    /// Takes what the boot script gave; `None` if it is nothing that could be sent.
    pub fn new(text: &str) -> Option<Self> {
        let mut value: MetadataValue<Ascii> = text.parse().ok().filter(|_| !text.is_empty())?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// As the metadata of a call.
    pub fn metadata(&self) -> MetadataValue<Ascii> {
        self.0.clone()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_never_shown() {
        let token = Token::new("c2VjcmV0").unwrap();
        assert!(!format!("{token:?} {:?}", token.metadata()).contains("c2Vj"));
        assert_eq!(token.metadata().to_str().unwrap(), "c2VjcmV0");
        for nothing in ["", "a\nb", "\u{7f}"] {
            assert_eq!(Token::new(nothing), None);
        }
    }
}
