//! Keeps the reserved objects in existence: ServerClass `any` and the Environments `default` and
//! `default-arm64`.
//!
//! Each is watched by name; when it is gone it is made again at once.
//! Never changes one that exists: the Environments are the user's, and `any`'s own controller restores it.

use std::fmt::Debug;

use bloomery_api::decision::boot::Arch;
use bloomery_api::server_class::ANY;
use bloomery_api::{Environment, ServerClass, ServerClassSpec};
use futures::StreamExt;
use kube::api::PostParams;
use kube::core::ClusterResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::environment::default;
use crate::reconcile::Error;
use bloomery_platform::{chain, client};

/// HTTP status of a create that somebody else did first.
const ALREADY_EXISTS: u16 = 409;

/// Keeps the objects until `stop` is cancelled. `present` is called once all exist.
pub async fn keep_defaults(client: Client, stop: CancellationToken, present: impl FnOnce()) {
    let any = ServerClass::new(ANY, ServerClassSpec::default());
    let [amd64, arm64] = [Arch::Amd64, Arch::Arm64].map(default::environment);
    let made = async {
        ensure_until_done(&client, &any).await;
        ensure_until_done(&client, &amd64).await;
        ensure_until_done(&client, &arm64).await;
        present();
        futures::join!(
            keep(client.clone(), any.clone()),
            keep(client.clone(), amd64.clone()),
            keep(client.clone(), arm64.clone())
        );
    };
    // An error means no more than that the token was cancelled.
    let _ = stop.run_until_cancelled_owned(made).await;
}

/// What the objects kept here have in common.
trait Reserved:
    Resource<DynamicType = (), Scope = ClusterResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + 'static
{
}

impl Reserved for ServerClass {}
impl Reserved for Environment {}

/// Makes the object again whenever the watch says that it is gone.
async fn keep<K: Reserved>(client: Client, wanted: K) {
    let api: Api<kube::core::PartialObjectMeta<K>> = Api::all(client.clone());
    let mut watch = std::pin::pin!(watcher::watch_object(api, &wanted.name_any()).default_backoff());
    while let Some(seen) = watch.next().await {
        match seen {
            Ok(Some(_)) => {}
            Ok(None) => ensure_until_done(&client, &wanted).await,
            Err(error) => {
                warn!(kind = %K::kind(&()), error = chain(&error), "watch of a reserved object failed");
            }
        }
    }
}

/// Tries until the object exists.
async fn ensure_until_done<K: Reserved>(client: &Client, wanted: &K) {
    for delay in client::delays() {
        match ensure(client, wanted).await {
            Ok(()) => return,
            Err(error) => warn!(error = chain(&error), "reserved object not made; will try again"),
        }
        tokio::time::sleep(delay).await;
    }
}

/// Creates the object unless it exists.
async fn ensure<K: Reserved>(client: &Client, wanted: &K) -> Result<(), Error> {
    let api: Api<K> = Api::all(client.clone());
    let name = wanted.name_any();
    let object = || format!("{} {name}", K::kind(&()));
    match api.create(&PostParams::default(), wanted).await {
        Ok(_) => {
            info!(kind = %K::kind(&()), name, "reserved object created");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.code == ALREADY_EXISTS => Ok(()),
        Err(error) => Err(Error::api("create", object())(error)),
    }
}
