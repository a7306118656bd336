//! The Environment controller: brings the assets of Environments, and says which are here.
//!
//! An asset counts when its file exists, comes from the URL that is asked for, has the content it had when it
//! came, and has the SHA-512 that is asked for, if any is. Downloads are tasks of their own; a reconcile looks,
//! starts what is missing and reports.
//! Never believes an earlier status: files can vanish while a status stays.

mod apply;
mod assets;
pub mod demand;
mod downloads;
mod plan;
mod status;
mod sweep;

use std::path::PathBuf;
use std::sync::Arc;

use bloomery_api::Environment;
use bloomery_platform::watch::Feed;
use futures::{Stream, StreamExt};
use kube::Api;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Controller};
use tokio_util::sync::CancellationToken;

use crate::download::{Fetcher, Limits, Trust};
use crate::keyed_lock::KeyedLock;
use crate::reconcile::{Error, Frame, read};
use crate::table::{Key, key};
use assets::Digests;
use demand::Demand;
use downloads::Downloads;
use status::Said;

pub mod default;

/// An object of the kind, or what was wrong with it: one malformed object must not stop the watch.
type Guarded = DeserializeGuard<Environment>;

/// Where assets are, come from, and whom their download trusts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the assets in place.
    pub directory: PathBuf,
    /// Directory of `file:` URLs.
    pub assets: PathBuf,
    /// CA certificates besides the public ones.
    pub extra_ca: Option<PathBuf>,
}

/// What this reconciler needs beyond the common context.
struct EnvironmentContext {
    common: Frame,
    options: Options,
    digests: Digests,
    downloads: Downloads,
    demand: Demand,
    said: Said,
    /// Reconcile and removal of one name take turns.
    turns: KeyedLock<Key>,
}

/// The controller as a stream that ends when `stop` is cancelled.
pub fn controller(
    context: Frame,
    options: Options,
    demand: Demand,
    environments: &mut Feed<Guarded>,
    stop: CancellationToken,
) -> impl Stream<Item = ()> + Send + use<> {
    let applied = environments.subscribe().filter_map(async |change| change.applied());
    let (cache, gone) = (environments.cache(), environments.subscribe());
    let fetcher = Fetcher {
        trust: Trust::new(options.extra_ca.clone()),
        limits: Limits::default(),
        assets: options.assets.clone(),
    };
    let downloads = Downloads::new(fetcher, context.metrics());
    let changed = downloads.changed.clone();
    let finished = futures::stream::unfold(changed, |changed| async move {
        changed.notified().await;
        Some(((), changed))
    });
    let controller = Controller::for_shared_stream(applied, cache.store())
        .with_config(context.config())
        .reconcile_all_on(finished)
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    let context = Arc::new(EnvironmentContext {
        common: context,
        options,
        digests: Digests::default(),
        downloads,
        demand,
        said: Said::default(),
        turns: KeyedLock::default(),
    });
    let work = controller
        .run(
            async |environment, context| reconcile(&key(environment.as_ref()), &context).await,
            |environment, error, context| context.common.after_failure(&key(environment.as_ref()), error),
            context.clone(),
        )
        .map(drop);
    // Neither the removal of files nor the wait for a machine that needs some has items of its own; they live as long
    // as the controller.
    let beside = async move {
        let demanded = async {
            context.demand.wait().await;
            context.downloads.changed.notify_one();
        };
        futures::join!(sweep::run(context.clone(), cache, gone), demanded);
    };
    let beside = futures::stream::once(beside).take_until(stop.cancelled_owned());
    futures::stream::select(work, beside)
}

async fn reconcile(object: &Key, context: &EnvironmentContext) -> Result<Action, Error> {
    let common = &context.common;
    let work = async {
        let _turn = context.turns.lock(object).await;
        let Some(environment) = read(&Api::all(common.client.clone()), &object.name).await? else {
            return Ok(Action::await_change());
        };
        let assets = apply::apply(context, &environment).await;
        let plan = plan::plan(&environment, &assets);
        status::write(common, &context.said, &environment, &plan).await?;
        Ok(Action::requeue(common.resync()))
    };
    common.observe(object, Box::pin(work)).await
}
