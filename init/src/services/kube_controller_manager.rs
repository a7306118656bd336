//! kube-controller-manager: only the controllers that a management plane needs.

use super::{Inputs, go_heap};
use crate::accounts;
use crate::layout::KCM_PORT;
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::Service;

/// The heap's growth before a collection while there is much to know: it knows every object.
const BUSY_GOGC: &str = "50";
/// Namespaces that end, owners that are followed, roles that are composed, and service accounts with the plane's CA.
const CONTROLLERS: [&str; 5] = [
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
];

/// Namespaces that end wait for it, nothing else.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 20, floor_mib: 192 }, 400);

pub(super) fn service(inputs: &Inputs) -> Service {
    const NAME: &str = "kube-controller-manager";
    let file = |name: &str| inputs.file(NAME, name);
    let probe = Probe::Https { port: KCM_PORT, path: "/healthz", ca: file("ca.crt").into() };
    let mut service = Service::daemon(NAME, inputs.layout.program(NAME), probe);
    service.user = inputs.accounts.user(accounts::KCM);
    service.limits = LIMITS;
    service.generation = inputs.generation;
    service.after = &["kube-apiserver"];
    service.env = go_heap(BUSY_GOGC, None);
    service.args = vec![
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={KCM_PORT}"),
        format!("--tls-cert-file={}", file("tls.crt")),
        format!("--tls-private-key-file={}", file("tls.key")),
        format!("--kubeconfig={}", file("kubeconfig")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--controllers={}", CONTROLLERS.join(",")),
        // Each controller with the rights of its own built-in role in place of all of them together.
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--profiling=false".to_owned(),
    ];
    service
}
