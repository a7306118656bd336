//! Calls that only a machine's present agent may make: wiped, alive, addresses, management controller.

use super::{
    Stage,
    wire::{Way, call},
};
use crate::simulate::inventory;
use bloomery_agent_api::{self as pb, disk_progress::State};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tonic::Status;

/// Callers at once.
const CALLERS: usize = 3;
/// The pause of each between two floods of heartbeats and what goes with them.
const EVERY: Duration = Duration::from_millis(150);
/// Heartbeats of one flood, over one connection.
const HEARTBEATS: usize = 10;
/// A token that was never given.
const MADE_UP_TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// An order that no plane signed.
const MADE_UP_ORDER: [u8; 33] = [1; 33];

/// Starts the callers.
pub(super) fn spawn(stage: &Arc<Stage>, tasks: &mut JoinSet<()>) {
    let ways = Arc::new(stage.ways());
    for caller in 0..CALLERS {
        let (stage, ways) = (Arc::clone(stage), Arc::clone(&ways));
        tasks.spawn(async move {
            let act = |round: u64| {
                let at = usize::try_from(round).unwrap_or_default() + caller;
                claim(&stage, at, ways[at % ways.len()])
            };
            stage.repeat(EVERY, act).await;
        });
    }
}

/// All calls for one machine, with one of the tokens that can be had.
async fn claim(stage: &Stage, at: usize, way: Way) {
    let victim = stage.order.victims[at % stage.order.victims.len()];
    let old = stage.order.stale.get(&victim.index).map(String::as_str);
    let token = [None, old, Some(MADE_UP_TOKEN)][at / stage.order.victims.len() % 3];
    let uuid = victim.identity().uuid.to_string();
    let shown = if token.is_some() && token == old { "a stale token" } else { "no good token" };
    let Ok(mut agent) = way.agent().await else { return stage.count("calls: no connection", 1) };
    let judge = |method: &str, failed: Option<Status>| match failed {
        None => stage.gain(format!("{method} for {uuid} with {shown} over {}", way.family())),
        Some(status) => stage.count(format!("{method}: {:?}", status.code()), 1),
    };
    let disks = wiped(&victim.identity());
    let wiped = pb::MarkServerAsWipedRequest { uuid: uuid.clone(), disks, order: MADE_UP_ORDER.to_vec() };
    judge("MarkServerAsWiped", agent.mark_server_as_wiped(call(wiped, token)).await.err());
    let bmc = pb::BmcInfo {
        ip: "10.77.0.250".to_owned(),
        port: 623,
        user: "impostor".to_owned(),
        pass: "impostor".to_owned(),
        ..pb::BmcInfo::default()
    };
    let bmc = pb::UpdateBmcInfoRequest { uuid: uuid.clone(), bmc_info: Some(bmc) };
    judge("UpdateBMCInfo", agent.update_bmc_info(call(bmc, token)).await.err());
    let address = pb::Address { r#type: "InternalIP".to_owned(), address: "10.77.0.200".to_owned() };
    let addresses = pb::ReconcileServerAddressesRequest { uuid: uuid.clone(), address: vec![address] };
    let told = agent.reconcile_server_addresses(call(addresses, token)).await;
    judge("ReconcileServerAddresses", told.err());
    for _ in 0..HEARTBEATS {
        let beat = pb::HeartbeatRequest { uuid: uuid.clone(), disks: Vec::new() };
        judge("Heartbeat", agent.heartbeat(call(beat, token)).await.err());
    }
}

/// A report that every disk is wiped.
fn wiped(identity: &inventory::Identity) -> Vec<pb::DiskProgress> {
    let storage = inventory::hardware(identity).storage.unwrap_or_default();
    let disk = |device: pb::StorageDevice| pb::DiskProgress {
        device: device.name,
        model: device.model,
        serial: device.serial,
        size: device.size,
        done: device.size,
        state: State::Wiped.into(),
        method: "discard".to_owned(),
        error: String::new(),
    };
    storage.devices.into_iter().map(disk).collect()
}
