//! The Environment controller: says which assets are here, by looking at them.
//!
//! An asset counts when its file exists, is not empty and has the SHA-512 that is asked for.
//! Never believes an earlier status: files can vanish while a status stays. Never fetches assets; whoever
//! puts the files in place gets them seen within `RECHECK`.

mod assets;
mod fetch;
mod plan;
mod status;
mod validate;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::Environment;
use futures::{Stream, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;

use crate::reconcile::{Context, Error};
use assets::Digests;

pub mod default;

/// Kind, for metrics and logs.
const KIND: &str = "Environment";
/// Few: each may read files of a hundred megabytes.
const CONCURRENCY: u16 = 2;
/// Files have no watch of their own; looking at two sizes and times is cheap.
const RECHECK: Duration = Duration::from_secs(20);

/// An object of the kind, or what was wrong with it: one malformed object must not stop the watch.
type Guarded = DeserializeGuard<Environment>;

/// What this reconciler needs beyond the common context.
struct EnvironmentContext {
    common: Context,
    directory: PathBuf,
    digests: Digests,
}

/// The controller as a stream that ends when `stop` is cancelled, and the store that it fills.
pub fn controller(
    context: Context,
    directory: PathBuf,
    stop: CancellationToken,
) -> (Store<Guarded>, impl Stream<Item = ()> + Send) {
    let environments: Api<Guarded> = Api::all(context.client.clone());
    let controller = Controller::new(environments, watcher::Config::default())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stop.cancelled_owned());
    let store = controller.store();
    let context = Arc::new(EnvironmentContext { common: context, directory, digests: Digests::default() });
    let work = controller
        .run(
            async |environment, context| reconcile(&environment.name_any(), &context).await,
            |environment, error, context| context.common.after_failure(KIND, &environment.name_any(), error),
            context,
        )
        .map(drop);
    (store, work)
}

async fn reconcile(name: &str, context: &EnvironmentContext) -> Result<Action, Error> {
    context
        .common
        .observe(
            KIND,
            name,
            Box::pin(async {
                let Some(fetched) = fetch::fetch(&context.common.client, name).await? else {
                    return Ok(Action::await_change());
                };
                let environment = validate::validate(fetched)?;
                let findings = assets::inspect(&context.directory, &environment, &context.digests).await?;
                let plan = plan::plan(&environment, &findings);
                status::write(&context.common, &environment, &plan).await?;
                Ok(Action::requeue(RECHECK))
            }),
        )
        .await
}
