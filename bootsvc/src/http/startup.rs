//! A plane that is starting: machines that were switched on in the same second are told to wait for it.
//!
//! It must never make a machine wait for a plane that was there and went away: an installed node does not depend on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Uri;

use crate::advertise::Endpoint;
use crate::boot_script;

/// How long a start may take. A plane on a slow stick needs some minutes; after this it is broken, and machines go on to
/// their disks.
const STARTING_FOR: Duration = Duration::from_mins(15);
/// Key of the query by which our boot script says that its machine can wait.
const WAITS: &str = "waits";
/// Longest query that is asked again.
const MAX_QUERY: usize = 1024;

/// Whether a decision was made since this process began. Clones share it.
#[derive(Debug, Clone)]
pub struct Startup {
    began: Instant,
    decided: Arc<AtomicBool>,
}

impl Default for Startup {
    fn default() -> Self {
        Self { began: Instant::now(), decided: Arc::default() }
    }
}

impl Startup {
    /// A machine was told what to boot: the plane is there.
    pub fn decided(&self) {
        self.decided.store(true, Ordering::Relaxed);
    }

    /// What a machine is told whose question could not be decided: to ask the same again, if it can wait and the plane
    /// has not been there yet.
    pub fn wait_script(&self, uri: &Uri, endpoint: &Endpoint) -> Option<String> {
        self.wait_script_at(uri, endpoint, Instant::now())
    }

    fn wait_script_at(&self, uri: &Uri, endpoint: &Endpoint, now: Instant) -> Option<String> {
        let is_starting =
            !self.decided.load(Ordering::Relaxed) && now.saturating_duration_since(self.began) < STARTING_FOR;
        let query = uri.query().filter(|query| is_starting && can_wait(query))?;
        Some(boot_script::wait(endpoint, query))
    }
}

/// Whether the query says that its machine can wait, and can stand in a script: nothing in it begins a command, a
/// comment or a setting.
fn can_wait(query: &str) -> bool {
    let harmless = |octet: u8| octet.is_ascii_alphanumeric() || b"&=%.:_~+-".contains(&octet);
    query.len() <= MAX_QUERY
        && query.bytes().all(harmless)
        && form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == WAITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(startup: &Startup, query: &str, now: Instant) -> Option<String> {
        let uri = format!("/ipxe?{query}").parse().ok()?;
        startup.wait_script_at(&uri, &Endpoint::parse("10.77.0.3", 8081).unwrap(), now)
    }

    #[test]
    fn machines_wait_for_a_plane_that_starts_and_for_no_other() {
        let (startup, now) = (Startup::default(), Instant::now());
        let query =
            "uuid=4c4c4544-0042-3110-8051-b7c04f4e3332&mac=52-54-00-77-00-01&hostname=a%20b&waits=yes";
        let told = script(&startup, query, now).unwrap();
        assert!(told.contains(&format!("http://10.77.0.3:8081/ipxe?{query}")), "{told}");
        assert_eq!(script(&startup, "uuid=x", now), None, "not asked by our script");
        assert_eq!(script(&startup, query, now + STARTING_FOR), None, "it will not come");
        startup.decided();
        assert_eq!(script(&startup, query, now), None, "it was there");
    }

    #[test]
    fn nothing_of_a_query_becomes_a_command() {
        let (startup, now) = (Startup::default(), Instant::now());
        for query in [
            "waits=yes&x=${net0/mac}",
            "waits=yes&x=a||shell",
            "waits=yes&x=a;b",
            "waits=yes&x='",
            &format!("waits=yes&x={}", "a".repeat(2000)),
        ] {
            assert_eq!(script(&startup, query, now), None, "{query}");
        }
    }
}
