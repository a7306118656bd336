//! `controllers run`: Sidero's and Talos's controllers.

use super::Inputs;
use crate::accounts;
use crate::layout::{CONTROLLERS_HEALTH_PORT, CONTROLLERS_WEBHOOK_PORT};
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::Service;

/// CA certificates that a site trusts for downloads besides the public ones; it need not exist.
const EXTRA_CA: &str = "ca.pem";

/// Its work waits until it is back.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 30, floor_mib: 256 }, 600);

pub(super) fn service(inputs: &Inputs) -> Service {
    let probe = Probe::Http { port: CONTROLLERS_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon("controllers", inputs.layout.program("controllers"), probe);
    service.user = inputs.accounts.user(accounts::CONTROLLERS);
    service.limits = LIMITS;
    service.generation = inputs.generation;
    service.after = &["apply"];
    // Configurations of nodes name it.
    let options = inputs.options("controllers", inputs.address);
    service.args = vec![
        "run".to_owned(),
        "--confine".to_owned(),
        format!("--kubeconfig={}", inputs.file("controllers", "kubeconfig")),
        format!("--webhook-port={CONTROLLERS_WEBHOOK_PORT}"),
        format!("--webhook-cert-dir={}", inputs.layout.service("controllers").display()),
        format!("--health-addr=127.0.0.1:{CONTROLLERS_HEALTH_PORT}"),
        format!("--env-dir={}", inputs.layout.env().display()),
        format!("--assets-dir={}", inputs.layout.assets().display()),
        format!("--extra-ca-file={}", inputs.layout.assets().join(EXTRA_CA).display()),
        format!("--plane-dir={}", inputs.layout.plane().display()),
        format!("--options={}", options.path.display()),
    ];
    service.file = Some(options);
    service
}
