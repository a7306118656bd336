//! Cluster API's core, as a process beside an API server.

use std::process::Command;

use bloomery_testkit::{Process, eventually, free_ports, http};

use super::bench::Bench;

/// Starts it with its webhooks at this port, and waits until it is ready. Its kinds are there already.
pub(crate) async fn start_core(bench: &Bench, webhook: u16) -> Process {
    let [health] = free_ports();
    let directory = bench.plane.directory();
    let mut command = Command::new(bloomery_testkit::control_plane::cluster_api());
    command
        .arg(format!("--kubeconfig={}", bench.plane.kubeconfig("capi", &["system:masters"]).display()))
        .args(["--leader-elect=false", "--webhook-host=127.0.0.1", "--diagnostics-address=0"])
        .arg(format!("--webhook-port={webhook}"))
        .arg(format!("--webhook-cert-dir={}", bench.webhook_certificates("core").display()))
        .arg(format!("--health-addr=127.0.0.1:{health}"));
    let mut core = Process::start("cluster-api", directory, &mut command);
    until_ready(&mut core, "Cluster API", health).await;
    core
}

/// Waits until a manager says on its health port that it is ready.
pub(crate) async fn until_ready(process: &mut Process, name: &str, health: u16) {
    eventually(&format!("{name} is ready"), async || {
        process.assert_running();
        match http::get(health, "/readyz").await? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status}: {body}")),
        }
    })
    .await;
}
