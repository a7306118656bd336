//! Errors on one line, with the API server's answers in its own words.

use std::error::Error;

use kube::core::Status;

/// The error and its causes: `a: b: c`, each said once. A refusal by the API server is shown by its message and HTTP code.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    bloomery_base::chain_by(error, |error| {
        answer(error).map(|status| format!("{} (HTTP {})", status.message, status.code))
    })
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
    #[error("failed to get Server a")]
    struct Failed(#[source] Box<kube::Error>);

    #[test]
    fn a_refusal_shows_the_servers_message_once() {
        let status = || Status::failure("servers is forbidden", "Forbidden").with_code(403);
        let refused = || kube::Error::Api(Box::new(status()));
        let text = "servers is forbidden (HTTP 403)";
        assert_eq!(chain(&refused()), text);
        assert_eq!(chain(&Failed(Box::new(refused()))), format!("failed to get Server a: {text}"));
    }
}
