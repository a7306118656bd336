//! `bootsvc`: proxy DHCP, TFTP, HTTP and the agent's API. The only child with rights beyond its user's.

use super::Inputs;
use crate::accounts;
use crate::layout::{BOOTSVC_HEALTH_PORT, SIDEROLINK_PROVISION_PORT};
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::Service;
use bloomery_sys::process::Capabilities;

/// It takes what strangers send: killed first.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 25, floor_mib: 224 }, 900);

pub(super) fn service(inputs: &Inputs) -> Service {
    let probe = Probe::Http { port: BOOTSVC_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon("bootsvc", inputs.layout.program("bootsvc"), probe);
    service.user = inputs.accounts.user(accounts::BOOTSVC);
    service.limits = LIMITS;
    // Ports 67 and 69. Binding a socket to a card needs no right of its own since Linux 5.7.
    service.capabilities = Capabilities::NET_BIND_SERVICE;
    service.generation = inputs.generation;
    let options = inputs.options("bootsvc", inputs.address);
    service.args = vec![
        "--confine".to_owned(),
        format!("--kubeconfig={}", inputs.file("bootsvc", "kubeconfig")),
        format!("--share-dir={}", inputs.layout.share.display()),
        format!("--env-dir={}", inputs.layout.env().display()),
        format!("--siderolink-addr=127.0.0.1:{SIDEROLINK_PROVISION_PORT}"),
        format!("--health-addr=127.0.0.1:{BOOTSVC_HEALTH_PORT}"),
        format!("--options={}", options.path.display()),
    ];
    service.file = Some(options);
    service
}
