//! Errors as they are shown: one line.

use std::error::Error;

/// The error and its causes: `a: b: c`. A cause whose text the one before holds already is left out, as some libraries
/// print their cause as part of their own text.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !last.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
            last = said;
        }
        next = cause.source();
    }
    text
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

    fn link(text: &'static str, source: Option<Link>) -> Link {
        Link { text, source: source.map(Box::new) }
    }

    #[test]
    fn causes_follow_once_each() {
        let refused = || link("connection refused", None);
        assert_eq!(chain(&refused()), "connection refused");
        let wrapped = link("service error: connection refused", Some(refused()));
        assert_eq!(
            chain(&link("failed to list", Some(wrapped))),
            "failed to list: service error: connection refused"
        );
        let twice = link("failed to ask", Some(link("connection refused", Some(refused()))));
        assert_eq!(chain(&twice), "failed to ask: connection refused");
    }
}
