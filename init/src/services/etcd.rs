//! etcd: the plane's only database. One member, mutual TLS on loopback, plain HTTP for health alone.

use super::{Inputs, go_heap};
use crate::accounts;
use crate::layout::{ETCD_CLIENT_PORT, ETCD_HEALTH_PORT, ETCD_PEER_PORT};
use crate::supervise::limits::{Limits, MemoryLimit};
use crate::supervise::probe::Probe;
use crate::supervise::service::{Hold, Service};

/// The heap's growth before a collection while it has much to write.
const BUSY_GOGC: &str = "300";
/// A brake for load, not for rest: etcd rests at 40 MiB of heap. With 64 MiB it did little else than collect when
/// 5,000 machines came (DESIGN.md §8).
const HEAP: u64 = 256 << 20;
/// 1 GiB: far beyond what a plane of 10,000 machines stores, and small enough for the state partition.
pub const QUOTA_BACKEND_BYTES: u64 = 1 << 30;
/// Beyond the quota, for the last writes of objects that are deleted from a full database.
const RESERVE_BYTES: u64 = 256 << 20;
/// Entries kept in memory between snapshots.
const SNAPSHOT_COUNT: u32 = 2000;
/// Entries kept beyond a snapshot for members that lag behind: there are none.
const CATCH_UP: u32 = 16;
/// History that no client of ours reads.
const COMPACTION_RETENTION: &str = "5m";
/// Its files are 64 MB each.
const MAX_WALS: u32 = 2;

/// The database: killed last of all. Its heap is held at 256 MiB, the rest is its file's pages.
const LIMITS: Limits = Limits::new(MemoryLimit { percent: 50, floor_mib: 448 }, -900);

pub(super) fn service(inputs: &Inputs) -> Service {
    let probe = Probe::Http { port: ETCD_HEALTH_PORT, path: "/readyz" };
    let mut service = Service::daemon("etcd", inputs.layout.program("etcd"), probe);
    service.user = inputs.accounts.user(accounts::ETCD);
    service.limits = LIMITS;
    service.hold = Hold::Refused(
        "the Kubernetes API needs it, and PID 1 asks that API about the rights of administrators",
    );
    service.generation = inputs.generation;
    service.env = go_heap(BUSY_GOGC, Some(HEAP));
    let (certificate, key, ca) =
        (inputs.file("etcd", "tls.crt"), inputs.file("etcd", "tls.key"), inputs.file("etcd", "ca.crt"));
    let quota = QUOTA_BACKEND_BYTES + if inputs.etcd_reserve { RESERVE_BYTES } else { 0 };
    let client_url = format!("https://127.0.0.1:{ETCD_CLIENT_PORT}");
    let peer_url = format!("https://127.0.0.1:{ETCD_PEER_PORT}");
    service.args = vec![
        "--name=bloomery".to_owned(),
        format!("--data-dir={}", inputs.layout.etcd_data().display()),
        format!("--listen-client-urls={client_url}"),
        format!("--advertise-client-urls={client_url}"),
        format!("--listen-peer-urls={peer_url}"),
        format!("--initial-advertise-peer-urls={peer_url}"),
        format!("--initial-cluster=bloomery={peer_url}"),
        format!("--listen-metrics-urls=http://127.0.0.1:{ETCD_HEALTH_PORT}"),
        format!("--cert-file={certificate}"),
        format!("--key-file={key}"),
        format!("--trusted-ca-file={ca}"),
        "--client-cert-auth=true".to_owned(),
        format!("--peer-cert-file={certificate}"),
        format!("--peer-key-file={key}"),
        format!("--peer-trusted-ca-file={ca}"),
        "--peer-client-cert-auth=true".to_owned(),
        "--enable-grpc-gateway=false".to_owned(),
        format!("--quota-backend-bytes={quota}"),
        format!("--snapshot-count={SNAPSHOT_COUNT}"),
        format!("--snapshot-catchup-entries={CATCH_UP}"),
        "--auto-compaction-mode=periodic".to_owned(),
        format!("--auto-compaction-retention={COMPACTION_RETENTION}"),
        format!("--max-wals={MAX_WALS}"),
    ];
    service
}
