//! kube-apiserver: the plane's API, the only thing of the control plane that the network sees.
//!
//! API groups are switched on one by one. Without
//! `networking.k8s.io` it exits after a minute, without `discovery.k8s.io` it is not ready for 80 s.

use super::{Inputs, go_heap};
use crate::accounts;
use crate::audit;
use crate::layout::{ETCD_CLIENT_PORT, KUBERNETES_API_PORT};
use crate::pki::people;
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::{Hold, Service};

/// The heap's growth before a collection while machines come: at 50 the collector took half of the CPU time.
const BUSY_GOGC: &str = "300";
/// The heap's bound. Not lower than 220 MiB: at 160 MiB the live heap does not fit, and the program spends its time
/// collecting garbage.
const HEAP: MemoryLimit = MemoryLimit { percent: 21, floor_mib: 220 };
/// More than this brings nothing.
const MAX_HEAP: u64 = 512 << 20;
/// Kubernetes' default service network; nothing is routed there, but the API server insists on one.
const SERVICE_NETWORK: &str = "10.96.0.0/12";
/// Issuer of service account tokens; no one outside of the plane checks them.
const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The API server's `EncryptionConfiguration` in its run-time directory.
pub const ENCRYPTION: &str = "encryption.json";
/// Its audit policy, there as well.
pub const AUDIT_POLICY: &str = "audit-policy.yaml";
/// What Cluster API, clusterctl and kubectl use; everything else stays off.
const API_GROUPS: [&str; 14] = [
    "api/all=false",
    "v1=true",
    "admissionregistration.k8s.io/v1=true",
    "apiextensions.k8s.io/v1=true",
    "apiregistration.k8s.io/v1=true",
    "apps/v1=true",
    "authentication.k8s.io/v1=true",
    "authorization.k8s.io/v1=true",
    "certificates.k8s.io/v1=true",
    "coordination.k8s.io/v1=true",
    "discovery.k8s.io/v1=true",
    "events.k8s.io/v1=true",
    "networking.k8s.io/v1=true",
    "rbac.authorization.k8s.io/v1=true",
];
/// They watch kinds that are switched off, or guard nodes, pods and storage, which a plane has not.
/// `ValidatingAdmissionPolicy` stays on: manifests/25-admission.yaml says what each identity may write.
const DISABLED_ADMISSION: [&str; 10] = [
    "DefaultIngressClass",
    "DefaultStorageClass",
    "DefaultTolerationSeconds",
    "LimitRanger",
    "MutatingAdmissionPolicy",
    "PersistentVolumeClaimResize",
    "PodSecurity",
    "Priority",
    "ResourceQuota",
    "RuntimeClass",
];

/// Only etcd is spared longer.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 60, floor_mib: 512 }, -500);

pub(super) fn service(inputs: &Inputs) -> Service {
    let file = |name: &str| inputs.file("kube-apiserver", name);
    let probe = Probe::Https { port: KUBERNETES_API_PORT, path: "/readyz", ca: file("ca.crt").into() };
    let mut service = Service::daemon("kube-apiserver", inputs.layout.program("kube-apiserver"), probe);
    service.user = inputs.accounts.user(accounts::APISERVER);
    service.limits = LIMITS;
    service.hold = Hold::Refused("PID 1 asks it about the rights of administrators");
    service.generation = inputs.generation;
    service.after = &["etcd"];
    // It reads itself in for seconds before it needs etcd, and asks again until etcd answers.
    service.waits_itself_for = &["etcd"];
    let heap = HEAP.max(inputs.memory).min(MAX_HEAP);
    service.env = go_heap(BUSY_GOGC, Some(heap));
    service.args = vec![
        "--bind-address=0.0.0.0".to_owned(),
        format!("--secure-port={KUBERNETES_API_PORT}"),
        // Nobody is told of this address (no endpoint reconciler); without it, one is looked for and may not be there.
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_NETWORK}"),
        format!("--tls-cert-file={}", file("tls.crt")),
        format!("--tls-private-key-file={}", file("tls.key")),
        // Read again whenever it changes: who has paired and was not revoked.
        format!("--client-ca-file={}", file(people::API_CLIENTS)),
        format!("--authentication-config={}", file("authentication.yaml")),
        "--authorization-mode=RBAC".to_owned(),
        format!("--etcd-servers=https://127.0.0.1:{ETCD_CLIENT_PORT}"),
        format!("--etcd-cafile={}", file("etcd-ca.crt")),
        format!("--etcd-certfile={}", file("etcd.crt")),
        format!("--etcd-keyfile={}", file("etcd.key")),
        format!("--service-account-issuer={SERVICE_ACCOUNT_ISSUER}"),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
        format!("--encryption-provider-config={}", file(ENCRYPTION)),
        format!("--audit-policy-file={}", file(AUDIT_POLICY)),
        format!("--audit-log-path={}", inputs.layout.audit_log().display()),
        format!("--audit-log-maxsize={}", audit::MAX_SIZE),
        format!("--audit-log-maxbackup={}", audit::MAX_BACKUPS),
        "--allow-privileged=false".to_owned(),
        format!("--runtime-config={}", API_GROUPS.join(",")),
        format!("--disable-admission-plugins={}", DISABLED_ADMISSION.join(",")),
        "--watch-cache=false".to_owned(),
        "--enable-priority-and-fairness=false".to_owned(),
        "--max-requests-inflight=60".to_owned(),
        "--max-mutating-requests-inflight=30".to_owned(),
        "--event-ttl=15m".to_owned(),
        "--profiling=false".to_owned(),
    ];
    service
}
