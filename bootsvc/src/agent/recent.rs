//! Servers as we wrote them a moment ago, for the next call of the same machine: agents register and report their
//! addresses in one breath.
//!
//! It must never be the ground of a decision that is not written with the version of the Server it was made on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bloomery_api::Server;

/// After that the controllers have most likely written it.
const FRESH: Duration = Duration::from_secs(2);
/// Servers kept at most; a machine whose Server is not here is looked up.
const MAX: usize = 256;

/// The Servers by name, each handed out once.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<String, (Instant, Server)>>);

impl Recent {
    /// Keeps a Server as the API returned it.
    pub(super) fn put(&self, name: &str, server: Server, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX {
            all.retain(|_, (since, _)| now.saturating_duration_since(*since) < FRESH);
        }
        if all.len() < MAX {
            all.insert(name.to_owned(), (now, server));
        }
    }

    /// The Server, if it was put here a moment ago.
    pub(super) fn take(&self, name: &str, now: Instant) -> Option<Server> {
        let (since, server) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)?;
        (now.saturating_duration_since(since) < FRESH).then_some(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server::new("m", bloomery_api::ServerSpec::default())
    }

    #[test]
    fn a_server_is_handed_out_once_and_only_while_it_is_fresh() {
        let (recent, start) = (Recent::default(), Instant::now());
        recent.put("m", server(), start);
        assert!(recent.take("other", start).is_none());
        assert!(recent.take("m", start).is_some());
        assert!(recent.take("m", start).is_none());
        recent.put("m", server(), start);
        assert!(recent.take("m", start + FRESH).is_none());
    }

    #[test]
    fn a_flood_keeps_no_more_than_the_bound_and_old_ones_make_room() {
        let (recent, start) = (Recent::default(), Instant::now());
        for number in 0..2 * MAX {
            recent.put(&number.to_string(), server(), start);
        }
        assert_eq!(recent.0.lock().unwrap().len(), MAX);
        recent.put("new", server(), start + FRESH);
        assert_eq!(recent.0.lock().unwrap().len(), 1);
    }
}
