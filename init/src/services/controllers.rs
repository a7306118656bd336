//! `controllers run`: Sidero's and Talos's controllers.

use super::{Inputs, users};
use crate::layout::{CONTROLLERS_HEALTH_PORT, CONTROLLERS_WEBHOOK_PORT};
use crate::supervise::probe::Probe;
use crate::supervise::service::Service;

pub(super) fn service(inputs: &Inputs) -> Service {
    let probe = Probe::Http { port: CONTROLLERS_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon("controllers", inputs.layout.program("controllers"), probe);
    service.user = inputs.accounts.user(users::CONTROLLERS);
    service.generation = inputs.generation;
    service.after = &["apply"];
    service.args = vec![
        "run".to_owned(),
        format!("--kubeconfig={}", inputs.file("controllers", "kubeconfig")),
        format!("--webhook-port={CONTROLLERS_WEBHOOK_PORT}"),
        format!("--webhook-cert-dir={}", inputs.layout.service("controllers").display()),
        format!("--health-addr=127.0.0.1:{CONTROLLERS_HEALTH_PORT}"),
        format!("--env-dir={}", inputs.layout.env().display()),
    ];
    service
}
