//! `appliance`: pairing, health and status for people. It needs nothing of the control plane.

use super::Inputs;
use crate::accounts;
use crate::layout::{
    APPLIANCE_HEALTH_PORT, APPLIANCE_PORT, BOOTSVC_HEALTH_PORT, CONTROLLERS_HEALTH_PORT,
    SIDEROLINK_HEALTH_PORT,
};
use crate::pki::people;
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::{Hold, Service};

/// Administrators need it when other services fail.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 10, floor_mib: 96 }, 200);

pub(super) fn service(inputs: &Inputs) -> Service {
    let probe = Probe::Http { port: APPLIANCE_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon("appliance", inputs.layout.program("appliance"), probe);
    service.user = inputs.accounts.user(accounts::APPLIANCE);
    service.limits = LIMITS;
    service.hold = Hold::Refused("administrators reach the plane through it and could not start it again");
    service.args = vec![
        format!("--listen=0.0.0.0:{APPLIANCE_PORT}"),
        format!("--tls-cert={}", inputs.file("appliance", "tls.crt")),
        format!("--tls-key={}", inputs.file("appliance", "tls.key")),
        format!("--client-ca={}", inputs.file("appliance", people::APPLIANCE_CLIENTS)),
        format!("--authority={}", inputs.file("appliance", people::SOCKET)),
        format!("--status={}", inputs.layout.status().display()),
        format!("--assets-dir={}", inputs.layout.assets().display()),
        format!("--health-addr=127.0.0.1:{APPLIANCE_HEALTH_PORT}"),
        format!("--service=controllers=127.0.0.1:{CONTROLLERS_HEALTH_PORT}"),
        format!("--service=bootsvc=127.0.0.1:{BOOTSVC_HEALTH_PORT}"),
        format!("--service=siderolink=127.0.0.1:{SIDEROLINK_HEALTH_PORT}"),
    ];
    service
}
