//! Errors as they are shown: one line.

use std::error::Error;

/// The error and its causes: `a: b: c`. A cause whose text the one before holds already is left out, as some libraries
/// print their cause as part of their own text.
pub fn chain(error: &dyn Error) -> String {
    follow(error.to_string(), error.source(), |_| None)
}

/// The same for errors of a library whose text is not what is to be shown: where `whole` gives a text, it takes the place
/// of the error and of all its causes.
pub fn chain_by(
    error: &(dyn Error + 'static),
    whole: impl Fn(&(dyn Error + 'static)) -> Option<String>,
) -> String {
    match whole(error) {
        Some(text) => text,
        None => follow(error.to_string(), error.source(), whole),
    }
}

fn follow(
    mut text: String,
    mut next: Option<&(dyn Error + 'static)>,
    whole: impl Fn(&(dyn Error + 'static)) -> Option<String>,
) -> String {
    let mut last = text.clone();
    while let Some(cause) = next {
        let told = whole(cause);
        next = if told.is_some() { None } else { cause.source() };
        let said = told.unwrap_or_else(|| cause.to_string());
        if !last.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
            last = said;
        }
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
