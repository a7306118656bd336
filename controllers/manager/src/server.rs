//! The Server controller: what is on record, power, status and the events of a machine.
//!
//! A reconcile is read → plan → apply → power → status; the decisions are `bloomery_api`'s. Server and binding may
//! come from the cache: every write carries the Server's version, so that one made on an old Server is refused. Both are
//! read from the API server before a command.
//! Never commands a machine before its claim on the object was written, and never does anything while another plane is
//! the one that acts.

pub mod age;
mod apply;
mod credentials;
mod identity;
mod ledger;
mod names;
mod objects;
pub mod orphan;
mod plan;
mod power;
mod power_cycle_age;
mod recheck;
mod reconcile_memory;
mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_api::decision::Machine;
use bloomery_api::decision::power::{ERROR_REQUEUE, PowerAction};
use bloomery_api::plane::Authority;
use bloomery_plane::{Gate, Ledger};
use bloomery_platform::watch::Feed;
use bloomery_power::{Pool, PxeMode};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::{Action, Controller, Error as ControllerError};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::fleet::{Fleet, Judgement};
use crate::reconcile::{Error, Frame, NOT_ACTING};
use crate::table::{Key, key};
use crate::watch::{Bindings, GuardedBinding, GuardedServer, Servers};
use crate::written::Version;
use names::Names;
use power_cycle_age::Stamps;
use recheck::Withheld;
use reconcile_memory::{Freshness, Memory, Seen, Settled};

/// Why nothing is reconciled at start.
const NOT_LISTED: &str = "the lists of all Servers and bindings";
/// Changes of one Server within this time make one reconcile: a machine that registers is written four times in a row.
const SETTLE: Duration = Duration::from_millis(500);
/// When to look again while the lists that conflicts are read from are not complete.
const UNTIL_LISTED: Duration = Duration::from_millis(500);
/// Until a machine is decided about anew after the ledger was written: the gate's answers are a second old at most.
const AFTER_NOTE: Duration = Duration::from_secs(2);
/// Until a plane that stopped itself is asked for again: a person's word is to count within seconds.
const WHILE_STOPPED: Duration = Duration::from_secs(3);
/// Until it is looked whether a machine that was switched off is off: BMCs say yes and do nothing, or not yet.
const AFTER_POWER_OFF: Duration = Duration::from_secs(10);

pub struct Options {
    pub gate: Gate,
    pub pool: Pool,
    /// `--server-reboot-timeout`.
    pub reboot_timeout: Duration,
    /// `--ipmi-pxe-method`.
    pub pxe_mode: PxeMode,
    /// What is remembered of machines outside of the API; `None` while its file is damaged: then no record but a claim
    /// counts.
    pub ledger: Option<Ledger>,
}

pub struct Inputs<'a> {
    pub servers: &'a mut Feed<GuardedServer>,
    pub bindings: &'a mut Feed<GuardedBinding>,
    pub fleet: Fleet,
    /// Names of Servers that changes of others concern.
    pub concerned: UnboundedReceiver<String>,
}

struct Shared {
    context: Frame,
    options: Options,
    bindings: Bindings,
    servers: Servers,
    fleet: Fleet,
    memory: Memory,
    names: Names,
    stamps: Stamps,
    withheld: Withheld,
}

impl Shared {
    /// A Server that is gone counts nowhere any more.
    fn forget(&self, server: &Key) {
        self.memory.forget(server);
        self.stamps.forget(server);
        self.withheld.forget(server);
        self.context.forget(server);
        self.context.metrics().stands(server, None);
    }
}

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    context: Frame,
    options: Options,
    inputs: Inputs<'_>,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let Inputs { servers, bindings, fleet, concerned } = inputs;
    let known = servers.cache();
    let changes = servers.subscribe().filter_map(async |change| change.applied());
    let bound = bindings.subscribe().filter_map(async |change| change.touched());
    let concerned = futures::stream::unfold(concerned, async |mut concerned| {
        let name = concerned.recv().await?;
        Some((ObjectRef::<GuardedServer>::new(&name), concerned))
    });
    let controller = Controller::for_shared_stream(changes, known.store())
        .with_config(context.config().debounce(SETTLE))
        // A binding has the name of its Server.
        .watches_shared_stream(bound, |binding| Some(ObjectRef::<GuardedServer>::new(&binding.name_any())))
        .reconcile_on(concerned)
        .graceful_shutdown_on(stop.cancelled_owned());
    let shared = Arc::new(Shared {
        context,
        options,
        bindings: bindings.cache(),
        servers: known,
        fleet,
        memory: Memory::default(),
        names: Names::default(),
        stamps: Stamps::default(),
        withheld: Withheld::default(),
    });
    controller
        .run(
            async |server, shared| Box::pin(called(&server, &shared)).await,
            |server, error, shared| shared.context.after_failure(&key(server.as_ref()), error),
            Arc::clone(&shared),
        )
        .map(move |result| {
            // Deleted while nobody looked: it is never reconciled again.
            if let Err(ControllerError::ObjectNotFound(gone)) = result {
                shared.forget(&gone);
            }
        })
}

/// When to ask again whether this plane acts.
fn until_it_acts(authority: &Authority) -> Duration {
    match authority {
        Authority::Stopped { .. } => WHILE_STOPPED,
        Authority::Holds { .. } | Authority::Fenced { .. } | Authority::Unknown => ERROR_REQUEUE,
    }
}

/// Reconciles, unless all that happened since the last time are our own writes.
async fn called(cached: &Arc<GuardedServer>, shared: &Shared) -> Result<Action, Error> {
    let (name, object) = (cached.name_any(), key(cached.as_ref()));
    let authority = shared.options.gate.current().await;
    if !authority.acts() {
        return Ok(shared.context.wait(NOT_ACTING, until_it_acts(&authority)));
    }
    let binding = shared.bindings.named(&name).map(|binding| Version::of(binding.meta()));
    let server = Version::of(cached.meta());
    // A malformed one has nothing in common with others, and the reconcile says what is wrong with it.
    let judged = match &cached.0 {
        Ok(server) => shared.fleet.judge(server, &authority),
        Err(_) => Some(Judgement::default()),
    };
    let Some(judged) = judged else { return Ok(shared.context.wait(NOT_LISTED, UNTIL_LISTED)) };
    let seen = Seen { server: &server, binding: binding.as_ref(), authority: &authority, judged: &judged };
    let known = shared.memory.compare(&object, seen, Instant::now());
    let cached = match known {
        Freshness::Settled(left) => return Ok(Action::requeue(left)),
        Freshness::Behind => None,
        Freshness::Changed => Some(cached.as_ref()),
    };
    shared.memory.forget(&object);
    let cached = if recheck::catch_up(shared, &object).await { None } else { cached };
    let unbound = binding.is_none() && shared.bindings.is_listed();
    let work = Box::pin(reconcile(&object, (cached, unbound), &authority, shared));
    shared.context.observe(&object, work).await
}

async fn reconcile(
    object: &Key,
    (cached, unbound): (Option<&GuardedServer>, bool),
    authority: &Authority,
    shared: &Shared,
) -> Result<Action, Error> {
    let (context, name) = (&shared.context, object.name.as_str());
    if let Some(server) = cached.and_then(|cached| cached.0.as_ref().ok()) {
        shared.names.resolve(&shared.fleet, server).await;
    }
    let Some(objects) = objects::read(&context.client, name, cached, unbound).await? else {
        // Its binding, if one is left, has a controller of its own.
        shared.forget(object);
        return Ok(Action::await_change());
    };
    let now = Time(Timestamp::now());
    let binding = objects.binding.as_ref();
    let Some(judged) = shared.fleet.judge(&objects.server, authority) else {
        return Ok(context.wait(NOT_LISTED, UNTIL_LISTED));
    };
    let of = |server| Machine { server, binding, authority, conflict: judged.conflict.as_ref() };
    // Before the record: what is lost of both is lost of neither.
    let before = ledger::note(shared.options.ledger.as_ref(), &of(&objects.server), &now).await?;
    let plan = plan::plan(&of(&objects.server), &now, &plan::new_record_id());
    let Some(server) = apply::apply(&context.urgent, name, &objects.server, binding, &plan).await? else {
        shared.forget(object);
        return Ok(Action::await_change());
    };
    let after = ledger::note(shared.options.ledger.as_ref(), &of(&server), &now).await?;
    let Some(step) = power::control(shared, &server, binding, authority, &judged, &now).await? else {
        return Ok(Action::requeue(power::AFTER_CHANGE));
    };
    let status::Wrote { standing, server } =
        status::write(context, &of(&step.server), judged.shared.as_ref(), &step.outcome).await?;
    context.metrics().stands(object, Some(standing.reason()));
    let requeue = match step.action {
        PowerAction::PowerOff => Some(AFTER_POWER_OFF),
        PowerAction::None | PowerAction::PowerOn | PowerAction::PxeOn | PowerAction::PxeCycle => step.requeue,
    };
    let requeue = requeue.unwrap_or(context.resync()).min(context.resync());
    // What is decided by the ledger was decided by what it said before: once more, and nothing is settled.
    if before || after {
        return Ok(Action::requeue(requeue.min(AFTER_NOTE)));
    }
    // Some changes take two steps, the second once the first is on record: then the echo of the first is work.
    let next = plan::plan(&of(&server), &now, &plan::new_record_id());
    if next.is_empty() {
        // A binding that was written above comes back with another version than the one that is noted here.
        let binding = binding.map(|binding| Version::of(&binding.metadata));
        let server = Version::of(&server.metadata);
        let until = Instant::now() + requeue;
        shared
            .memory
            .settle(object, Settled { server, binding, authority: authority.clone(), judged, until });
    }
    Ok(Action::requeue(requeue))
}
