//! What a plane is told so that its machines become nodes on board `ns`: an Environment, a `ServerClass`, power.
//!
//! It writes what an administrator would with kubectl, by the wire form.

use super::{node::Node, patches, site::NodeSite};
use crate::{
    eventually,
    servers::{self, Server},
};
use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use std::time::Duration;

/// Name of the class and of the Environment.
pub const CLASS: &str = "lab";
/// What a node that starts installed has said (spec/sidero.md §7).
const SAID: [&str; 3] = ["TalosConfigLoaded", "TalosConfigValidated", "TalosInstalled"];
/// A conflict or two.
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(20);
/// Who writes (server-side apply).
const MANAGER: &str = "bloomery-lab";

/// Makes class and Environment: the patches of the class carry all that container mode needs.
///
/// # Errors
/// The API refuses.
pub async fn prepare(client: &Client, site: &NodeSite) -> Result<()> {
    let file = |name: &str| json!({ "url": format!("http://{}/files/{name}", site.registry()) });
    let mut kernel = file("vmlinuz");
    kernel["args"] = json!(["console=ttyS0", "talos.platform=metal"]);
    let environment = json!({ "kernel": kernel, "initrd": file("initramfs.xz") });
    apply(client, "Environment", "environments", environment).await?;
    let class = json!({
        "environmentRef": { "name": CLASS },
        "strategicPatches": [patches::all(site.host(), site.registry()), patches::without_add_ons()],
    });
    apply(client, "ServerClass", "serverclasses", class).await
}

pub(super) async fn apply(client: &Client, kind: &str, plural: &str, spec: Value) -> Result<()> {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("metal.sidero.dev", "v1alpha2", kind),
        plural,
    );
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let object = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": kind, "metadata": { "name": CLASS }, "spec": spec,
    });
    let applied = api.patch(CLASS, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await;
    applied.map(drop).with_context(|| format!("failed to apply the {kind} {CLASS}"))
}

/// Says on its `ServerBinding` what the node would over `SideroLink`: its address and name, and that Talos is installed.
///
/// In container mode Talos makes no tunnel, so that the plane would never hear of them: `siderolink.ManagerController` waits
/// for the machine's UUID, and `hardware.SystemInfoController` reads none there.
///
/// # Errors
/// The API refuses.
pub async fn announce(client: &Client, node: &Node) -> Result<()> {
    let kind = GroupVersionKind::gvk("infrastructure.cluster.x-k8s.io", "v1alpha3", "ServerBinding");
    let resource = ApiResource::from_gvk_with_plural(&kind, "serverbindings");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let name = node.identity.uuid.to_string();
    let spec = json!({ "spec": { "addresses": [node.address().to_string()], "hostname": node.name } });
    let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(&spec)).await;
    patched.with_context(|| format!("failed to announce {}", node.name))?;
    // The controllers write conditions beside these: on the version that was read, or again.
    eventually!(format!("{} says that it is installed", node.name), ANNOUNCE_LIMIT, None, async {
        let binding = api.get(&name).await?;
        let mut conditions = binding.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|one| !SAID.contains(&one["type"].as_str().unwrap_or_default()));
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        conditions
            .extend(SAID.map(|type_| json!({ "type": type_, "status": "True", "lastTransitionTime": now })));
        let status = json!({
            "metadata": { "resourceVersion": binding.metadata.resource_version },
            "status": { "conditions": conditions },
        });
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.map(Some)
    })?;
    Ok(())
}

/// Waits until the machine is listed, with its hardware.
///
/// # Errors
/// It is not in time.
pub async fn registered(client: &Client, node: &Node, limit: Duration) -> Result<Server> {
    let uuid = node.identity.uuid.to_string();
    let server = eventually!(format!("{} registers", node.name), limit, Some(&node.console()), async {
        let server = servers::get(client, &uuid).await?;
        Ok::<_, anyhow::Error>(server.spec.get("hardware").is_some().then_some(server))
    })?;
    Ok(server)
}

/// Accepts the machine and tells where its power is switched.
///
/// # Errors
/// The API refuses.
pub async fn accept(client: &Client, node: &Node) -> Result<()> {
    let api = NodeSite::power_api(node.number());
    let spec = json!({ "accepted": true, "managementApi": { "endpoint": api.to_string() } });
    servers::patch_spec(client, &node.identity.uuid.to_string(), spec).await
}

/// Waits until the machine is clean, off and free.
///
/// # Errors
/// It is not in time.
pub async fn clean(client: &Client, node: &Node, limit: Duration) -> Result<()> {
    let uuid = node.identity.uuid.to_string();
    eventually!(format!("{} is clean and available", node.name), limit, Some(&node.console()), async {
        let server = servers::get(client, &uuid).await?;
        let available = servers::available(client, CLASS).await?;
        let (on, wiped) = (node.is_on().await, server.condition("DisksWiped"));
        let done = server.is_clean() && server.is_off() && !on && available.contains(&server.name);
        if done {
            Ok(Some(()))
        } else {
            Err(anyhow::anyhow!("clean {}, on {on}, {wiped:?}", server.is_clean()))
        }
    })?;
    Ok(())
}
