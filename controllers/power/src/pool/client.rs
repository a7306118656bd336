//! One machine's power control out of the pool.
//!
//! Never starts a command before its turn, never sends one that is not wanted any more, and leaves no trace but the gap when it is dropped half way.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::Shared;
use super::entry::{Entry, Protocol};
use crate::bmc::{Action, Bmc, Kind, Operation, Power};
use crate::endpoint::{Endpoint, Origin};
use crate::error::PowerError;
use crate::identity::Identity;
use crate::precondition::{Precondition, Within};
use crate::select::{BmcTarget, Lan};
use crate::web::CertificatePin;

/// How the machine is reached.
pub(super) enum Way {
    /// By one protocol.
    Fixed(Box<dyn Bmc>),
    /// By what answers.
    Probe(Box<Probed>),
}

/// A BMC reached by Redfish, wherever it is found; where it is not, or fails, by IPMI if that is allowed.
#[derive(Clone)]
pub(super) struct Probed {
    pub(super) endpoint: Endpoint,
    pub(super) identity: Identity,
    pub(super) bmc: BmcTarget,
    pub(super) ipmi: bool,
}

pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Arc<Entry>,
    pub(super) peer: String,
    pub(super) way: Way,
}

impl Debug for Client {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What to do with a driver; a trait because closures cannot be generic in what they return.
trait Call: Send + Sync {
    type Output: Send;
    fn operation(&self) -> Operation;
    fn on<'a>(&'a self, driver: &'a dyn Bmc) -> BoxFuture<'a, Result<Self::Output, PowerError>>;
}

struct Read;

impl Call for Read {
    type Output = Power;

    fn operation(&self) -> Operation {
        Operation::PowerState
    }

    fn on<'a>(&'a self, driver: &'a dyn Bmc) -> BoxFuture<'a, Result<Power, PowerError>> {
        driver.power_state()
    }
}

struct Command<'w> {
    action: Action,
    wanted: Within<'w>,
}

impl Call for Command<'_> {
    type Output = ();

    fn operation(&self) -> Operation {
        self.action.operation()
    }

    fn on<'a>(&'a self, driver: &'a dyn Bmc) -> BoxFuture<'a, Result<(), PowerError>> {
        driver.command(self.action, &self.wanted)
    }
}

/// A command in flight: when it ends, however it ends, the gap begins and the observer hears of it.
struct InFlight<'a> {
    client: &'a Client,
    operation: Operation,
    kind: Kind,
    outcome: &'static str,
    started: Instant,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let Shared { config, observer, .. } = &*self.client.shared;
        self.client.entry.state().health.rest(Instant::now(), config.gap);
        observer.observe(self.kind, self.operation, self.outcome, self.started.elapsed());
    }
}

impl Client {
    async fn run<C: Call>(&self, call: C) -> Result<C::Output, PowerError> {
        self.admit(call.operation())?;
        let _turn = self.entry.turn.lock().await;
        // The command before this one may have failed.
        sleep_until(self.admit(call.operation())?).await;
        let failing = self.entry.state().health.is_failing();
        let _permit = self.shared.permit(failing).await;

        let mut flight = InFlight {
            client: self,
            operation: call.operation(),
            kind: self.kind(),
            outcome: "cancelled",
            started: Instant::now(),
        };
        let limit = self.shared.config.command_limit;
        let result = match timeout(limit, self.dispatch(&call, &mut flight.kind)).await {
            Ok(result) => result,
            Err(_) => Err(PowerError::Overdue { limit }),
        };
        flight.outcome = result.as_ref().map_or_else(PowerError::category, |_| "success");
        self.judge(&result);
        result
    }

    /// When a command may start. Counts one that may not.
    fn admit(&self, operation: Operation) -> Result<Instant, PowerError> {
        let now = Instant::now();
        let admitted = self.entry.state().health.admit(now);
        if admitted.is_err() {
            self.shared.observer.observe(self.kind(), operation, "backoff", now.elapsed());
        }
        admitted
    }

    /// Remembers how it went. A failure on purpose, and one for which nobody was asked, say nothing about the BMC.
    fn judge<T>(&self, result: &Result<T, PowerError>) {
        let mut state = self.entry.state();
        match result {
            Ok(_) => {
                if state.health.is_failing() {
                    info!(bmc = %self.peer, "the BMC answers again");
                }
                state.health.succeeded();
            }
            Err(cause) if cause.spares_the_bmc() => {}
            Err(cause) => state.health.failed(Instant::now(), cause.clone(), &self.shared.config),
        }
    }

    async fn dispatch<C: Call>(&self, call: &C, kind: &mut Kind) -> Result<C::Output, PowerError> {
        let probed = match &self.way {
            Way::Fixed(driver) => return call.on(driver.as_ref()).await,
            Way::Probe(probed) => self.pinned(probed),
        };
        let known = self.entry.state().protocol(Instant::now());
        let known = known.filter(|protocol| probed.ipmi || *protocol != Protocol::Ipmi);
        // The agent's password goes to nobody who has not proven to know it, unless the BMC's certificate is known.
        let ipmi_first = probed.ipmi && probed.identity.account_is_proof && probed.bmc.pinned.is_none();
        let by_ipmi_first = known == Some(Protocol::Ipmi) || (known.is_none() && ipmi_first);
        let mut failed = None;
        if by_ipmi_first {
            match self.by_ipmi(call, &probed, kind).await {
                Err(cause) if known.is_none() && !cause.is_final() => failed = Some(cause),
                result => return result,
            }
        }
        let origin = match known {
            Some(Protocol::Redfish(origin)) => Some(origin),
            Some(Protocol::Ipmi) | None => self.probe(&probed).await,
        };
        let Some(origin) = origin else {
            return match failed {
                Some(cause) => Err(cause),
                None => self.by_ipmi(call, &probed, kind).await,
            };
        };
        let redfish = match self.by_redfish(call, origin, &probed, kind).await {
            Err(cause) if probed.ipmi && !cause.is_final() => cause,
            result => return result,
        };
        let ipmi = match failed {
            Some(cause) => cause,
            None => match self.by_ipmi(call, &probed, kind).await {
                // Redfish's failure is no reason any more either.
                Err(cause) if !cause.is_final() => cause,
                result => return result,
            },
        };
        Err(PowerError::Both { redfish: Arc::new(redfish), ipmi: Arc::new(ipmi) })
    }

    /// With the certificate that was seen since the Server was read, if none was known to it.
    fn pinned(&self, probed: &Probed) -> Probed {
        let mut probed = probed.clone();
        probed.bmc.pinned = probed.bmc.pinned.or_else(|| self.entry.state().learnt());
        probed
    }

    async fn by_ipmi<C: Call>(
        &self,
        call: &C,
        probed: &Probed,
        kind: &mut Kind,
    ) -> Result<C::Output, PowerError> {
        *kind = Kind::Ipmi;
        let Probed { endpoint, bmc, identity, ipmi: _ } = probed;
        let driver = self.shared.connect.ipmi(endpoint, bmc, Lan::RmcpPlus, identity);
        let output = call.on(driver.as_ref()).await?;
        self.remember(Protocol::Ipmi);
        Ok(output)
    }

    async fn by_redfish<C: Call>(
        &self,
        call: &C,
        origin: Origin,
        probed: &Probed,
        kind: &mut Kind,
    ) -> Result<C::Output, PowerError> {
        *kind = Kind::Redfish;
        let driver = self.shared.connect.redfish(&origin, &probed.bmc, &probed.identity);
        let output = call.on(driver.as_ref()).await?;
        if let Some(pin) = driver.certificate() {
            self.entry.state().learn(pin);
        }
        self.remember(Protocol::Redfish(origin));
        Ok(output)
    }

    /// Finds out where the BMC speaks Redfish. Where only Redfish will do and none answers, the most likely place is
    /// tried all the same: the failure there says why.
    async fn probe(&self, probed: &Probed) -> Option<Origin> {
        let Probed { endpoint, bmc, ipmi, identity: _ } = probed;
        let found = self.shared.connect.probe(endpoint, bmc).await;
        let guess = || endpoint.redfish_origins(bmc.port).into_iter().next_back();
        let origin = found.or_else(|| if *ipmi { None } else { guess() });
        debug!(bmc = %self.peer, origin = origin.as_ref().map(Origin::to_string), "asked for Redfish");
        origin
    }

    /// A protocol is remembered when it has done something.
    fn remember(&self, protocol: Protocol) {
        let config = &self.shared.config;
        let memory = match &protocol {
            Protocol::Redfish(Origin { .. }) => config.redfish_memory,
            Protocol::Ipmi => config.ipmi_memory,
        };
        self.entry.state().remember(protocol, Instant::now() + memory);
    }
}

impl Bmc for Client {
    fn power_state(&self) -> BoxFuture<'_, Result<Power, PowerError>> {
        self.run(Read).boxed()
    }

    fn command<'a>(
        &'a self,
        action: Action,
        wanted: &'a dyn Precondition,
    ) -> BoxFuture<'a, Result<(), PowerError>> {
        let wanted = Within { wanted, limit: self.shared.config.ask_limit };
        self.run(Command { action, wanted }).boxed()
    }

    fn kind(&self) -> Kind {
        match &self.way {
            Way::Fixed(driver) => driver.kind(),
            Way::Probe(probed) if !probed.ipmi => Kind::Redfish,
            Way::Probe(_) => match self.entry.state().protocol(Instant::now()) {
                Some(Protocol::Redfish(_)) => Kind::Redfish,
                Some(Protocol::Ipmi) => Kind::Ipmi,
                None => Kind::Unknown,
            },
        }
    }

    fn peer(&self) -> &str {
        &self.peer
    }

    fn certificate(&self) -> Option<CertificatePin> {
        self.entry.state().learnt()
    }
}
