//! The way from power-on to a registered machine, as steps with limits that every run of the lab waits through.
//!
//! Limits are three times what the slowest machine of this project (software emulation on two busy cores) needs;
//! they decide when to give up, never how long to wait.

use crate::{
    bmc::BmcKind,
    contract::{PAIRING_LINE, PID1_STARTED},
    eventually,
    lab::Lab,
    machine::Machine,
    plane,
    servers::{self, Server},
    serving,
    vm::Vm,
};
use anyhow::{Context, Result};
use kube::Client;
use serde_json::json;
use std::time::Duration;

/// Firmware, boot loader, kernel and initramfs, up to the first phase of the boot.
pub const PID1_LIMIT: Duration = Duration::from_mins(3);
/// PID 1, etcd and the API server of a first boot, up to the line with the API's address.
pub const API_LIMIT: Duration = Duration::from_secs(400);
/// The API answers, so pairing takes a few handshakes.
pub const PAIR_LIMIT: Duration = Duration::from_secs(90);
/// First the CRDs, then controllers and boot services, which start once all manifests are applied.
pub const SERVICES_LIMIT: Duration = Duration::from_mins(6);
/// Firmware, two loaders, kernel and initramfs over HTTP, inventory, registration.
pub const REGISTRATION_LIMIT: Duration = Duration::from_secs(400);

/// A boot, a wipe and delayed power commands, with the controllers' pauses between them.
pub const CLEAN_LIMIT: Duration = Duration::from_mins(15);

/// What pairing gives.
#[derive(Clone)]
pub struct Access {
    /// For the forwarded API port; holds an administrator's key.
    pub kubeconfig: String,
    /// A client that uses it.
    pub client: Client,
}

/// Waits until PID 1 of the appliance has started.
///
/// # Errors
/// Firmware, boot loader or kernel hang, or the machine stopped.
pub async fn pid1(appliance: &Vm) -> Result<()> {
    appliance.wait_for(PID1_STARTED, PID1_LIMIT).await.context("the appliance did not start PID 1")?;
    Ok(())
}

/// Waits for the pairing line, the later of the two that PID 1 prints, and gives it.
///
/// # Errors
/// The boot hangs or failed.
pub async fn pairing_line(appliance: &Vm) -> Result<String> {
    appliance.wait_for(PAIRING_LINE, API_LIMIT).await.context("the appliance did not announce its API")
}

/// Pairs with the code in `line`.
///
/// # Errors
/// The appliance does not answer in time, or refuses the code.
pub async fn access(lab: &Lab, appliance: &Vm, line: &str) -> Result<Access> {
    let paired = async {
        eventually!("pairing", PAIR_LIMIT, Some(&appliance.console), async {
            plane::pair(line, &lab.forwards).await.map(Some)
        })
    };
    let kubeconfig = appliance.while_running("pairing", paired).await??;
    let client = plane::client(&kubeconfig).await?;
    Ok(Access { kubeconfig, client })
}

/// Waits until the API lists servers, which needs the CRDs.
///
/// # Errors
/// It does not in time.
pub async fn servers_are_served(access: &Access, appliance: &Vm) -> Result<()> {
    let listed = async {
        eventually!("the API lists servers", SERVICES_LIMIT, Some(&appliance.console), async {
            servers::list(&access.client).await.map(Some)
        })
    };
    appliance.while_running("the kind Server", listed).await??;
    Ok(())
}

/// Waits until the boot services answer machines, and this plane is the one that does.
///
/// # Errors
/// They do not in time.
pub async fn boot_services(lab: &Lab, access: &Access, appliance: &Vm) -> Result<()> {
    let console = Some(&appliance.console);
    let served = async {
        eventually!("GET /boot.ipxe on port 8081 answers", SERVICES_LIMIT, console, async {
            serving::boot_script(&lab.dir, &lab.net).await.map(|served| served.then_some(()))
        })
    };
    appliance.while_running("an answer of the boot services", served).await??;
    let client = plane::appliance(&access.kubeconfig, &lab.forwards).await?;
    let answered = async {
        eventually!("machines are answered", SERVICES_LIMIT, console, async {
            serving::machines(&client).await.map(Some)
        })
    };
    Ok(appliance.while_running("boot services that answer machines", answered).await??)
}

/// Waits until `machine` is listed as a server, with hardware, under its SMBIOS UUID.
///
/// # Errors
/// It does not register in time.
pub async fn registered(client: &Client, machine: &Machine) -> Result<Server> {
    let condition = format!("{} is listed as server {} with its hardware", machine.name(), machine.uuid());
    let console = machine.switch.console().await;
    let server = eventually!(condition, REGISTRATION_LIMIT, Some(&console), async {
        let server = servers::get(client, machine.uuid()).await?;
        Ok::<_, anyhow::Error>(server.spec.get("hardware").is_some().then_some(server))
    })?;
    Ok(server)
}

/// Tells the machine's server how its power is controlled, and accepts it, all in one.
///
/// # Errors
/// The API refuses.
pub async fn accept(client: &Client, machine: &Machine, with_bmc: bool) -> Result<()> {
    let registration = machine.bmc.registration().filter(|_| with_bmc);
    let mut spec = registration.unwrap_or_else(|| json!({}));
    spec["accepted"] = json!(true);
    servers::patch_spec(client, machine.uuid(), spec).await
}

/// Waits until the machine's server is clean and, with a BMC, its power is off in the API and in truth; shows each
/// change on the way.
///
/// # Errors
/// It does not happen within `limit`.
pub async fn clean(
    client: &Client,
    machine: &Machine,
    limit: Duration,
    mut show: impl FnMut(&str),
) -> Result<Server> {
    let condition = format!("{} is clean and available", machine.name());
    // Without a BMC nobody can switch it off.
    let stays_on = machine.bmc.kind == BmcKind::None;
    let console = machine.switch.whole_console();
    let mut shown = String::new();
    let server = eventually!(condition, limit, Some(&console), async {
        let server = servers::get(client, machine.uuid()).await?;
        let stage = stage(&server, machine.switch.is_on().await);
        if stage != shown {
            show(&stage);
            shown = stage;
        }
        let off = stays_on || server.is_off() && !machine.switch.is_on().await;
        let available = servers::available(client, "any").await?;
        let done = server.is_clean() && off && available.contains(&server.name);
        if done { Ok(Some(server)) } else { Err(anyhow::anyhow!("{shown}; available: {available:?}")) }
    })?;
    Ok(server)
}

/// Where a server is, in a few words.
fn stage(server: &Server, on: bool) -> String {
    let disks = server.condition("DisksWiped");
    match (server.spec["accepted"] == true, server.is_clean()) {
        (false, _) => "registered".to_owned(),
        (true, true) => format!("clean, {}", if on { "still on" } else { "powered off" }),
        (true, false) => match disks.as_deref().and_then(|text| text.strip_prefix("False ")) {
            Some(text) => format!("accepted: {text}"),
            None => format!("accepted, {}", if on { "on" } else { "off" }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_say_what_a_person_wants_to_know() {
        let server = |accepted: bool, clean: bool, disks: Option<&str>| {
            let conditions: Vec<_> = disks
                .map(|message| {
                    json!({ "type": "DisksWiped", "status": "False", "reason": "Wiping", "message": message })
                })
                .into_iter()
                .collect();
            Server {
                name: String::new(),
                uid: String::new(),
                spec: json!({ "accepted": accepted }),
                status: json!({ "isClean": clean, "conditions": conditions }),
            }
        };
        for (accepted, is_clean, disks, on, want) in [
            (false, false, None, true, "registered"),
            (true, false, None, false, "accepted, off"),
            (true, false, Some("sda 45 %"), true, "accepted: Wiping sda 45 %"),
            (true, true, None, true, "clean, still on"),
            (true, true, None, false, "clean, powered off"),
        ] {
            assert_eq!(stage(&server(accepted, is_clean, disks), on), want);
        }
    }
}
