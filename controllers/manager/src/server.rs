//! The Server controller: what is on record, power, status and the events of a machine.
//!
//! A reconcile is fetch → validate → plan → apply → power → status. Everything is read from the API server at that
//! moment, whether this plane may act included; the decisions are `bloomery_api`'s.
//! Never reads a binding from a cache, never commands a machine before its claim on the object was written, and never
//! does anything while another plane is the one that acts.

mod apply;
mod credentials;
mod fetch;
pub mod orphan;
mod plan;
mod power;
mod recheck;
mod stamps;
mod status;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::decision::power::{ERROR_REQUEUE, PowerAction};
use bloomery_api::{Server, ServerBinding};
use bloomery_plane::Gate;
use bloomery_power::{Pool, PxeMode};
use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller, Error as ControllerError};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::reconcile::{Context, Error, RESYNC};
use stamps::Stamps;

/// Kind, for metrics and logs.
const KIND: &str = "Server";
/// No limit: a reconcile waits for the machine's BMC, and a thousand dead ones must not delay the others. What is
/// dear is bounded elsewhere: calls of the API by [`API_CALLS`], BMC sessions by the pool.
const CONCURRENCY: u16 = 0;
/// Reconciles that talk to the API server at once.
const API_CALLS: usize = 12;
/// Changes of one Server within this time make one reconcile: a machine that registers is written four times in a row.
const SETTLE: Duration = Duration::from_millis(500);
/// Until it is looked whether a machine that was switched off is off: BMCs say yes and do nothing, or not yet.
const AFTER_POWER_OFF: Duration = Duration::from_secs(10);

/// An object of the kind, or what was wrong with it: one malformed object must not stop the watch.
type Guarded = DeserializeGuard<Server>;

/// What this controller is given.
pub struct Options {
    /// Whether this plane may act.
    pub gate: Gate,
    /// All management controllers.
    pub pool: Pool,
    /// `--server-reboot-timeout`.
    pub reboot_timeout: Duration,
    /// `--ipmi-pxe-method`.
    pub pxe_mode: PxeMode,
}

/// What the reconciles share.
struct Shared {
    context: Context,
    options: Options,
    api_calls: Semaphore,
    stamps: Stamps,
}

impl Shared {
    /// A turn at the API server. Given back before a management controller is waited for.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Fails only when closed, which it never is.
        self.api_calls.acquire().await.ok()
    }

    /// A Server that is gone counts nowhere any more.
    fn forget(&self, name: &str) {
        self.stamps.forget(name);
        self.context.metrics().stands(name, None);
    }
}

/// The controller as a stream that ends when `stop` is cancelled, and the store that it fills.
pub fn controller(
    context: Context,
    options: Options,
    stop: CancellationToken,
) -> (Store<Guarded>, impl Stream<Item = ()> + Send) {
    let servers: Api<Guarded> = Api::all(context.client.clone());
    let bindings: Api<PartialObjectMeta<ServerBinding>> = Api::all(context.client.clone());
    let controller = Controller::new(servers, watcher::Config::default())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY).debounce(SETTLE))
        // A binding has the name of its Server.
        .watches(bindings, watcher::Config::default(), |binding| {
            Some(ObjectRef::<Guarded>::new(&binding.name_any()))
        })
        .graceful_shutdown_on(stop.cancelled_owned());
    let store = controller.store();
    let shared = Arc::new(Shared {
        context,
        options,
        api_calls: Semaphore::new(API_CALLS),
        stamps: Stamps::default(),
    });
    let work = controller
        .run(
            async |server, shared| {
                let name = server.name_any();
                shared.context.observe(KIND, &name, Box::pin(reconcile(&name, &shared))).await
            },
            |server, error, shared| shared.context.after_failure(KIND, &server.name_any(), error),
            Arc::clone(&shared),
        )
        .map(move |result| {
            // Deleted while nobody looked: it is never reconciled again.
            if let Err(ControllerError::ObjectNotFound(gone)) = result {
                shared.forget(&gone.name);
            }
        });
    (store, work)
}

async fn reconcile(name: &str, shared: &Shared) -> Result<Action, Error> {
    let context = &shared.context;
    let turn = shared.turn().await;
    let authority = shared.options.gate.current().await;
    if !authority.acts() {
        return Ok(Action::requeue(ERROR_REQUEUE));
    }
    let fetch::Fetched { server: Some(server), binding } = fetch::fetch(&context.client, name).await? else {
        // Its binding, if one is left, has a controller of its own.
        shared.forget(name);
        return Ok(Action::await_change());
    };
    let objects = validate::validate(server, binding)?;
    let now = Time(Timestamp::now());
    let binding = objects.binding.as_ref();
    let plan = plan::plan(&objects.server, binding, &authority, &now, &plan::new_record_id());
    let Some(server) = apply::apply(&context.client, name, &objects.server, binding, &plan).await? else {
        shared.forget(name);
        return Ok(Action::await_change());
    };
    drop(turn);
    let Some(step) = power::control(shared, &server, binding, &authority, &now).await? else {
        return Ok(Action::requeue(power::AFTER_CHANGE));
    };
    let turn = shared.turn().await;
    let standing = status::write(context, &step.server, binding, &authority, &step.outcome).await?;
    drop(turn);
    context.metrics().stands(name, Some(standing.reason()));
    let requeue = match step.action {
        PowerAction::PowerOff => Some(AFTER_POWER_OFF),
        PowerAction::None | PowerAction::PowerOn | PowerAction::PxeOn | PowerAction::PxeCycle => step.requeue,
    };
    Ok(Action::requeue(requeue.unwrap_or(RESYNC).min(RESYNC)))
}
