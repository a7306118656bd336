//! The way from power-on to a registered machine, as steps with limits that every run of the lab waits through.
//!
//! Limits are three times what the slowest machine of this project (software emulation on two busy cores) needs;
//! they decide when to give up, never how long to wait.

use crate::{
    contract::{PAIRING_LINE, PID1_STARTED},
    eventually,
    lab::Lab,
    plane,
    servers::{self, Server},
    vm::Vm,
};
use anyhow::{Context, Result};
use kube::Client;
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

/// Waits until the boot services answer machines.
///
/// # Errors
/// They do not in time.
pub async fn boot_services(lab: &Lab, appliance: &Vm) -> Result<()> {
    let answered = async {
        eventually!("GET /boot.ipxe on port 8081 answers", SERVICES_LIMIT, Some(&appliance.console), async {
            lab.boot_services_answer().await.map(|answers| answers.then_some(()))
        })
    };
    Ok(appliance.while_running("an answer of the boot services", answered).await??)
}

/// Waits until `machine` is listed as a server, with hardware, under its SMBIOS UUID.
///
/// # Errors
/// It does not register in time, or it stopped.
pub async fn registered(client: &Client, machine: &Vm) -> Result<Server> {
    let uuid = &machine.spec.uuid;
    let condition = format!("{} is listed as server {uuid} with its hardware", machine.spec.name);
    let listed = async {
        eventually!(condition, REGISTRATION_LIMIT, Some(&machine.console), async {
            let servers = servers::list(client).await?;
            let found = servers.into_iter().find(|server| server.name == *uuid);
            Ok::<_, anyhow::Error>(found.filter(|server| server.spec.get("hardware").is_some()))
        })
    };
    Ok(machine.while_running("its registration", listed).await??)
}
