//! The machines that are attacked: nobody's, clean, a cluster's, and in the middle of a wipe.

use super::site::{ANSWER_LIMIT, Bench, Fleet, MACHINES_LIMIT, Site};
use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    contract::BOOT_PORT,
    eventually,
    impostor::Victim,
    servers::{self, Server},
    simulate::{
        config::{Config, Firmware, Mix},
        inventory::Identity,
    },
};
use kube::{
    Api,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use std::{net::Ipv4Addr, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Numbers of the machines.
pub(crate) const UNACCEPTED: u32 = 0;
pub(crate) const CLEAN: u32 = 1;
pub(crate) const BOUND: u32 = 2;
/// In a subnet of its own: its simulation has a relay of its own.
pub(crate) const WIPING: u32 = 250;
pub(crate) const ALL: [u32; 4] = [UNACCEPTED, CLEAN, BOUND, WIPING];
/// Their power API; the second simulation needs another port.
const POWER_PORTS: [u16; 2] = [8000, 8001];
/// How often agents ask again: often enough to see within an attack that their tokens are still good.
const POLL: Duration = Duration::from_secs(2);
/// Longer than any attack.
const LONG_WIPE: Duration = Duration::from_hours(1);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The Environment of the cluster's machine, and what only that may be told.
const ENVIRONMENT: &str = "lab";
pub(crate) const SECRET: &str = "lab.secret=0a1b2c3d4e5f";
/// Where files of Environments may be put by hand, in the plane and in its state folder.
const ASSETS: &str = "/var/lib/bloomery/assets";
const ASSETS_IN_STATE: &str = "plane-var/lib/bloomery/assets";
/// Names of the record and of the rivals on a Server.
pub(crate) const RECORD: &str = "bloomery.dev/disks";

pub(crate) fn victim(index: u32) -> Victim {
    Victim { index, firmware: Firmware::Uefi }
}

pub(crate) fn identity(index: u32) -> Identity {
    victim(index).identity()
}

pub(crate) fn name(index: u32) -> String {
    identity(index).uuid.to_string()
}

fn api(site: &Site, (group, version, kind, plural): (&str, &str, &str, &str)) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(group, version, kind);
    Api::all_with(site.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
}

pub(crate) fn servers_api(site: &Site) -> Api<DynamicObject> {
    api(site, ("metal.sidero.dev", "v1alpha2", "Server", "servers"))
}

pub(crate) fn bindings_api(site: &Site) -> Api<DynamicObject> {
    api(site, ("infrastructure.cluster.x-k8s.io", "v1alpha3", "ServerBinding", "serverbindings"))
}

/// `/ipxe` as the machine itself asks it: from behind the site's router.
pub(crate) async fn asks(bench: &Bench, site: &Site, index: u32) -> Result<String> {
    let its = identity(index);
    let mut stream = bench.net.connect((site.lab.plane, BOOT_PORT).into()).await?;
    let request = format!(
        "GET /ipxe?uuid={}&mac={}&serial={}&arch=x86_64&platform=efi HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        its.uuid,
        its.mac_text('-'),
        its.serial(),
        site.lab.plane
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The boot token of a boot that will be over when the machine boots.
pub(crate) async fn stale_token(bench: &Bench, site: &Site, index: u32) -> Result<String> {
    // The boot services start anew when the plane gets its address; a machine's boot script asks again as well.
    let token = eventually!("a boot script with a token", ANSWER_LIMIT, Some(&site.console), async {
        let answer = asks(bench, site, index).await?;
        let (_, rest) =
            answer.split_once("bloomery.token=").with_context(|| format!("no token: {answer}"))?;
        rest.split_ascii_whitespace().next().map(|token| Some(token.to_owned())).context("an empty token")
    })?;
    Ok(token)
}

/// Their simulations.
pub(crate) struct Fleets {
    together: Fleet,
    wiping: Fleet,
}

impl Fleets {
    /// Brings each machine to where it is attacked.
    pub(crate) async fn bring_up(bench: &Bench, site: &Site) -> Result<Self> {
        make_environment(bench, site).await?;
        let uefi: Mix = Firmware::Uefi.name().parse()?;
        let alike = |config| Config { mix: uefi.clone(), poll: POLL, heartbeat: HEARTBEAT, ..config };
        let together = Config { power_port: POWER_PORTS[0], ..alike(site.config(UNACCEPTED, 3)) };
        let wiping = Config { power_port: POWER_PORTS[1], wipe: LONG_WIPE, ..alike(site.config(WIPING, 1)) };
        let fleets = Self { together: site.fleet(&together).await?, wiping: site.fleet(&wiping).await? };
        for index in ALL {
            until(site, index, "is registered", |server| server.spec["hardware"].is_object()).await?;
        }
        let bmc = json!({ "endpoint": "10.77.0.251", "port": 623, "user": "owner", "pass": "owner" });
        servers::patch_spec(&site.client, &name(UNACCEPTED), json!({ "bmc": bmc })).await?;
        for index in [CLEAN, BOUND, WIPING] {
            servers::patch_spec(&site.client, &name(index), json!({ "accepted": true })).await?;
        }
        for index in [CLEAN, BOUND] {
            until(site, index, "is clean", Server::is_clean).await?;
        }
        until(site, WIPING, "is being wiped", |server| server.condition("DisksWiped").is_some()).await?;
        bench.step("one machine waits for acceptance, two are clean, one is being wiped");
        bind(bench, site).await?;
        bench.step("one machine is a cluster's, and was given its node system");
        Ok(fleets)
    }

    /// Switches all off; fails if an agent was no longer taken for its machine's.
    pub(crate) async fn stop(self) -> Result<()> {
        for fleet in [self.together, self.wiping] {
            let summary = fleet.stop().await?;
            let errors = summary["errors"].as_object().cloned().unwrap_or_default();
            let refused: Vec<_> = errors
                .iter()
                .filter(|(kind, _)| {
                    ["Unauthenticated", "PermissionDenied", "FailedPrecondition", "InvalidArgument"]
                        .iter()
                        .any(|code| kind.contains(code))
                })
                .collect();
            ensure!(refused.is_empty(), "a machine's own agent was refused: {refused:#?}");
            ensure!(summary["registered"] == summary["machines"], "{summary:#}");
        }
        Ok(())
    }
}

/// Waits for something to be seen on a Server.
pub(crate) async fn until(
    site: &Site,
    index: u32,
    what: &str,
    holds: impl Fn(&Server) -> bool,
) -> Result<Server> {
    let condition = format!("machine {index} {what}");
    let found = eventually!(condition, MACHINES_LIMIT, Some(&site.console), async {
        let server = servers::get(&site.client, &name(index)).await?;
        ensure!(holds(&server), "{} {}", server.status, server.name);
        Ok::<_, anyhow::Error>(Some(server))
    });
    found.map_err(anyhow::Error::from)
}

async fn make_environment(bench: &Bench, site: &Site) -> Result<()> {
    let folder = bench.dir.path(ASSETS_IN_STATE);
    let folder = folder.to_str().context("the lab's folder is not UTF-8")?;
    let script = format!(
        "mkdir -p {folder} && cd {folder} && echo kernel > lab-kernel && echo initrd > lab-initrd && \
         chmod 0644 lab-kernel lab-initrd"
    );
    bench.net.run(&["sh", "-c", &script], "").await?;
    let url = |file: &str| format!("file://{ASSETS}/{file}");
    let environment = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Environment",
        "metadata": { "name": ENVIRONMENT },
        "spec": {
            "kernel": { "url": url("lab-kernel"), "args": ["console=ttyS0", SECRET] },
            "initrd": { "url": url("lab-initrd") },
        },
    });
    let environments = api(site, ("metal.sidero.dev", "v1alpha2", "Environment", "environments"));
    let environment: DynamicObject = serde_json::from_value(environment)?;
    environments.create(&PostParams::default(), &environment).await?;
    eventually!("the Environment is ready", ANSWER_LIMIT, Some(&site.console), async {
        let found = environments.get(ENVIRONMENT).await?;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().filter(|condition| condition["status"] == "True").count();
        ensure!(ready == 2, "{conditions:?}");
        Ok::<_, anyhow::Error>(Some(()))
    })?;
    Ok(())
}

/// A cluster claims the machine, which boots its node system then.
async fn bind(bench: &Bench, site: &Site) -> Result<()> {
    servers::patch_spec(&site.client, &name(BOUND), json!({ "environmentRef": { "name": ENVIRONMENT } }))
        .await?;
    let binding: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
        "metadata": { "name": name(BOUND) },
        "spec": { "metalMachineRef": { "kind": "MetalMachine", "name": "machine", "namespace": "default" } },
    }))?;
    bindings_api(site).create(&PostParams::default(), &binding).await?;
    eventually!("the claim is on record", MACHINES_LIMIT, Some(&site.console), async {
        let found = servers_api(site).get(&name(BOUND)).await?;
        let record = found.metadata.annotations.and_then(|all| all.get(RECORD).cloned()).unwrap_or_default();
        ensure!(record.contains("\"bound\""), "{record}");
        Ok::<_, anyhow::Error>(Some(()))
    })?;
    // There is something to be had: the machine itself gets it.
    eventually!("the machine is given its node system", MACHINES_LIMIT, Some(&site.console), async {
        let answer = asks(bench, site, BOUND).await?;
        ensure!(answer.contains(SECRET), "{answer}");
        Ok::<_, anyhow::Error>(Some(()))
    })?;
    Ok(())
}

/// What may not change by what strangers say: specification, record and labels of each Server, and the binding.
pub(crate) async fn snapshot(site: &Site) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for index in ALL {
        let server = servers_api(site).get(&name(index)).await?;
        let record = server.metadata.annotations.as_ref().and_then(|all| all.get(RECORD).cloned());
        let status = |field: &str| server.data["status"][field].clone();
        // What is not there is no: the controllers write it a moment later.
        let is = |field: &str| status(field).as_bool().unwrap_or_default();
        all.push(json!({
            "name": name(index),
            "uid": server.metadata.uid,
            "labels": server.metadata.labels,
            "record": record,
            "spec": server.data["spec"],
            "isClean": is("isClean"),
            "inUse": is("inUse"),
            "addresses": status("addresses"),
        }));
    }
    let binding = bindings_api(site).get(&name(BOUND)).await?;
    all.push(
        json!({ "binding": binding.metadata.uid, "gone": binding.metadata.deletion_timestamp.is_some() }),
    );
    Ok(all)
}

/// Addresses of a stranger that no machine has.
pub(crate) fn stranger(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}
