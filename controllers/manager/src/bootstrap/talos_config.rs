//! The TalosConfig controller: makes the configurations of machines, once each, and keeps the Secrets of their clusters.
//!
//! What it sees comes from caches; a Secret is read before anything depends on it, and created rather than written over.
//! Never acts for a plane that does not.

mod affected;
mod client_config;
mod failure;
mod make;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::TalosConfig;
use bloomery_api::bootstrap::decision::{Step, View, decide};
use bloomery_api::bootstrap::owner::Owner;
use bloomery_api::bootstrap::status::{Outcome, config_status};
use bloomery_api::contract::{Cluster, Machine, MachinePool};
use bloomery_api::talos_config::LEGACY_FINALIZER;
use bloomery_plane::Gate;
use bloomery_platform::events::Notice;
use bloomery_platform::patch::{self, Part};
use bloomery_platform::watch::{Cache, Feed, Watched};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::PatchParams;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::watches::Watches;
use crate::cluster::{GROUP, is_paused, owner};
use crate::infrastructure;
use crate::keyed_lock::KeyedLock;
use crate::reconcile::{Error, Frame, readable};
use crate::status_patch::status_patch;
use crate::table::key;
use crate::watch::SecretMeta;
use failure::Failure;

/// Why nothing is reconciled at start.
const NOT_LISTED: &str = "the lists of Clusters, Machines and Secrets";
/// When to look again while those are not complete.
const UNTIL_LISTED: Duration = Duration::from_millis(500);
/// When to look again after what cannot be made: what a user writes to mend it may be something that is not watched.
const AFTER_FAILURE: Duration = Duration::from_secs(20);
/// Reason of events on TalosConfigs.
const REASON: &str = "TalosConfig";

/// A TalosConfig, or what was wrong with it.
type Guarded = DeserializeGuard<TalosConfig>;

/// What the reconciles share.
struct Shared {
    frame: Frame,
    gate: Gate,
    clusters: Cache<DeserializeGuard<Cluster>>,
    machines: Cache<DeserializeGuard<Machine>>,
    pools: Cache<DeserializeGuard<MachinePool>>,
    secrets: Cache<SecretMeta>,
    /// One at a time makes what the machines of a cluster share: by namespace and name of the Cluster.
    turns: KeyedLock<(String, String)>,
}

/// A TalosConfig whose Cluster is known.
struct Scene<'a> {
    shared: &'a Shared,
    config: &'a TalosConfig,
    cluster: &'a Cluster,
    namespace: String,
}

/// The controller as a stream that ends when `stop` is cancelled. `secrets` are those with the label of a cluster.
pub fn controller(
    frame: Frame,
    gate: Gate,
    watches: &mut Watches,
    secrets: &mut Feed<SecretMeta>,
    provider: &mut infrastructure::Watches,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let known = watches.configs.feed.cache();
    let changes = watches.configs.feed.subscribe().filter_map(async |change| change.applied());
    let machines = provider.machines.feed.subscribe().filter_map(async |change| change.touched());
    let pools = watches.pools.feed.subscribe().filter_map(async |change| change.touched());
    let clusters = provider.clusters.feed.subscribe().filter_map(async |change| change.touched());
    let known_secrets = secrets.cache();
    let secrets = secrets.subscribe().filter_map(async |change| change.touched());
    let shared = Arc::new(Shared {
        frame,
        gate,
        clusters: provider.clusters.feed.cache(),
        machines: provider.machines.feed.cache(),
        pools: watches.pools.feed.cache(),
        secrets: known_secrets,
        turns: KeyedLock::default(),
    });
    let affected = affected::Affected { configs: known.clone(), machines: provider.machines.feed.cache() };
    let (of_machine, of_cluster, of_secret) = (affected.clone(), affected.clone(), affected);
    Controller::for_shared_stream(changes, known.store())
        .with_config(shared.frame.config())
        .watches_shared_stream(machines, move |machine| of_machine.by_machine(&machine))
        .watches_shared_stream(pools, |pool| affected::by_pool(&pool))
        .watches_shared_stream(clusters, move |cluster| of_cluster.by_cluster(&cluster))
        .watches_shared_stream(secrets, move |secret| of_secret.by_secret(&secret))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(
            async |config, shared| {
                let object = key(config.as_ref());
                shared.frame.observe(&object, Box::pin(reconcile(config.as_ref(), &shared))).await
            },
            |config, error, shared| shared.frame.after_failure(&key(config.as_ref()), error),
            shared,
        )
        .map(drop)
}

async fn reconcile(cached: &Guarded, shared: &Shared) -> Result<Action, Error> {
    if !shared.gate.current().await.acts() {
        return Ok(shared.frame.wait_to_act());
    }
    if !(shared.clusters.is_listed() && shared.machines.is_listed() && shared.secrets.is_listed()) {
        return Ok(shared.frame.wait(NOT_LISTED, UNTIL_LISTED));
    }
    let config = readable(cached.clone())?;
    let namespace = config.namespace().unwrap_or_default();
    let machine = owned_by(&config, "Machine", &shared.machines)?;
    let pool = owned_by(&config, "MachinePool", &shared.pools)?;
    let owner = machine.as_ref().map(Owner::Machine).or_else(|| pool.as_ref().map(Owner::Pool));
    let cluster = owner.and_then(Owner::cluster);
    let cluster = cluster.and_then(|name| shared.clusters.get(&ObjectRef::new(name).within(&namespace)));
    let cluster = cluster.map(|found| readable(found.as_ref().clone())).transpose()?;
    let is_paused = is_paused(&config.metadata, cluster.as_ref());
    let scene = |cluster| Scene { shared, config: &config, cluster, namespace: namespace.clone() };
    let look_again = Action::requeue(shared.frame.resync());
    match decide(&View { config: &config, owner, cluster: cluster.as_ref(), is_paused }) {
        Step::Nothing => Ok(Action::await_change()),
        Step::DropFinalizer => {
            shared.drop_finalizer(&config).await?;
            Ok(Action::await_change())
        }
        Step::Paused => {
            shared.say(&config, &Outcome::Paused).await?;
            Ok(Action::await_change())
        }
        Step::Wait(wait) => {
            shared.say(&config, &Outcome::Waits(wait)).await?;
            Ok(look_again)
        }
        Step::Refuse(why) => shared.fail(&config, Failure::told(why)).await,
        Step::Adopt(cluster, name) => scene(cluster).keep(Some(name), None).await,
        Step::Keep(cluster) => scene(cluster).keep(None, None).await,
        Step::Make(cluster, task) => {
            let scene = scene(cluster);
            match Box::pin(scene.make(&task)).await {
                Ok(made) => {
                    let talos_config = made.talos_config.as_ref().map(bloomery_talosconfig::Secret::expose);
                    scene.keep(Some(&task.data_secret), talos_config).await
                }
                Err(failure) => shared.fail(&config, failure).await,
            }
        }
    }
}

/// The owner of that kind as the cache has it.
fn owned_by<K>(
    config: &TalosConfig,
    kind: &str,
    known: &Cache<DeserializeGuard<K>>,
) -> Result<Option<K>, Error>
where
    DeserializeGuard<K>: Watched,
    K: kube::Resource<DynamicType = ()>,
{
    let Some(reference) = owner(&config.metadata, GROUP, kind) else { return Ok(None) };
    let place = ObjectRef::new(&reference.name).within(&config.namespace().unwrap_or_default());
    known.get(&place).map(|found| readable(found.as_ref().clone())).transpose()
}

impl Shared {
    fn configs(&self, config: &TalosConfig) -> Api<TalosConfig> {
        Api::namespaced(self.frame.client.clone(), &config.namespace().unwrap_or_default())
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.frame.client.clone(), namespace)
    }

    async fn drop_finalizer(&self, config: &TalosConfig) -> Result<(), Error> {
        let others: Vec<_> = config.finalizers().iter().filter(|name| *name != LEGACY_FINALIZER).collect();
        let change = json!({ "metadata": { "finalizers": others } });
        patch::merge(&self.configs(config), config, change, Part::Object, &PatchParams::default())
            .await
            .map_err(Error::api("patch", format!("TalosConfig {}", config.name_any())))?;
        Ok(())
    }

    /// Writes the status if it changes; whether it did.
    async fn say(&self, config: &TalosConfig, outcome: &Outcome<'_>) -> Result<bool, Error> {
        let status = config_status(config, outcome, &Time(Timestamp::now()));
        let Some(change) = status_patch(config.status.as_ref(), &status) else { return Ok(false) };
        patch::merge(&self.configs(config), config, change, Part::Status, &PatchParams::default())
            .await
            .map_err(Error::api("patch status of", format!("TalosConfig {}", config.name_any())))?;
        Ok(true)
    }

    /// Says why there is no configuration. What may pass is tried again, later each time.
    async fn fail(&self, config: &TalosConfig, failure: Failure) -> Result<Action, Error> {
        let Failure { told, retry } = failure;
        if self.say(config, &Outcome::Failed(&told)).await? {
            let message = format!("the machine configuration cannot be made: {told}");
            self.frame.notify(config, Notice { warning: true, reason: REASON, action: "Generate", message });
        }
        retry.map_or(Ok(Action::requeue(AFTER_FAILURE)), Err)
    }
}

impl Scene<'_> {
    /// Keeps what belongs to a configuration that is there, and says that it is.
    async fn keep(&self, secret: Option<&str>, talos_config: Option<&str>) -> Result<Action, Error> {
        let known = self.config.status.as_ref().and_then(|status| status.data_secret_name.as_deref());
        let kept = self.keep_secrets(secret.or(known)).await;
        let result = match kept {
            Ok(()) => self.keep_client_config().await,
            Err(failure) => Err(failure),
        };
        let client_config = result.as_ref().copied().map_err(|failure| failure.told.as_str());
        let is_news =
            self.shared.say(self.config, &Outcome::Made { secret, talos_config, client_config }).await?;
        let Err(Failure { told, retry }) = result else {
            return Ok(Action::requeue(self.shared.frame.resync()));
        };
        if is_news {
            let message = format!("the client configuration of the cluster cannot be made: {told}");
            let notice = Notice { warning: true, reason: REASON, action: "Generate", message };
            self.shared.frame.notify(self.config, notice);
        }
        retry.map_or(Ok(Action::requeue(AFTER_FAILURE)), Err)
    }
}
