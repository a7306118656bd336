//! Power on, off and cycle by the resets that a service has.
//!
//! Never posts a reset again whose answer did not come; the power state then says whether it was done, where it can.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::model::{ResetType, ServiceRoot, parse_action_info};
use super::service::Service;
use super::systems::{Found, read};
use crate::bmc::{Action, Power};
use crate::error::DriverError as _;

/// Until a machine is off after ForceOff; it takes BMCs up to some ten seconds.
const OFF_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at it.
const OFF_INTERVAL: Duration = Duration::from_secs(1);

/// Reads what resets are allowed where the System itself does not say. A service that does not say it there either is
/// asked for the usual ones.
pub(super) async fn learn_allowed(service: &mut Service<'_>, root: &ServiceRoot, found: &mut Found) {
    let reset = &mut found.system.reset;
    if let (None, Some(path)) = (&reset.allowed, &reset.info)
        && let Ok(answer) = service.get(path, root).await
    {
        reset.allowed = parse_action_info(&answer.body).ok();
    }
}

async fn post(service: &mut Service<'_>, found: &Found, kind: ResetType) -> Result<(), Error> {
    service.post(&found.system.reset.target, &json!({ "ResetType": kind.as_str() })).await
}

/// Powers on or off. A BMC that refuses because the machine is so already is right.
pub(super) async fn switch(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    found: &Found,
    wanted: Power,
) -> Result<(), Error> {
    let (action, words) = match wanted {
        Power::Off => (Action::Off, "power off"),
        Power::On => (Action::On, "power on"),
    };
    let mut last = None;
    for kind in found.system.reset.choices(action) {
        match post(service, found, kind).await {
            Err(error) if error.status().is_some() || error.is_unsure() => {
                let now = read(service, root, found.path.clone()).await;
                if now.is_ok_and(|now| now.system.power == Ok(wanted)) {
                    return Ok(());
                }
                if error.is_unsure() {
                    return Err(error);
                }
                last = Some(error);
            }
            result => return result,
        }
    }
    Err(last.unwrap_or_else(|| {
        let allowed = found.system.reset.allowed.clone().unwrap_or_default().join(", ");
        Error::NoReset { wanted: words, allowed }
    }))
}

/// Resets with what the BMC allows; powers off and on where it has no such reset, or refuses it after all.
pub(super) async fn cycle(service: &mut Service<'_>, root: &ServiceRoot, found: &Found) -> Result<(), Error> {
    for kind in found.system.reset.choices(Action::Cycle) {
        match post(service, found, kind).await {
            Err(error) if error.status().is_some() => {}
            result => return result,
        }
    }
    switch(service, root, found, Power::Off).await?;
    let until = Instant::now() + OFF_LIMIT;
    while read(service, root, found.path.clone()).await?.system.power != Ok(Power::Off) {
        if Instant::now() >= until {
            return Err(Error::StillOn { seconds: OFF_LIMIT.as_secs() });
        }
        sleep(OFF_INTERVAL).await;
    }
    switch(service, root, found, Power::On).await
}
