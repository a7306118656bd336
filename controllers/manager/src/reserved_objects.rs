//! Keeps the reserved objects in existence: ServerClass `any` and the Environments `default` and
//! `default-arm64`.
//!
//! When one is gone it is made again at once.
//! Never changes one that exists: the Environments are the user's, and `any`'s own controller restores it.

use bloomery_api::arch::Arch;
use bloomery_api::server_class::ANY;
use bloomery_api::{Environment, ServerClass, ServerClassSpec};
use bloomery_platform::watch::{Change, Watched};
use bloomery_platform::{chain, client};
use futures::{Stream, StreamExt};
use kube::api::PostParams;
use kube::core::{ClusterResourceScope, DeserializeGuard};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::environment::default;
use crate::reconcile::Error;

/// HTTP status of a create that somebody else did first.
const ALREADY_EXISTS: u16 = 409;

/// Keeps the objects until `stop` is cancelled. `present` is called once all exist.
pub async fn keep_defaults(
    client: Client,
    (classes, environments): (
        impl Stream<Item = Change<DeserializeGuard<ServerClass>>>,
        impl Stream<Item = Change<DeserializeGuard<Environment>>>,
    ),
    stop: CancellationToken,
    present: impl FnOnce(),
) {
    let any = ServerClass::new(ANY, ServerClassSpec::default());
    let defaults = [Arch::Amd64, Arch::Arm64].map(default::environment);
    let made = async {
        ensure_until_done(&client, &any).await;
        for environment in &defaults {
            ensure_until_done(&client, environment).await;
        }
        present();
        futures::join!(
            keep(&client, std::slice::from_ref(&any), classes),
            keep(&client, &defaults, environments)
        );
    };
    // An error means no more than that the token was cancelled.
    let _ = stop.run_until_cancelled_owned(made).await;
}

/// What the objects kept here have in common.
trait Reserved: Resource<DynamicType = (), Scope = ClusterResourceScope> + Serialize + Watched {}

impl Reserved for ServerClass {}
impl Reserved for Environment {}

/// Makes an object again whenever it is gone.
async fn keep<K: Reserved>(
    client: &Client,
    wanted: &[K],
    changes: impl Stream<Item = Change<DeserializeGuard<K>>>,
) {
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.next().await {
        if let Change::Deleted(gone) = change
            && let Some(wanted) = wanted.iter().find(|wanted| wanted.name_any() == gone.name_any())
        {
            ensure_until_done(client, wanted).await;
        }
    }
}

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
