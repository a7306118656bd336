//! `siderolink`: the tunnel to nodes, their events, their kernel logs. The only child that changes the network.

use super::Inputs;
use crate::accounts;
use crate::layout::{SIDEROLINK_HEALTH_PORT, SIDEROLINK_PROVISION_PORT};
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::Service;
use bloomery_sys::process::Capabilities;

/// It takes what nodes send, which workloads may be on: killed soon, and after what strangers reach.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 10, floor_mib: 96 }, 800);

pub(super) fn service(inputs: &Inputs) -> Service {
    let probe = Probe::Http { port: SIDEROLINK_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon("siderolink", inputs.layout.program("siderolink"), probe);
    service.user = inputs.accounts.user(accounts::SIDEROLINK);
    service.limits = LIMITS;
    // The interface, its address and its peers.
    service.capabilities = Capabilities::NET_ADMIN;
    service.generation = inputs.generation;
    service.after = &["apply"];
    let options = inputs.options("siderolink", inputs.address);
    service.args = vec![
        "--confine".to_owned(),
        format!("--kubeconfig={}", inputs.file("siderolink", "kubeconfig")),
        format!("--provision-addr=127.0.0.1:{SIDEROLINK_PROVISION_PORT}"),
        format!("--health-addr=127.0.0.1:{SIDEROLINK_HEALTH_PORT}"),
        format!("--log-dir={}", inputs.layout.machine_logs().display()),
        format!("--options={}", options.path.display()),
    ];
    service.file = Some(options);
    service
}
