//! All BMCs of this process: one command at a time to each, at a decent pace, and none waits for another.
//!
//! Never holds the lock of its table while it talks to anybody; never keeps a BMC in memory that nobody asks for.

mod client;
mod connect;
mod entry;
mod health;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt::{Debug, Formatter};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use self::client::{Client, Probed, Way};

pub use self::connect::{Connect, Network};
use self::entry::Entry;
use crate::bmc::{Bmc, Kind, Operation};
use crate::endpoint::{SelectError, authority, parse_endpoint};
use crate::fake::Fake;
use crate::select::{BmcTarget, Selection, Target, select};
use crate::web::CertificatePin;

/// How the pool treats BMCs.
#[derive(Debug, Clone)]
pub struct Config {
    /// From the end of a command to the start of the next at the same BMC.
    pub gap: Duration,
    /// For the answer whether a command is still wanted.
    pub ask_limit: Duration,
    /// For one whole command, probing and falling back to IPMI included.
    pub command_limit: Duration,
    /// After the first failure; doubles with each.
    pub first_backoff: Duration,
    /// Upper limit of that.
    pub max_backoff: Duration,
    /// Commands in flight at BMCs that answered last time.
    pub sessions: usize,
    /// Commands in flight at BMCs that failed last time; they take no place from the others.
    pub failing_sessions: usize,
    /// Until a BMC nobody asks for is forgotten.
    pub idle: Duration,
    /// BMCs remembered at most, apart from those in use.
    pub max_entries: usize,
    /// How long it is remembered that a BMC speaks Redfish.
    pub redfish_memory: Duration,
    /// How long it is remembered that a BMC speaks only IPMI.
    pub ipmi_memory: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Enough for the slowest BMC's session to be gone.
            gap: Duration::from_millis(500),
            // Reading two objects and the Plane; the API server's own answers take milliseconds.
            ask_limit: Duration::from_secs(10),
            // Redfish off, wait, on: 20 s and some slow requests.
            command_limit: Duration::from_mins(1),
            first_backoff: Duration::from_secs(2),
            // As often as a Server is looked at anyway.
            max_backoff: Duration::from_mins(5),
            sessions: 512,
            failing_sessions: 64,
            idle: Duration::from_hours(1),
            max_entries: 16_384,
            redfish_memory: Duration::from_hours(1),
            // A firmware update may bring Redfish, a reset BMC may have been slow to start it.
            ipmi_memory: Duration::from_mins(10),
        }
    }
}

/// Gets to know every command; for metrics.
pub trait Observer: Send + Sync {
    /// A command ended. `outcome` is `success`, a category of [`crate::PowerError`] (`unwanted` if it was not sent), `cancelled`, or `backoff` for one that
    /// was not tried.
    fn observe(&self, kind: Kind, operation: Operation, outcome: &'static str, took: Duration);
}

/// Nobody wants to know.
impl Observer for () {
    fn observe(&self, _: Kind, _: Operation, _: &'static str, _: Duration) {}
}

/// All BMCs.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    observer: Arc<dyn Observer>,
    connect: Arc<dyn Connect>,
    entries: Mutex<Table>,
    healthy: Semaphore,
    failing: Semaphore,
    hasher: RandomState,
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Arc<Entry>>,
    swept: Option<Instant>,
}

/// Between two searches for entries to forget.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

impl Debug for Pool {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pool").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool without BMCs; `connect` is [`Network`] but in tests.
    pub fn new(config: Config, observer: Arc<dyn Observer>, connect: Arc<dyn Connect>) -> Self {
        let shared = Shared {
            healthy: Semaphore::new(config.sessions),
            failing: Semaphore::new(config.failing_sessions),
            config,
            observer,
            connect,
            entries: Mutex::default(),
            hasher: RandomState::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Power control of a machine; talks to nobody yet. Cheap: make one for each use.
    pub fn client(&self, target: &Target) -> Result<Box<dyn Bmc>, SelectError> {
        let connect = &self.shared.connect;
        let bmc = match (select(target)?, &target.bmc) {
            (Selection::Api(endpoint), _) => {
                let driver = connect.api(endpoint)?;
                let key = format!("api {}", driver.peer().to_ascii_lowercase());
                let entry = self.shared.entry(key, self.shared.hasher.hash_one(endpoint), None);
                return Ok(self.boxed(entry, driver.peer().to_owned(), Way::Fixed(driver)));
            }
            (Selection::Fake, _) | (_, None) => return Ok(Box::new(Fake)),
            (_, Some(bmc)) => bmc,
        };
        let endpoint = parse_endpoint(&bmc.endpoint)?;
        let peer = endpoint
            .url
            .as_ref()
            .map_or_else(|| authority(&endpoint.host, endpoint.ipmi_port(bmc.port)), ToString::to_string);
        let key = format!("bmc {}", peer.to_ascii_lowercase());
        let entry = self.shared.entry(key, self.fingerprint(bmc), bmc.pinned);
        let identity = &target.identity;
        let probe = |ipmi| {
            let (endpoint, identity, bmc) = (endpoint.clone(), identity.clone(), bmc.clone());
            Way::Probe(Box::new(Probed { endpoint, identity, bmc, ipmi }))
        };
        let way = match select(target)? {
            Selection::Ipmi(lan) => Way::Fixed(connect.ipmi(&endpoint, bmc, lan, identity)),
            Selection::Redfish => probe(false),
            Selection::Probe | Selection::Fake | Selection::Api(_) => probe(true),
        };
        Ok(self.boxed(entry, peer, way))
    }

    fn boxed(&self, entry: Arc<Entry>, peer: String, way: Way) -> Box<dyn Bmc> {
        Box::new(Client { shared: Arc::clone(&self.shared), entry, peer, way })
    }

    /// Changes with what was a reason to fail: then a BMC gets a fresh start.
    fn fingerprint(&self, bmc: &BmcTarget) -> u64 {
        let BmcTarget { endpoint, port, user, pass, interface, pinned: _ } = bmc;
        self.shared.hasher.hash_one((endpoint, port, user.expose_secret(), pass.expose_secret(), interface))
    }

    /// BMCs in memory.
    pub fn remembered(&self) -> usize {
        self.shared.entries.lock().entries.len()
    }
}

impl Shared {
    /// The entry of a BMC, new or known.
    fn entry(&self, key: String, fingerprint: u64, pinned: Option<CertificatePin>) -> Arc<Entry> {
        let now = Instant::now();
        let mut table = self.entries.lock();
        table.sweep(now, &self.config);
        let entry = table.entries.entry(key).or_insert_with(|| Arc::new(Entry::new(now, fingerprint)));
        entry.touch(now, fingerprint, pinned);
        Arc::clone(entry)
    }

    /// A place among the commands in flight.
    async fn permit(&self, failing: bool) -> Option<SemaphorePermit<'_>> {
        let places = if failing { &self.failing } else { &self.healthy };
        // Fails only when closed, which it never is.
        places.acquire().await.ok()
    }
}

impl Table {
    /// Forgets who is idle, and when there are too many all that nobody holds.
    fn sweep(&mut self, now: Instant, config: &Config) {
        let full = self.entries.len() >= config.max_entries;
        if !full && self.swept.is_some_and(|swept| now < swept + SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        self.entries
            .retain(|_, entry| Arc::strong_count(entry) > 1 || (!full && now < entry.used() + config.idle));
    }
}

#[cfg(test)]
mod tests;
