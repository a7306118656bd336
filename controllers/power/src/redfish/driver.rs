//! Power control by Redfish: find the machine's System, reset it, override its next boot.
//!
//! Never guesses between several Systems: without the machine's UUID only a single one is taken.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::HeaderValue;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::model::{ResetType, ServiceRoot, System, parse_action_info, parse_collection, parse_system};
use super::service::Service;
use crate::bmc::{Action, Driver, Kind, Power, PxeMode};
use crate::endpoint::Origin;
use crate::error::Cause;
use crate::ipmi::Credentials;
use crate::wanted::{Wanted, ask};

/// Until a machine is off after ForceOff; it takes BMCs up to some ten seconds.
const OFF_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at it.
const OFF_INTERVAL: Duration = Duration::from_secs(1);

/// A BMC reached by Redfish.
#[derive(Debug, Clone)]
pub struct Redfish {
    origin: Origin,
    peer: String,
    server: String,
    credentials: Credentials,
}

/// The machine's System, as it was read.
struct Found {
    path: String,
    system: System,
    etag: Option<HeaderValue>,
}

impl Redfish {
    /// Power control of the System with UUID `server` at `origin`; connects to nothing yet.
    pub fn new(origin: Origin, server: &str, credentials: Credentials) -> Self {
        let peer = origin.to_string();
        Self { origin, peer, server: server.to_ascii_lowercase(), credentials }
    }

    async fn status(&self) -> Result<Power, Error> {
        let mut service = Service::new(self.origin.clone(), &self.credentials);
        let result = async {
            let root = service.root().await?;
            let found = self.find(&mut service, &root).await?;
            found.system.power.map_err(|source| Error::Parse { path: found.path, source })
        };
        let result = result.await;
        service.log_out().await;
        result
    }

    async fn perform(&self, action: Action, wanted: &dyn Wanted) -> Result<(), Cause> {
        let mut service = Service::new(self.origin.clone(), &self.credentials);
        let result = async {
            let (root, found) = self.prepare(&mut service, action).await.map_err(Cause::Redfish)?;
            ask(wanted).await?;
            let done = match action {
                Action::PxeOnce(mode) => override_boot(&mut service, &root, &found, mode).await,
                Action::Cycle => cycle(&mut service, &root, &found).await,
                Action::On | Action::Off => reset(&mut service, &root, &found, action).await,
            };
            done.map_err(Cause::Redfish)
        };
        let result = result.await;
        service.log_out().await;
        result
    }

    /// Reads all that the command needs.
    async fn prepare(
        &self,
        service: &mut Service<'_>,
        action: Action,
    ) -> Result<(ServiceRoot, Found), Error> {
        let root = service.root().await?;
        let mut found = self.find(service, &root).await?;
        match action {
            Action::PxeOnce(_) => {}
            Action::On | Action::Off | Action::Cycle => learn_allowed(service, &root, &mut found).await?,
        }
        Ok((root, found))
    }

    /// The System with the machine's UUID, else the only one.
    async fn find(&self, service: &mut Service<'_>, root: &ServiceRoot) -> Result<Found, Error> {
        let answer = service.get(&root.systems, root).await?;
        let mut members = parse_collection(&answer.body)
            .map_err(|source| Error::Parse { path: root.systems.clone(), source })?
            .members;
        let systems = members.len();
        // Many BMCs name a System by its UUID: look there first.
        members.sort_by_key(|path| !path.to_ascii_lowercase().ends_with(&self.server));
        for path in members {
            let found = read(service, root, path).await?;
            if systems == 1 || found.system.uuid.as_deref() == Some(self.server.as_str()) {
                return Ok(found);
            }
        }
        Err(Error::NoSystem { systems, uuid: self.server.clone() })
    }
}

async fn read(service: &mut Service<'_>, root: &ServiceRoot, path: String) -> Result<Found, Error> {
    let answer = service.get(&path, root).await?;
    match parse_system(&path, &answer.body) {
        Ok(system) => Ok(Found { path, system, etag: answer.etag }),
        Err(source) => Err(Error::Parse { path, source }),
    }
}

/// Reads what resets are allowed where the System itself does not say.
async fn learn_allowed(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    found: &mut Found,
) -> Result<(), Error> {
    let reset = &mut found.system.reset;
    if let (None, Some(path)) = (&reset.allowed, &reset.info) {
        let answer = service.get(path, root).await?;
        reset.allowed = Some(
            parse_action_info(&answer.body).map_err(|source| Error::Parse { path: path.clone(), source })?,
        );
    }
    Ok(())
}

async fn post_reset(service: &mut Service<'_>, found: &Found, kind: ResetType) -> Result<(), Error> {
    service.post(&found.system.reset.target, &json!({ "ResetType": kind.as_str() })).await
}

/// Powers on or off. A BMC that refuses because the machine is so already is right.
async fn reset(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    found: &Found,
    action: Action,
) -> Result<(), Error> {
    let (wanted, target) = match action {
        Action::Off => (Power::Off, "power off"),
        Action::On | Action::Cycle | Action::PxeOnce(_) => (Power::On, "power on"),
    };
    let Some(kind) = found.system.reset.choices(action).first().copied() else {
        let allowed = found.system.reset.allowed.clone().unwrap_or_default().join(", ");
        return Err(Error::NoReset { wanted: target, allowed });
    };
    match post_reset(service, found, kind).await {
        Err(error) if error.status().is_some() => {
            match read(service, root, found.path.clone()).await?.system.power {
                Ok(power) if power == wanted => Ok(()),
                _ => Err(error),
            }
        }
        result => result,
    }
}

/// Resets with what the BMC allows; powers off and on where it has no such reset, or refuses it after all.
async fn cycle(service: &mut Service<'_>, root: &ServiceRoot, found: &Found) -> Result<(), Error> {
    if let Some(kind) = found.system.reset.choices(Action::Cycle).first().copied() {
        match post_reset(service, found, kind).await {
            Err(error) if error.status().is_some() => {}
            result => return result,
        }
    }
    reset(service, root, found, Action::Off).await?;
    let until = Instant::now() + OFF_LIMIT;
    while read(service, root, found.path.clone()).await?.system.power != Ok(Power::Off) {
        if Instant::now() >= until {
            return Err(Error::StillOn { seconds: OFF_LIMIT.as_secs() });
        }
        sleep(OFF_INTERVAL).await;
    }
    reset(service, root, found, Action::On).await
}

fn boot(mode: Option<PxeMode>) -> Value {
    let mut boot = json!({ "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe" });
    let mode = mode.map(|mode| match mode {
        PxeMode::Uefi => "UEFI",
        PxeMode::Bios => "Legacy",
    });
    if let (Some(mode), Some(object)) = (mode, boot.as_object_mut()) {
        object.insert("BootSourceOverrideMode".to_owned(), mode.into());
    }
    json!({ "Boot": boot })
}

/// Makes the next boot one from the network; without a mode where the BMC refuses to be told one.
async fn override_boot(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    found: &Found,
    mode: PxeMode,
) -> Result<(), Error> {
    match patch(service, root, found, &boot(Some(mode))).await {
        Err(error) if error.status().is_some() => patch(service, root, found, &boot(None)).await,
        result => result,
    }
}

/// "The version you mean, please": 412 and 428.
const WANTS_ETAG: [Option<u16>; 2] = [Some(412), Some(428)];

/// Changes the System; with its version if the BMC wants one, and with a fresh one if the version has changed.
async fn patch(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    found: &Found,
    body: &Value,
) -> Result<(), Error> {
    match service.patch(&found.path, None, body).await {
        Err(error) if WANTS_ETAG.contains(&error.status()) => {}
        result => return result,
    }
    let etag = read(service, root, found.path.clone()).await?.etag.or_else(|| found.etag.clone());
    let any = HeaderValue::from_static("*");
    service.patch(&found.path, Some(etag.as_ref().unwrap_or(&any)), body).await
}

impl Driver for Redfish {
    fn read(&self) -> BoxFuture<'_, Result<Power, Cause>> {
        async { self.status().await.map_err(Cause::Redfish) }.boxed()
    }

    fn act<'a>(&'a self, action: Action, wanted: &'a dyn Wanted) -> BoxFuture<'a, Result<(), Cause>> {
        self.perform(action, wanted).boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Redfish
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}
