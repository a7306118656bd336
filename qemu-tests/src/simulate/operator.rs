//! What an administrator would do at the Kubernetes API: accept machines, and tell where their power API is.
//!
//! It changes Servers of simulated machines only, and of those only the two fields.

use super::{config::Operate, inventory::Identity, machine::World, tally::Tally};
use anyhow::{Context, Result};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::sleep,
};

/// Requests at once.
const WORKERS: usize = 8;
/// Wait after a failed request, growing to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(8);
/// Limit of one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// A client for `kubeconfig`, at `server` instead of where it says.
///
/// # Errors
/// The text is no kubeconfig, or its certificates are unreadable.
pub async fn client(kubeconfig: &str, server: Option<&str>) -> Result<Client> {
    let mut parsed = Kubeconfig::from_yaml(kubeconfig).context("failed to parse the kubeconfig")?;
    if let Some(server) = server {
        for cluster in parsed.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(server.to_owned());
        }
    }
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .context("failed to use the kubeconfig")?;
    config.connect_timeout = Some(REQUEST_LIMIT);
    config.read_timeout = Some(REQUEST_LIMIT);
    Client::try_from(config).context("failed to make a Kubernetes client")
}

/// Servers, by their wire form.
pub fn servers(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("metal.sidero.dev", "v1alpha2", "Server");
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "servers"))
}

/// Handles every machine that registers, until no more can come.
pub async fn run(
    client: Client,
    operate: Operate,
    power_port: u16,
    registered: mpsc::UnboundedReceiver<Identity>,
    world: Arc<World>,
) {
    let registered = Arc::new(Mutex::new(registered));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (registered, servers, operate, world) =
            (Arc::clone(&registered), servers(&client), operate.clone(), Arc::clone(&world));
        workers.spawn(async move {
            loop {
                let next = registered.lock().await.recv().await;
                let Some(identity) = next else { return };
                let patch = patch(&operate, &identity, power_port);
                write(&servers, &identity, &patch, &world.tally).await;
            }
        });
    }
    while workers.join_next().await.is_some() {}
}

/// Tries until it is written.
async fn write(servers: &Api<DynamicObject>, identity: &Identity, patch: &Value, tally: &Tally) {
    let mut wait = FIRST_RETRY;
    let name = identity.uuid.to_string();
    while let Err(error) = servers.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
        tally.error("api-patch".to_owned(), format!("failed to patch server {name}: {error}"));
        sleep(wait).await;
        wait = (2 * wait).min(LONGEST_RETRY);
    }
    tally.operated();
}

fn patch(operate: &Operate, identity: &Identity, power_port: u16) -> Value {
    let mut spec = serde_json::Map::new();
    if operate.management_api {
        spec.insert(
            "managementApi".to_owned(),
            json!({ "endpoint": format!("{}:{power_port}", identity.address) }),
        );
    }
    if operate.accept {
        spec.insert("accepted".to_owned(), json!(true));
    }
    json!({ "spec": spec })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::config::Firmware;

    #[test]
    fn only_what_was_asked_for_is_changed() {
        let identity = Identity::new(1, [10, 78, 0, 3].into(), Firmware::Uefi);
        let operate = |accept, management_api| Operate {
            kubeconfig: String::new(),
            server: None,
            accept,
            management_api,
        };
        assert_eq!(
            patch(&operate(true, true), &identity, 8000),
            json!({ "spec": { "managementApi": { "endpoint": "10.78.0.3:8000" }, "accepted": true } })
        );
        assert_eq!(patch(&operate(true, false), &identity, 8000), json!({ "spec": { "accepted": true } }));
    }
}
