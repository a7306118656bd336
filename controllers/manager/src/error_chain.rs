//! Prints an error with its causes on one line: "a: b: c".
//!
//! Never prints a cause twice, although some libraries put it into their own text as well.

use std::error::Error;
use std::fmt::{Display, Formatter, Result};

use kube::core::Status;

/// Shows an error and all its causes.
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        let mut text = text_of(self.0);
        formatter.write_str(&text)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let next = text_of(error);
            if !text.contains(&next) {
                write!(formatter, ": {next}")?;
                text = next;
            }
            // The API server's answer says it all.
            cause = if answer(error).is_some() { None } else { error.source() };
        }
        Ok(())
    }
}

/// An error's own text; of a refusal by the API server its message and code, without the debug form.
fn text_of(error: &(dyn Error + 'static)) -> String {
    match answer(error) {
        Some(status) => format!("{} (HTTP {})", status.message, status.code),
        None => error.to_string(),
    }
}

/// The API server's answer, if that is what the error is.
fn answer<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Status> {
    let boxed = || error.downcast_ref::<Box<kube::Error>>().map(Box::as_ref);
    match error.downcast_ref::<kube::Error>().or_else(boxed) {
        Some(kube::Error::Api(status)) => Some(status.as_ref()),
        Some(_) | None => None,
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
    fn a_refusal_shows_the_servers_message_once() {
        let status = Status::failure("servers is forbidden", "Forbidden").with_code(403);
        let source = Box::new(kube::Error::Api(Box::new(status)));
        let error = crate::reconcile::Error::Api { operation: "get", object: "Server a".to_owned(), source };
        assert_eq!(ErrorChain(&error).to_string(), "failed to get Server a: servers is forbidden (HTTP 403)");
    }

    #[test]
    fn causes_follow_once_each() {
        let inner = Link { text: "connection refused", source: None };
        let middle = Link { text: "service error: connection refused", source: Some(Box::new(inner)) };
        let outer = Link { text: "failed to list", source: Some(Box::new(middle)) };
        assert_eq!(ErrorChain(&outer).to_string(), "failed to list: service error: connection refused");
    }
}
