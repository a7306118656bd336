//! Prints an error with its causes on one line: "a: b: c".
//!
//! Never prints a cause twice, although some libraries put it into their own text as well.

use std::error::Error;
use std::fmt::{Display, Formatter, Result};

/// Shows an error and all its causes.
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        let mut text = self.0.to_string();
        formatter.write_str(&text)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let next = error.to_string();
            if !text.contains(&next) {
                write!(formatter, ": {next}")?;
                text = next;
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        #[source]
        source: Option<Box<Link>>,
    }

    #[test]
    fn causes_follow_once_each() {
        let inner = Link { text: "connection refused", source: None };
        let middle = Link { text: "service error: connection refused", source: Some(Box::new(inner)) };
        let outer = Link { text: "failed to list", source: Some(Box::new(middle)) };
        assert_eq!(ErrorChain(&outer).to_string(), "failed to list: service error: connection refused");
    }
}
