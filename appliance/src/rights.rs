//! What the Kubernetes API lets a pairing do, as PID 1 found out, remembered for a moment.
//!
//! Both ports ask the same authority: a pairing without an administrator's rights on 6443 has none on 8443.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bloomery_pairing::local::{self, Answer, Question, Rights};
use tokio::time::Instant;

/// An upload asks for every piece; the API server is not to notice.
const KEPT: Duration = Duration::from_secs(10);
/// An API server that is down is to be noticed coming back.
const KEPT_UNREACHABLE: Duration = Duration::from_secs(2);
/// More pairings than there can be.
const MAX_KEPT: usize = 256;

/// Answers that are still fresh.
#[derive(Debug, Default)]
pub(crate) struct RightsCache(Mutex<HashMap<String, (Rights, Instant)>>);

impl RightsCache {
    /// What the pairing may do. An authority that cannot be asked counts as an API that cannot be reached.
    pub(crate) async fn of(&self, id: &str, authority: &Path) -> Rights {
        let now = Instant::now();
        if let Some(rights) = self.fresh(id, now) {
            return rights;
        }
        let rights = match local::ask(authority, &Question::Rights { caller: id.to_owned() }).await {
            Ok(Answer::Rights { rights }) => rights,
            Ok(_) => Rights::Unreachable,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "failed to ask for rights");
                Rights::Unreachable
            }
        };
        self.keep(id, rights, now);
        rights
    }

    fn fresh(&self, id: &str, now: Instant) -> Option<Rights> {
        let kept = self.0.lock();
        kept.get(id).filter(|(_, until)| *until > now).map(|(rights, _)| *rights)
    }

    fn keep(&self, id: &str, rights: Rights, now: Instant) {
        let until = match rights {
            Rights::Full => now + KEPT,
            Rights::UnknownAuthority | Rights::Unreachable => now + KEPT_UNREACHABLE,
            // A refusal is never older than its question.
            Rights::Less => return,
        };
        let mut kept = self.0.lock();
        kept.retain(|_, (_, until)| *until > now);
        if kept.len() < MAX_KEPT {
            kept.insert(id.to_owned(), (rights, until));
        }
    }
}
