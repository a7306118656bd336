//! A network of BMCs that do as they are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use tokio::time::{Instant, sleep};

use crate::bmc::{Action, Bmc, Kind, Operation, Power};
use crate::endpoint::{Endpoint, Origin, Scheme, SelectError};
use crate::error::PowerError;
use crate::identity::{Guid, Identity, NotOurs};
use crate::pool::{Config, Connect, Observer, Pool};
use crate::precondition::{Precondition, ask};
use crate::select::{BmcTarget, Lan, Target};
use crate::web::{CertificatePin, WebError};
use crate::{ipmi, redfish};

/// How a BMC behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers after this long.
    Answers(Duration),
    /// Refuses after this long.
    Refuses(Duration),
    /// Says no to the password.
    WrongPassword,
    /// Never answers.
    Hangs,
    /// Is another machine's.
    OtherMachine,
    /// Breaks off after a command.
    Unsure,
}

/// Everything that happened, and how everybody behaves.
#[derive(Debug, Default)]
pub(super) struct World {
    /// By host; others answer at once.
    manners: Mutex<HashMap<(String, Kind), Manner>>,
    /// Hosts that have Redfish.
    redfish: Mutex<Vec<String>>,
    /// Starts and ends of commands: host, protocol, at, whether it is the end.
    log: Mutex<Vec<(String, Kind, Instant, bool)>>,
    /// Probes so far.
    probes: Mutex<usize>,
    seen: Mutex<Vec<(Kind, Operation, &'static str)>>,
    /// Commands that were sent: what a BMC cannot take back.
    sent: Mutex<Vec<(String, Kind, Operation)>>,
    /// Certificates that hosts show by Redfish.
    certificates: Mutex<HashMap<String, CertificatePin>>,
}

impl World {
    pub(super) fn behave(&self, host: &str, kind: Kind, manner: Manner) {
        self.manners.lock().unwrap().insert((host.to_owned(), kind), manner);
    }

    pub(super) fn give_redfish(&self, host: &str) {
        self.redfish.lock().unwrap().push(host.to_owned());
    }

    pub(super) fn show_certificate(&self, host: &str, key: &[u8]) -> CertificatePin {
        let pin = CertificatePin::of(key);
        self.certificates.lock().unwrap().insert(host.to_owned(), pin);
        pin
    }

    pub(super) fn take_redfish(&self, host: &str) {
        self.redfish.lock().unwrap().retain(|known| known != host);
    }

    /// Protocols that were used with this host, in order.
    pub(super) fn used(&self, host: &str) -> Vec<Kind> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(name, _, _, end)| name == host && !end).map(|(_, kind, ..)| *kind).collect()
    }

    /// Starts and ends (true) of commands at this host.
    pub(super) fn times(&self, host: &str) -> Vec<(Instant, bool)> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|(name, ..)| name == host).map(|(_, _, at, end)| (*at, *end)).collect()
    }

    /// Commands that were sent to this host, in order.
    pub(super) fn sent(&self, host: &str) -> Vec<(Kind, Operation)> {
        let sent = self.sent.lock().unwrap();
        sent.iter()
            .filter(|(name, ..)| name == host)
            .map(|(_, kind, operation)| (*kind, *operation))
            .collect()
    }

    pub(super) fn probes(&self) -> usize {
        *self.probes.lock().unwrap()
    }

    pub(super) fn outcomes(&self) -> Vec<(Kind, Operation, &'static str)> {
        self.seen.lock().unwrap().clone()
    }
}

fn not_ours() -> NotOurs {
    NotOurs { server: "s".to_owned(), told: Some(Guid::new([7; 16])), owner: None }
}

fn unsure() -> PowerError {
    let source = WebError::Timeout { origin: "https://a".to_owned(), limit: Duration::from_secs(1) };
    redfish::Error::Unsure { path: "/reset".to_owned(), source }.into()
}

fn changed(host: &str, pinned: CertificatePin, shown: CertificatePin) -> PowerError {
    let source = WebError::CertificateChanged { origin: host.to_owned(), pinned, shown };
    redfish::Error::Web { path: "/".to_owned(), source }.into()
}

#[derive(Debug)]
struct Scripted {
    world: Arc<World>,
    host: String,
    kind: Kind,
    pinned: Option<CertificatePin>,
    shown: Option<CertificatePin>,
}

impl Scripted {
    async fn go<T>(&self, value: T) -> Result<T, PowerError> {
        let note = |end| {
            let entry = (self.host.clone(), self.kind, Instant::now(), end);
            self.world.log.lock().unwrap().push(entry);
        };
        note(false);
        let key = (self.host.clone(), self.kind);
        let manner = self.world.manners.lock().unwrap().get(&key).copied();
        let refused: PowerError = match self.kind {
            Kind::Redfish => redfish::Error::Auth { path: "/".to_owned(), status: 403 }.into(),
            _ => ipmi::Error::PortClosed { peer: self.host.clone() }.into(),
        };
        let result = match manner.unwrap_or(Manner::Answers(Duration::ZERO)) {
            Manner::Answers(after) => {
                sleep(after).await;
                Ok(value)
            }
            Manner::Refuses(after) => {
                sleep(after).await;
                Err(refused)
            }
            Manner::WrongPassword => Err(ipmi::Error::Password.into()),
            Manner::Hangs => pending().await,
            Manner::OtherMachine => Err(not_ours().into()),
            Manner::Unsure => Err(unsure()),
        };
        note(true);
        match (self.pinned, self.shown) {
            (Some(pinned), Some(shown)) if pinned != shown => Err(changed(&self.host, pinned, shown)),
            _ => result,
        }
    }
}

impl Bmc for Scripted {
    fn power_state(&self) -> BoxFuture<'_, Result<Power, PowerError>> {
        self.go(Power::On).boxed()
    }

    /// What takes its time is the opening of a session; the command follows at once.
    fn command<'a>(
        &'a self,
        action: Action,
        wanted: &'a dyn Precondition,
    ) -> BoxFuture<'a, Result<(), PowerError>> {
        async move {
            self.go(()).await?;
            ask(wanted).await?;
            let sent = (self.host.clone(), self.kind, action.operation());
            self.world.sent.lock().unwrap().push(sent);
            Ok(())
        }
        .boxed()
    }

    fn kind(&self) -> Kind {
        self.kind
    }

    fn peer(&self) -> &str {
        &self.host
    }

    fn certificate(&self) -> Option<CertificatePin> {
        self.shown
    }
}

/// The world as the pool sees it.
struct Wires(Arc<World>);

impl Wires {
    fn driver(&self, host: &str, kind: Kind) -> Box<dyn Bmc> {
        let world = Arc::clone(&self.0);
        Box::new(Scripted { world, host: host.to_owned(), kind, pinned: None, shown: None })
    }
}

impl Connect for Wires {
    fn ipmi(&self, endpoint: &Endpoint, _: &BmcTarget, _: Lan, _: &Identity) -> Box<dyn Bmc> {
        self.driver(&endpoint.host, Kind::Ipmi)
    }

    fn redfish(&self, origin: &Origin, bmc: &BmcTarget, _: &Identity) -> Box<dyn Bmc> {
        let shown = self.0.certificates.lock().unwrap().get(&origin.host).copied();
        let (world, host) = (Arc::clone(&self.0), origin.host.clone());
        Box::new(Scripted { world, host, kind: Kind::Redfish, pinned: bmc.pinned, shown })
    }

    fn api(&self, endpoint: &str) -> Result<Box<dyn Bmc>, SelectError> {
        Ok(self.driver(endpoint, Kind::Http))
    }

    fn probe<'a>(&'a self, endpoint: &'a Endpoint, _: &'a BmcTarget) -> BoxFuture<'a, Option<Origin>> {
        *self.0.probes.lock().unwrap() += 1;
        let known = self.0.redfish.lock().unwrap().contains(&endpoint.host);
        let origin = Origin { scheme: Scheme::Https, host: endpoint.host.clone(), port: 443 };
        async move { known.then_some(origin) }.boxed()
    }
}

impl Observer for World {
    fn observe(&self, kind: Kind, operation: Operation, outcome: &'static str, _: Duration) {
        self.seen.lock().unwrap().push((kind, operation, outcome));
    }
}

/// A pool and its world.
pub(super) fn pool(config: Config) -> (Pool, Arc<World>) {
    let world = Arc::new(World::default());
    let observer: Arc<dyn Observer> = Arc::<World>::clone(&world);
    (Pool::new(config, observer, Arc::new(Wires(Arc::clone(&world)))), world)
}

/// A machine whose BMC is at `host`.
pub(super) fn target(host: &str, interface: &str, pass: &str) -> Target {
    let bmc = BmcTarget {
        endpoint: host.to_owned(),
        port: 623,
        user: "u".into(),
        pass: pass.into(),
        interface: interface.to_owned(),
        pinned: None,
    };
    Target { identity: Identity::of("s"), bmc: Some(bmc), management_api: None }
}

/// A client for IPMI at `host`.
pub(super) fn ipmi_client(pool: &Pool, host: &str) -> Box<dyn Bmc> {
    pool.client(&target(host, "lanplus", "p")).unwrap()
}
