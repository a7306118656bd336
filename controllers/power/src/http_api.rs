//! The HTTP API of a machine provisioner (`talosctl cluster create` with QEMU has it), for labs.
//!
//! Its test hooks make commands fail on purpose; they are off unless somebody sets a probability.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use crate::bmc::{Action, Bmc, Kind, Power};
use crate::endpoint::{Origin, Scheme, SelectError, parse_endpoint};
use crate::error::{DriverError, PowerError};
use crate::precondition::{Precondition, ask};
use crate::web::{Connection, WebError};

/// As upstream's.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to call {path} of the management API")]
    Web { path: &'static str, source: WebError },
    #[error("API error: {status}")]
    Status { status: StatusCode },
    #[error("failed to parse the management API's status: {reason}")]
    Parse { reason: String },
    #[error("simulated failure from the power management")]
    Simulated,
}

impl DriverError for Error {
    fn category(&self) -> &'static str {
        match self {
            Self::Web { source, .. } => source.category(),
            Self::Status { .. } => "refused",
            Self::Parse { .. } => "protocol",
            Self::Simulated => "simulated",
        }
    }
}

/// Failures on purpose, for tests of whoever uses this.
#[derive(Clone)]
pub struct Hooks {
    /// Probability that a call fails.
    pub explicit: f64,
    /// Probability that a call does nothing; the power state is then the parity of the clock's second.
    pub silent: f64,
    /// Chance, evenly in `0.0..1.0`.
    pub chance: Arc<dyn Fn() -> f64 + Send + Sync>,
    /// The time.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            explicit: 0.0,
            silent: 0.0,
            chance: Arc::new(rand::random::<f64>),
            clock: Arc::new(SystemTime::now),
        }
    }
}

impl Debug for Hooks {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { explicit, silent, .. } = self;
        formatter.debug_struct("Hooks").field("explicit", explicit).field("silent", silent).finish()
    }
}

/// What a hook decided.
enum Simulation {
    None,
    Silent,
}

impl Hooks {
    fn draw(&self) -> Result<Simulation, Error> {
        let hit = |probability: f64| probability > 0.0 && (self.chance)() < probability;
        if hit(self.explicit) {
            return Err(Error::Simulated);
        }
        Ok(if hit(self.silent) { Simulation::Silent } else { Simulation::None })
    }

    fn power_by_clock(&self) -> Power {
        let seconds = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if seconds.is_multiple_of(2) { Power::On } else { Power::Off }
    }
}

/// Parses the body of `GET /status`.
pub fn parse_status(bytes: &[u8]) -> Result<Power, Error> {
    #[derive(Deserialize)]
    struct Status {
        // A missing one is "off" to upstream's decoder too.
        #[serde(rename = "PoweredOn", default)]
        powered_on: bool,
    }
    let Status { powered_on } =
        serde_json::from_slice(bytes).map_err(|error| Error::Parse { reason: error.to_string() })?;
    Ok(if powered_on { Power::On } else { Power::Off })
}

/// A machine behind the HTTP API.
#[derive(Debug, Clone)]
pub struct HttpApi {
    origin: Origin,
    peer: String,
    hooks: Hooks,
}

impl HttpApi {
    /// Power control through the API at `endpoint`, `host[:port]`; connects to nothing yet.
    pub fn new(endpoint: &str, hooks: Hooks) -> Result<Self, SelectError> {
        let parsed = parse_endpoint(endpoint)?;
        let port = parsed.port.unwrap_or(80);
        let origin = parsed.url.unwrap_or(Origin { scheme: Scheme::Http, host: parsed.host, port });
        Ok(Self { peer: origin.authority(), origin, hooks })
    }

    async fn call(&self, method: Method, path: &'static str) -> Result<(StatusCode, Bytes), Error> {
        let mut connection = Connection::new(self.origin.clone(), LIMIT, Arc::default());
        let response = connection
            .send(method, path, HeaderMap::new(), Bytes::new())
            .await
            .map_err(|source| Error::Web { path, source })?;
        Ok((response.status, response.body))
    }

    async fn perform(&self, action: Action) -> Result<(), Error> {
        let path = match action {
            Action::On => "/poweron",
            Action::Off => "/poweroff",
            Action::Cycle => "/reboot",
            Action::PxeOnce(_) => "/pxeboot",
        };
        match self.hooks.draw()? {
            Simulation::Silent => Ok(()),
            Simulation::None => match self.call(Method::POST, path).await? {
                (StatusCode::OK, _) => Ok(()),
                (status, _) => Err(Error::Status { status }),
            },
        }
    }
}

impl Bmc for HttpApi {
    fn power_state(&self) -> BoxFuture<'_, Result<Power, PowerError>> {
        async {
            Ok(match self.hooks.draw()? {
                Simulation::Silent => self.hooks.power_by_clock(),
                // The status code means nothing here, to upstream neither.
                Simulation::None => parse_status(&self.call(Method::GET, "/status").await?.1)?,
            })
        }
        .boxed()
    }

    fn command<'a>(
        &'a self,
        action: Action,
        wanted: &'a dyn Precondition,
    ) -> BoxFuture<'a, Result<(), PowerError>> {
        async move {
            ask(wanted).await?;
            Ok(self.perform(action).await?)
        }
        .boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Http
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}
