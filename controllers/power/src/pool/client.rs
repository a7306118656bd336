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
use crate::bmc::{Action, Driver, Kind, Operation, Power};
use crate::endpoint::{Endpoint, Origin};
use crate::error::Cause;
use crate::select::{BmcTarget, Lan};
use crate::wanted::{Wanted, Within};

/// How the machine is reached.
pub(super) enum Way {
    /// By one protocol.
    Fixed(Box<dyn Driver>),
    /// By Redfish, wherever it is found; where it is not, or fails, by IPMI if that is allowed.
    Probe { endpoint: Endpoint, server: String, bmc: BmcTarget, ipmi: bool },
}

/// A client of the pool.
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
    fn on<'a>(&'a self, driver: &'a dyn Driver) -> BoxFuture<'a, Result<Self::Output, Cause>>;
}

struct Read;

impl Call for Read {
    type Output = Power;

    fn operation(&self) -> Operation {
        Operation::PowerState
    }

    fn on<'a>(&'a self, driver: &'a dyn Driver) -> BoxFuture<'a, Result<Power, Cause>> {
        driver.read()
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

    fn on<'a>(&'a self, driver: &'a dyn Driver) -> BoxFuture<'a, Result<(), Cause>> {
        driver.act(self.action, &self.wanted)
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
    async fn run<C: Call>(&self, call: C) -> Result<C::Output, Cause> {
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
            Err(_) => Err(Cause::Overdue { limit }),
        };
        flight.outcome = result.as_ref().map_or_else(Cause::category, |_| "success");
        self.judge(&result);
        result
    }

    /// When a command may start. Counts one that may not.
    fn admit(&self, operation: Operation) -> Result<Instant, Cause> {
        let now = Instant::now();
        let admitted = self.entry.state().health.admit(now);
        if admitted.is_err() {
            self.shared.observer.observe(self.kind(), operation, "backoff", now.elapsed());
        }
        admitted
    }

    /// Remembers how it went. A failure on purpose, and one for which nobody was asked, say nothing about the BMC.
    fn judge<T>(&self, result: &Result<T, Cause>) {
        let mut state = self.entry.state();
        match result {
            Ok(_) => {
                if state.health.is_failing() {
                    info!(bmc = %self.peer, "the BMC answers again");
                }
                state.health.succeeded();
            }
            Err(Cause::Unwanted) => {}
            Err(cause) if cause.category() == "simulated" => {}
            Err(cause) => state.health.failed(Instant::now(), cause.clone(), &self.shared.config),
        }
    }

    async fn dispatch<C: Call>(&self, call: &C, kind: &mut Kind) -> Result<C::Output, Cause> {
        let (endpoint, server, bmc, ipmi) = match &self.way {
            Way::Fixed(driver) => return call.on(driver.as_ref()).await,
            Way::Probe { endpoint, server, bmc, ipmi } => (endpoint, server, bmc, *ipmi),
        };
        let known = self.entry.state().protocol(Instant::now());
        let protocol = match known {
            Some(protocol) if ipmi || protocol != Protocol::Ipmi => protocol,
            _ => self.probe(endpoint, bmc, ipmi).await,
        };
        let failed = match &protocol {
            Protocol::Ipmi => None,
            Protocol::Redfish(origin) => {
                *kind = Kind::Redfish;
                match call.on(self.shared.connect.redfish(origin, server, bmc).as_ref()).await {
                    Ok(output) => {
                        self.remember(protocol);
                        return Ok(output);
                    }
                    Err(cause) if !ipmi || matches!(cause, Cause::Unwanted) => return Err(cause),
                    Err(cause) => Some(cause),
                }
            }
        };
        *kind = Kind::Ipmi;
        let driver = self.shared.connect.ipmi(endpoint, bmc, Lan::RmcpPlus);
        match (call.on(driver.as_ref()).await, failed) {
            (Ok(output), _) => {
                self.remember(Protocol::Ipmi);
                Ok(output)
            }
            // Redfish's failure is no reason any more either.
            (Err(ipmi), None) | (Err(ipmi @ Cause::Unwanted), Some(_)) => Err(ipmi),
            (Err(ipmi), Some(redfish)) => {
                Err(Cause::Both { redfish: Arc::new(redfish), ipmi: Arc::new(ipmi) })
            }
        }
    }

    /// Finds out what the BMC speaks. Where only Redfish will do and none answers, the most likely place is tried all
    /// the same: the failure there says why.
    async fn probe(&self, endpoint: &Endpoint, bmc: &BmcTarget, ipmi: bool) -> Protocol {
        let found = self.shared.connect.probe(endpoint, bmc).await;
        let guess = || endpoint.redfish_origins(bmc.port).into_iter().next_back();
        match found.or_else(|| if ipmi { None } else { guess() }) {
            Some(origin) => {
                debug!(bmc = %self.peer, %origin, "Redfish");
                Protocol::Redfish(origin)
            }
            None => Protocol::Ipmi,
        }
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

impl Driver for Client {
    fn read(&self) -> BoxFuture<'_, Result<Power, Cause>> {
        self.run(Read).boxed()
    }

    fn act<'a>(&'a self, action: Action, wanted: &'a dyn Wanted) -> BoxFuture<'a, Result<(), Cause>> {
        let wanted = Within { wanted, limit: self.shared.config.ask_limit };
        self.run(Command { action, wanted }).boxed()
    }

    fn kind(&self) -> Kind {
        match &self.way {
            Way::Fixed(driver) => driver.kind(),
            Way::Probe { ipmi: false, .. } => Kind::Redfish,
            Way::Probe { .. } => match self.entry.state().protocol(Instant::now()) {
                Some(Protocol::Redfish(_)) => Kind::Redfish,
                Some(Protocol::Ipmi) => Kind::Ipmi,
                None => Kind::Unknown,
            },
        }
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}
