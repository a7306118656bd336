//! Cluster API's core manager: a plain process, its webhooks on loopback.

use super::{Inputs, go_heap};
use crate::accounts;
use crate::layout::{CLUSTER_API_HEALTH_PORT, CLUSTER_API_WEBHOOK_PORT};
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::Service;

/// The heap's growth before a collection while it has much to reconcile: Go's default.
const BUSY_GOGC: &str = "100";

/// Objects of one kind that it reconciles at once: one for each processor, two to ten (upstream's number). Every change of a
/// machine's objects asks for another pass over its Machine. The fewer passes run at once, the more changes of a burst one pass
/// sees, and the fewer requests it makes (DESIGN.md §8).
fn concurrency(cpus: usize) -> usize {
    cpus.clamp(2, 10)
}

/// Its work waits until it is back.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 25, floor_mib: 256 }, 500);

pub(super) fn service(inputs: &Inputs) -> Service {
    const NAME: &str = "cluster-api";
    let probe = Probe::Http { port: CLUSTER_API_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon(NAME, inputs.layout.program(NAME), probe);
    service.user = inputs.accounts.user(accounts::CAPI);
    service.limits = LIMITS;
    service.generation = inputs.generation;
    service.after = &["apply"];
    service.env = go_heap(BUSY_GOGC, None);
    service.args = vec![
        format!("--kubeconfig={}", inputs.file(NAME, "kubeconfig")),
        "--leader-elect=false".to_owned(),
        format!("--concurrency={}", concurrency(inputs.cpus)),
        "--webhook-host=127.0.0.1".to_owned(),
        format!("--webhook-port={CLUSTER_API_WEBHOOK_PORT}"),
        format!("--webhook-cert-dir={}", inputs.layout.service(NAME).display()),
        format!("--health-addr=127.0.0.1:{CLUSTER_API_HEALTH_PORT}"),
        // 0 is "none": metrics are not in the port table.
        "--diagnostics-address=0".to_owned(),
    ];
    service
}
