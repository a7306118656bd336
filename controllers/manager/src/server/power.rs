//! Carries out the decision about a machine's power: reads the state, writes the claim, gives the command.
//!
//! Never gives a command whose claim was not written to the version of the Server that it was decided for: of two
//! controllers that decide at once one gives the command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_api::decision::power::{PowerAction, PowerDecision, PowerRequest, power};
use bloomery_api::decision::status::{POWER_COMMAND_FAILED, PowerOutcome};
use bloomery_api::plane::Authority;
use bloomery_api::server::Power;
use bloomery_api::{Server, ServerBinding};
use bloomery_platform::chain;
use bloomery_platform::events::Notice;
use bloomery_platform::patch::{self, Written};
use bloomery_power as bmc;
use bloomery_power::identity::Identity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::PatchParams;
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::info;

use super::identity::{self, AcceptedServers};
use super::recheck::{Recheck, Snapshot, withdraw};
use super::{Shared, credentials, status};
use crate::fleet::Judgement;
use crate::reconcile::Error;

/// Reason of this controller's events on power (spec/sidero.md §2.1).
const MANAGEMENT: &str = "Server Management";

/// Action of the events on a machine whose power state cannot be read.
const READ: &str = "ReadPower";

/// When to look again because an object was not any more what was decided on.
pub(super) const AFTER_CHANGE: Duration = Duration::from_millis(50);

pub(super) struct Step {
    /// The Server as it is now, with its claim.
    pub(super) server: Server,
    pub(super) outcome: PowerOutcome,
    pub(super) action: PowerAction,
    pub(super) requeue: Option<Duration>,
}

/// Reads the power state and does what is decided. `None` when the objects changed before the command could be sent.
pub(super) async fn control(
    shared: &Shared,
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
    judged: &Judgement,
    now: &Time,
) -> Result<Option<Step>, Error> {
    let client = management(shared, server, authority).await;
    let (reading, is_fake) = match &client {
        Ok(client) if client.is_fake() => (Ok(Power::On), true),
        Ok(client) => (read(server, client.as_ref()).await, false),
        Err(why) => (Err(Trouble::command(why.clone())), false),
    };
    let decision = power(&PowerRequest {
        server,
        binding,
        authority,
        reading: reading.as_ref().map(|power| *power).map_err(|trouble| trouble.why.as_str()),
        is_fake,
        reboot_timeout: shared.options.reboot_timeout,
        stamp_seen_for: shared.stamps.seen_for(server, Instant::now()),
        conflict: judged.conflict.as_ref(),
        shared: judged.shared.as_ref(),
        now,
    });
    let PowerDecision { action, claim, success, warning, requeue } = decision;
    let mut outcome = outcome(&reading, is_fake);
    let notice = match &client {
        Err(why) => Some(format!("Failed to initialize management client: {why}.")),
        Ok(_) => warning,
    };
    if let Some(message) = notice {
        notify(shared, server, true, READ, message);
    }
    let before = server;
    if let Some(pin) = client.as_ref().ok().and_then(|client| client.certificate())
        && !keep(shared, server, pin).await?
    {
        return Ok(None);
    }
    let mut server = match claim {
        Some(claim) => status::claim(&shared.context, server, claim).await?,
        None => server.clone(),
    };
    let mut requeue = requeue;
    if let (Ok(client), false) = (&client, action == PowerAction::None) {
        let recheck = Recheck { shared, decided: Snapshot { server: &server, binding, authority, judged } };
        match command(&server.name_any(), client.as_ref(), action, mode(shared, &server), &recheck).await {
            Ok(()) => {
                info!(server = server.name_any(), ?action, by = client.kind().as_str(), "power commanded");
                notify(shared, &server, false, word(action), success.unwrap_or_default().to_owned());
            }
            Err(Failure::Unwanted) => {
                withdraw(shared, &server, before).await;
                return Ok(None);
            }
            Err(Failure::Failed(Trouble { reason, why })) => {
                notify(shared, &server, true, word(action), format!("{why}."));
                // The claim stood for a command that was not carried out: it must not hold up the next try.
                server.status = Some(status::unclaimed(&server, before));
                outcome =
                    PowerOutcome::Failed { power: outcome.power().unwrap_or(Power::Unknown), reason, why };
                requeue = Some(bloomery_api::decision::power::ERROR_REQUEUE);
            }
        }
    }
    Ok(Some(Step { server, outcome, action, requeue }))
}

async fn management(
    shared: &Shared,
    server: &Server,
    authority: &Authority,
) -> Result<Box<dyn bmc::Bmc>, String> {
    let known = Arc::new(AcceptedServers(shared.servers.clone()));
    let must_prove = shared.fleet.serves_several(&server.name_any());
    let identity = identity::identity(server, known).map_err(|error| error.to_string())?;
    let identity = Identity { must_prove, ..identity };
    let target = credentials::target(&shared.context.urgent, server, authority, identity).await;
    let target = target.map_err(|error| error.to_string())?;
    shared.options.pool.client(&target).map_err(|error| error.to_string())
}

async fn read(server: &Server, client: &dyn bmc::Bmc) -> Result<Power, Trouble> {
    match client.power_state().await {
        Ok(bmc::Power::On) => Ok(Power::On),
        Ok(bmc::Power::Off) => Ok(Power::Off),
        Err(error) => Err(Trouble::of(&server.name_any(), &error)),
    }
}

/// A failure as the Server's condition shows it.
#[derive(Debug)]
struct Trouble {
    /// Reason of `PowerReachable`.
    reason: &'static str,
    /// The failure, and what a person can do about it where nobody else can.
    why: String,
}

impl Trouble {
    fn command(why: String) -> Self {
        Self { reason: POWER_COMMAND_FAILED, why }
    }

    fn of(server: &str, cause: &bmc::PowerError) -> Self {
        match identity::way_out(server, cause) {
            Some((reason, way)) => Self { reason, why: format!("{}; {way}", chain(cause)) },
            None => Self::command(chain(cause)),
        }
    }
}

/// Keeps the key of a certificate that was trusted at first use. False when the Server has changed meanwhile: then
/// everything is read again, with the key that the API server has.
async fn keep(shared: &Shared, server: &Server, pin: bmc::CertificatePin) -> Result<bool, Error> {
    let name = server.name_any();
    let annotations = json!({ (identity::CERTIFICATE_ANNOTATION): pin.to_string() });
    let change = json!({ "metadata": { "annotations": annotations } });
    let servers: Api<Server> = Api::all(shared.context.urgent.clone());
    let written =
        patch::try_merge(&servers, server, change, patch::Part::Object, &PatchParams::default()).await;
    match written.map_err(Error::api("patch metadata of", format!("Server {name}")))? {
        Written::Done(_) => {
            info!(server = name, certificate = %pin, "certificate of the management controller pinned");
        }
        Written::Changed => {}
    }
    Ok(false)
}

fn outcome(reading: &Result<Power, Trouble>, is_fake: bool) -> PowerOutcome {
    match reading {
        Ok(_) if is_fake => PowerOutcome::Fake,
        Ok(power) => PowerOutcome::Known(*power),
        Err(Trouble { reason, why }) => {
            PowerOutcome::Failed { power: Power::Unknown, reason, why: why.clone() }
        }
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

/// The command, as the action of its events.
fn word(action: PowerAction) -> &'static str {
    match action {
        PowerAction::None => READ,
        PowerAction::PowerOff => "PowerOff",
        PowerAction::PowerOn => "PowerOn",
        PowerAction::PxeOn => "NetworkBoot",
        PowerAction::PxeCycle => "PowerCycle",
    }
}

enum Failure {
    /// Its reason went before it could be sent.
    Unwanted,
    /// Upstream's text for the event, without its full stop.
    Failed(Trouble),
}

/// Gives the command, each part of it only if it is still `wanted`.
async fn command(
    server: &str,
    client: &dyn bmc::Bmc,
    action: PowerAction,
    mode: bmc::PxeMode,
    wanted: &dyn bmc::Precondition,
) -> Result<(), Failure> {
    let (prepare, act) = match action {
        PowerAction::None => (None, None),
        PowerAction::PowerOff => (None, Some((bmc::Action::Off, "power off"))),
        PowerAction::PowerOn => (None, Some((bmc::Action::On, "power on"))),
        PowerAction::PxeOn => (Some(mode), Some((bmc::Action::On, "power on"))),
        PowerAction::PxeCycle => (Some(mode), Some((bmc::Action::Cycle, "power cycle"))),
    };
    let prepare = prepare.map(|mode| (bmc::Action::PxeOnce(mode), "set to PXE boot once"));
    for (action, what) in prepare.into_iter().chain(act) {
        client.command(action, wanted).await.map_err(|error| match error {
            bmc::PowerError::Unwanted => Failure::Unwanted,
            cause => {
                let Trouble { reason, why } = Trouble::of(server, &cause);
                Failure::Failed(Trouble { reason, why: format!("Failed to {what}: {why}") })
            }
        })?;
    }
    Ok(())
}

fn notify(shared: &Shared, server: &Server, warning: bool, action: &'static str, message: String) {
    let notice = Notice { warning, reason: MANAGEMENT, action, message };
    shared.context.notify(server, notice);
}
