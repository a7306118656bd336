//! Removes Servers that nobody accepted and whose machines never called again ([`bloomery_api::decision::age`]).
//!
//! The limit is days of the calendar, and the clock of an appliance may be wrong: it starts without one, and SNTP puts it
//! right in one step. So nothing goes that was not seen stale for a whole day of this process by a clock that cannot
//! jump, a day in which both clocks went equally fast. A step of the clock begins that day anew, and a clock that was
//! wrong before has a day to be put right; a process that is restarted more often removes nothing.
//! What is lost by a mistake is little: such a Server says nothing that its machine does not say again when it calls.
//! Never deletes but the very version that was read and judged a moment before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bloomery_api::Server;
use bloomery_api::decision::Machine;
use bloomery_api::decision::age::{KEEP_ANNOTATION, abandoned};
use bloomery_plane::Gate;
use bloomery_platform::chain;
use bloomery_platform::events::Notice;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::Date;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::objects::{Objects, read};
use crate::fleet::Fleet;
use crate::reconcile::{Context, Error};
use crate::watch::Servers;

/// Between two looks.
const EVERY: Duration = Duration::from_hours(1);
/// For how long a Server must have been seen stale.
const PATIENCE: Duration = Duration::from_hours(24);
/// How far both clocks may part within that time: more than a clock drifts, less than matters for days.
const DRIFT: Duration = Duration::from_mins(10);
const REASON: &str = "Server Abandoned";

/// Which Servers were seen stale without a break, by uid: the day of the last call, and since when.
#[derive(Debug, Default)]
struct Patience {
    since: HashMap<String, (Date, Instant)>,
    /// Both clocks when the first look began to count.
    began: Option<(Instant, Timestamp)>,
}

/// What a look found about one Server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Seen stale for the first time.
    Begins,
    /// Not for long enough.
    Goes,
    /// For long enough.
    Over,
}

impl Patience {
    /// Begins anew if the clock jumped since the first look.
    fn compare(&mut self, now: Instant, wall: Timestamp) {
        let is_steady = self.began.is_some_and(|(then, wall_then)| {
            let passed = now.saturating_duration_since(then);
            // Of a clock that was put back nothing passed.
            let wall_passed = Duration::try_from(wall.duration_since(wall_then)).unwrap_or(Duration::ZERO);
            passed.abs_diff(wall_passed) <= DRIFT
        });
        if !is_steady {
            self.since.clear();
            self.began = Some((now, wall));
        }
    }

    /// Notes all that are stale now, and forgets those that are not.
    fn see(&mut self, stale: &HashMap<String, Date>, now: Instant) -> HashMap<String, Wait> {
        self.since.retain(|uid, (day, _)| stale.get(uid) == Some(day));
        let mut waits = HashMap::with_capacity(stale.len());
        for (uid, day) in stale {
            let wait = match self.since.get(uid) {
                None => {
                    self.since.insert(uid.clone(), (*day, now));
                    Wait::Begins
                }
                Some((_, since)) if now.saturating_duration_since(*since) < PATIENCE => Wait::Goes,
                Some(_) => Wait::Over,
            };
            waits.insert(uid.clone(), wait);
        }
        waits
    }

    fn forget_all(&mut self) {
        *self = Self::default();
    }
}

/// Looks at all Servers from time to time.
pub struct Sweep {
    context: Context,
    gate: Gate,
    servers: Servers,
    fleet: Fleet,
    patience: Patience,
}

impl Sweep {
    /// Over the cache of all Servers.
    pub fn new(context: Context, gate: Gate, servers: Servers, fleet: Fleet) -> Self {
        Self { context, gate, servers, fleet, patience: Patience::default() }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            self.look(Instant::now(), Timestamp::now()).await;
        }
    }

    /// One look at this time of both clocks; what fails is tried again at the next.
    pub async fn look(&mut self, now: Instant, wall: Timestamp) {
        let look = self.gate.look().await;
        let restored = look.restored.as_deref();
        if !look.authority.acts() || restored.is_some() {
            // A plane that stood still, or whose state a person has to look at, gives everybody a day again.
            self.patience.forget_all();
            return;
        }
        self.patience.compare(now, wall);
        let mut stale = HashMap::new();
        let mut named = HashMap::new();
        for guarded in self.servers.known() {
            let Ok(server) = &guarded.0 else { continue };
            let Some(judged) = self.fleet.judge(server, &look.authority) else { return };
            // The binding is asked for when it counts.
            let machine = Machine {
                server,
                binding: None,
                authority: &look.authority,
                conflict: judged.conflict.as_ref(),
            };
            if let (Ok(day), Some(uid)) = (abandoned(&machine, restored, wall), server.uid()) {
                stale.insert(uid.clone(), day);
                named.insert(uid, guarded.clone());
            }
        }
        for (uid, wait) in self.patience.see(&stale, now) {
            let Some(Ok(server)) = named.get(&uid).map(|guarded| &guarded.0) else { continue };
            match wait {
                Wait::Begins => self.announce(server, stale[&uid]),
                Wait::Goes => {}
                Wait::Over => {
                    if let Err(error) = self.remove(server, wall).await {
                        let server = server.name_any();
                        warn!(
                            server,
                            error = chain(&error),
                            "abandoned Server not removed; tried again later"
                        );
                    }
                }
            }
        }
    }

    /// Says on the Server that it is going to be removed.
    fn announce(&self, server: &Server, last_call: Date) {
        let name = server.name_any();
        info!(server = name, %last_call, "nobody accepted it and its machine does not call: removed in a day");
        let message = format!(
            "Nobody accepted this Server, and its machine called last on {last_call}: it is removed in a day unless the \
             machine calls. To keep it: kubectl annotate server {name} {KEEP_ANNOTATION}=true"
        );
        self.context.notify(server, Notice { warning: false, reason: REASON, action: "Announce", message });
    }

    /// Deletes the Server if all that was true of the cache is true of the API.
    async fn remove(&self, cached: &Server, wall: Timestamp) -> Result<(), Error> {
        let name = cached.name_any();
        let Some(Objects { server, binding }) = read(&self.context.client, &name, None, false).await? else {
            return Ok(());
        };
        let look = self.gate.look().await;
        let Some(judged) = self.fleet.judge(&server, &look.authority) else { return Ok(()) };
        let machine = Machine {
            server: &server,
            binding: binding.as_ref(),
            authority: &look.authority,
            conflict: judged.conflict.as_ref(),
        };
        let Ok(last_call) = abandoned(&machine, look.restored.as_deref(), wall) else { return Ok(()) };
        if server.metadata.uid != cached.metadata.uid {
            return Ok(());
        }
        let preconditions = Preconditions {
            uid: server.metadata.uid.clone(),
            resource_version: server.metadata.resource_version.clone(),
        };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let servers: Api<Server> = Api::all(self.context.client.clone());
        servers.delete(&name, &params).await.map_err(Error::api("delete", format!("Server {name}")))?;
        info!(server = name, %last_call, "abandoned Server removed");
        let message = format!("Removed: nobody accepted it, and its machine called last on {last_call}.");
        self.context.notify(&server, Notice { warning: false, reason: REASON, action: "Remove", message });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(all: &[(&str, &str)]) -> HashMap<String, Date> {
        all.iter().map(|(uid, day)| ((*uid).to_owned(), day.parse().unwrap())).collect()
    }

    /// One look after these hours of each clock.
    fn look(
        patience: &mut Patience,
        start: Instant,
        hours: (u64, i64),
        all: &[(&str, &str)],
    ) -> Vec<(String, Wait)> {
        let now = start + Duration::from_hours(hours.0);
        patience.compare(now, Timestamp::from_second(1_800_000_000 + hours.1 * 3600).unwrap());
        let mut waits: Vec<_> = patience.see(&stale(all), now).into_iter().collect();
        waits.sort_by(|one, other| one.0.cmp(&other.0));
        waits
    }

    fn one(wait: Wait) -> Vec<(String, Wait)> {
        vec![("a".to_owned(), wait)]
    }

    const A: &[(&str, &str)] = &[("a", "2026-01-01")];

    #[test]
    fn only_what_was_stale_for_a_whole_day_without_a_break_goes() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        assert_eq!(look(&mut patience, start, (0, 0), A), one(Wait::Begins));
        assert_eq!(look(&mut patience, start, (23, 23), A), one(Wait::Goes));
        let both = [("a", "2026-01-01"), ("b", "2026-01-01")];
        let waits = look(&mut patience, start, (24, 24), &both);
        assert_eq!(waits, [("a".to_owned(), Wait::Over), ("b".to_owned(), Wait::Begins)]);
        // It called, or was kept, for one look; it called and is stale again by a clock that ran ahead.
        assert_eq!(look(&mut patience, start, (25, 25), &[]), []);
        assert_eq!(look(&mut patience, start, (26, 26), A), one(Wait::Begins));
        assert_eq!(look(&mut patience, start, (60, 60), &[("a", "2026-02-01")]), one(Wait::Begins));
    }

    #[test]
    fn a_step_of_the_clock_begins_the_day_anew_and_a_stop_of_the_plane_too() {
        for after in [24 + 1, 24 * 365, -24 * 365, 0] {
            let (mut patience, start) = (Patience::default(), Instant::now());
            assert_eq!(look(&mut patience, start, (0, 0), A), one(Wait::Begins));
            assert_eq!(look(&mut patience, start, (24, after), A), one(Wait::Begins), "{after}");
            assert_eq!(look(&mut patience, start, (47, after + 23), A), one(Wait::Goes), "{after}");
            assert_eq!(look(&mut patience, start, (48, after + 24), A), one(Wait::Over), "{after}");
            patience.forget_all();
            assert_eq!(look(&mut patience, start, (49, after + 25), A), one(Wait::Begins), "{after}");
        }
    }
}
