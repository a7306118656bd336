//! Carries out the decision about a machine's power: reads the state, writes the claim, gives the command.
//!
//! Never gives a command whose claim was not written to the version of the Server that it was decided for: of two
//! controllers that decide at once one gives the command.

use std::time::{Duration, Instant};

use bloomery_api::condition;
use bloomery_api::decision::Standing;
use bloomery_api::decision::power::{PowerAction, PowerDecision, PowerRequest, power};
use bloomery_api::decision::status::PowerOutcome;
use bloomery_api::evidence::Evidence;
use bloomery_api::plane::Authority;
use bloomery_api::server::{POWER_CYCLE, Power};
use bloomery_api::{Condition, Server, ServerBinding};
use bloomery_power as bmc;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::runtime::events::EventType;
use kube::{Resource, ResourceExt};
use tracing::info;

use super::{Shared, credentials, fetch, status, validate};
use crate::error_chain::ErrorChain;
use crate::reconcile::{Error, Notice};

/// Reason of this controller's events on power (spec/sidero.md §2.1).
const MANAGEMENT: &str = "Server Management";

/// When to look again because an object was not any more what was decided on.
const AFTER_CHANGE: Duration = Duration::from_millis(50);

/// What came of it.
pub(super) struct Step {
    /// The Server as it is now, with its claim.
    pub(super) server: Server,
    /// How it went.
    pub(super) outcome: PowerOutcome,
    /// The command that was given.
    pub(super) action: PowerAction,
    /// When to look again.
    pub(super) requeue: Option<Duration>,
}

/// Reads the power state and does what is decided.
pub(super) async fn control(
    shared: &Shared,
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
    now: &Time,
) -> Result<Step, Error> {
    let client = management(shared, server).await;
    let (reading, is_fake) = match &client {
        Ok(client) if client.is_fake() => (Ok(Power::On), true),
        Ok(client) => (read(client.as_ref()).await, false),
        Err(why) => (Err(why.clone()), false),
    };
    let decision = power(&PowerRequest {
        server,
        binding,
        authority,
        reading: reading.as_ref().map(|power| *power).map_err(String::as_str),
        is_fake,
        reboot_timeout: shared.options.reboot_timeout,
        stamp_seen_for: shared.stamps.seen_for(server, Instant::now()),
        now,
    });
    let PowerDecision { action, claim, success, warning, requeue } = decision;
    let mut outcome = outcome(&reading, is_fake);
    let notice = match &client {
        Err(why) => Some(format!("Failed to initialize management client: {why}.")),
        Ok(_) => warning,
    };
    if let Some(message) = notice {
        notify(shared, server, EventType::Warning, message).await;
    }
    let before = server;
    let mut server = match claim {
        Some(claim) => status::claim(&shared.context, server, claim).await?,
        None => server.clone(),
    };
    let mut requeue = requeue;
    if let (Ok(client), false) = (&client, action == PowerAction::None) {
        match command(shared, client.as_ref(), action, &server, binding, authority).await? {
            Given::Changed => {
                unclaim(&mut server, before);
                return Ok(Step { server, outcome, action: PowerAction::None, requeue: Some(AFTER_CHANGE) });
            }
            Given::Done => {
                info!(server = server.name_any(), ?action, by = client.kind().as_str(), "power commanded");
                notify(shared, &server, EventType::Normal, success.unwrap_or_default().to_owned()).await;
            }
            Given::Failed(why) => {
                notify(shared, &server, EventType::Warning, format!("{why}.")).await;
                // The claim stood for a command that was not carried out: it must not hold up the next try.
                unclaim(&mut server, before);
                outcome = PowerOutcome::Failed { power: outcome.power(), why };
                requeue = Some(bloomery_api::decision::power::ERROR_REQUEUE);
            }
        }
    }
    Ok(Step { server, outcome, action, requeue })
}

/// Whether this plane still acts and the objects are those that were decided on: a binding that came meanwhile does
/// not show in the version of the Server.
async fn still_so(shared: &Shared, server: &Server, binding: Option<&ServerBinding>) -> Result<bool, Error> {
    let _turn = shared.turn().await;
    if !shared.options.gate.current().await.acts() {
        return Ok(false);
    }
    let now = fetch::fetch(&shared.context.client, &server.name_any(), None).await?;
    let version = |meta: &ObjectMeta| (meta.uid.clone(), meta.resource_version.clone());
    let found = |meta: Option<&ObjectMeta>| meta.map(version);
    Ok(found(now.server.as_ref().map(Resource::meta)) == found(Some(&server.metadata))
        && found(now.binding.as_ref().map(Resource::meta)) == found(binding.map(|binding| &binding.metadata)))
}

/// Whether this plane still acts and nothing that the command depends on is another: where the machine stands, its
/// binding, and the time of its last cycle or heartbeat. The rest of a Server may be written at any time.
async fn still_stands(
    shared: &Shared,
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
) -> Result<bool, Error> {
    let _turn = shared.turn().await;
    if shared.options.gate.current().await != *authority {
        return Ok(false);
    }
    let now = fetch::fetch(&shared.context.client, &server.name_any()).await?;
    let Some(now_server) = now.server else { return Ok(false) };
    let now = validate::validate(now_server, now.binding)?;
    let of = |server: &Server, binding: Option<&ServerBinding>| {
        let standing = Standing::of(Some(server), binding, &Evidence::of(server, authority));
        let claim = binding.map(|found| (found.uid(), found.metadata.deletion_timestamp.clone()));
        (standing, server.uid(), server.spec.accepted, claim, power_cycle(server))
    };
    Ok(of(&now.server, now.binding.as_ref()) == of(server, binding))
}

async fn management(shared: &Shared, server: &Server) -> Result<Box<dyn bmc::Bmc>, String> {
    let target = {
        let _turn = shared.turn().await;
        credentials::target(&shared.context.client, server).await.map_err(|error| error.to_string())?
    };
    shared.options.pool.client(&target).map_err(|error| error.to_string())
}

async fn read(client: &dyn bmc::Bmc) -> Result<Power, String> {
    match client.power_state().await {
        Ok(bmc::Power::On) => Ok(Power::On),
        Ok(bmc::Power::Off) => Ok(Power::Off),
        Err(error) => Err(ErrorChain(error.cause()).to_string()),
    }
}

fn outcome(reading: &Result<Power, String>, is_fake: bool) -> PowerOutcome {
    match reading {
        Ok(_) if is_fake => PowerOutcome::Fake,
        Ok(power) => PowerOutcome::Known(*power),
        Err(why) => PowerOutcome::Failed { power: Power::Unknown, why: why.clone() },
    }
}

/// `spec.pxeMode`, else the option. Other words are refused by the webhook; one that got by counts as none.
fn mode(shared: &Shared, server: &Server) -> bmc::PxeMode {
    match server.spec.pxe_mode.as_str() {
        "uefi" => bmc::PxeMode::Uefi,
        "bios" => bmc::PxeMode::Bios,
        _ => shared.options.pxe_mode,
    }
}

/// What became of a command.
enum Given {
    /// The management controller took it.
    Done,
    /// Upstream's text for the event, without its full stop.
    Failed(String),
    /// The objects, or whether this plane acts, are not any more what was decided on.
    Changed,
}

/// Gives the command. Each of its parts may have to wait a minute for the management controller, as may the reading
/// of the state before: whether it still holds is looked at before each.
async fn command(
    shared: &Shared,
    client: &dyn bmc::Bmc,
    action: PowerAction,
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
) -> Result<Given, Error> {
    let failed = |what: &str, error: &bmc::Error| {
        Ok(Given::Failed(format!("Failed to {what}: {}", ErrorChain(error.cause()))))
    };
    if !still_so(shared, server, binding).await? {
        return Ok(Given::Changed);
    }
    if matches!(action, PowerAction::PxeOn | PowerAction::PxeCycle) {
        if let Err(error) = client.set_pxe_once(mode(shared, server)).await {
            return failed("set to PXE boot once", &error);
        }
        if !still_stands(shared, server, binding, authority).await? {
            return Ok(Given::Changed);
        }
    }
    let (what, given) = match action {
        PowerAction::None => return Ok(Given::Done),
        PowerAction::PowerOff => ("power off", client.power_off().await),
        PowerAction::PowerOn | PowerAction::PxeOn => ("power on", client.power_on().await),
        PowerAction::PxeCycle => ("power cycle", client.power_cycle().await),
    };
    given.map_or_else(|error| failed(what, &error), |()| Ok(Given::Done))
}

/// The condition that is the claim.
fn power_cycle(server: &Server) -> Option<Condition> {
    let status = server.status.as_ref()?;
    condition::find(&status.conditions, POWER_CYCLE).cloned()
}

/// Puts back the `PowerCycle` of before the claim.
fn unclaim(server: &mut Server, before: &Server) {
    let old = power_cycle(before);
    if let Some(status) = &mut server.status {
        condition::remove(&mut status.conditions, POWER_CYCLE);
        status.conditions.extend(old);
    }
}

async fn notify(shared: &Shared, server: &Server, type_: EventType, message: String) {
    let notice = Notice { type_, reason: MANAGEMENT, message };
    shared.context.notify(&server.object_ref(&()), &notice).await;
}
