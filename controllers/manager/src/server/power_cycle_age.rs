//! How long this process has seen the same time on record in a Server's `PowerCycle`, by a clock that cannot jump.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bloomery_api::Server;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use super::status::cycle;
use crate::table::{Key, key};

/// When each stamp was first seen.
#[derive(Debug, Default)]
pub(super) struct Stamps(Mutex<HashMap<Key, (Timestamp, Instant)>>);

impl Stamps {
    /// How long the present stamp of `server` has been seen; zero for one that is new or absent.
    pub(super) fn seen_for(&self, server: &Server, now: Instant) -> Duration {
        let object = key(server);
        let mut stamps = self.0.lock();
        let Some(stamp) = cycle(server).map(|found| found.last_transition_time.0) else {
            stamps.remove(&object);
            return Duration::ZERO;
        };
        let known = stamps.entry(object).or_insert((stamp, now));
        if known.0 != stamp {
            *known = (stamp, now);
        }
        now.saturating_duration_since(known.1)
    }

    pub(super) fn forget(&self, object: &Key) {
        self.0.lock().remove(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::condition::{Condition, Severity};
    use bloomery_api::server::POWER_CYCLE;
    use bloomery_api::{ServerSpec, ServerStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn server(second: Option<i64>) -> Server {
        let mut server = Server::new("a", ServerSpec::default());
        let conditions = second
            .map(|second| {
                let at = Time(Timestamp::from_second(second).unwrap());
                Condition::fails(POWER_CYCLE, Severity::Info, "InProgress", "x", at)
            })
            .into_iter()
            .collect();
        server.status = Some(ServerStatus { conditions, ..ServerStatus::default() });
        server
    }

    #[test]
    fn a_stamp_counts_from_when_it_was_first_seen() {
        let stamps = Stamps::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(stamps.seen_for(&server(Some(1)), at(0)), Duration::ZERO);
        assert_eq!(stamps.seen_for(&server(Some(1)), at(5)), Duration::from_secs(5));
        assert_eq!(stamps.seen_for(&server(Some(2)), at(9)), Duration::ZERO, "a heartbeat");
        assert_eq!(stamps.seen_for(&server(None), at(9)), Duration::ZERO);
        assert_eq!(stamps.seen_for(&server(Some(2)), at(20)), Duration::ZERO, "it had gone");
        stamps.forget(&key(&server(None)));
        assert_eq!(stamps.seen_for(&server(Some(2)), at(30)), Duration::ZERO);
    }
}
