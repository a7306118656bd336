//! A real etcd and kube-apiserver as children of the test.
//!
//! Never outlives its test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

/// Children that end with the test.
pub(crate) struct ControlPlane {
    children: Vec<Child>,
    directory: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn binary() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/controlplane");
    let path = std::env::var_os("CONTROLPLANE").map_or_else(default, PathBuf::from);
    assert!(
        path.exists(),
        "no control plane at {}: run `make image` first or set CONTROLPLANE",
        path.display()
    );
    path.canonicalize().unwrap()
}

pub(crate) fn patience() -> Duration {
    let factor = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    Duration::from_mins(1).mul_f64(factor)
}

impl ControlPlane {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (client, peer, port) = (free_port(), free_port(), free_port());
        let mut plane = Self { children: Vec::new(), directory, port };
        let etcd = format!("http://127.0.0.1:{client}");
        let peers = format!("http://127.0.0.1:{peer}");
        plane.spawn(
            "etcd",
            &[
                "--data-dir=etcd-data",
                &format!("--listen-client-urls={etcd}"),
                &format!("--advertise-client-urls={etcd}"),
                &format!("--listen-peer-urls={peers}"),
                &format!("--initial-advertise-peer-urls={peers}"),
                &format!("--initial-cluster=default={peers}"),
            ],
        );
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(plane.path("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(plane.path("sa.pub"), key.public_key_pem()).unwrap();
        std::fs::write(
            plane.path("tokens.csv"),
            "admin,admin,admin,system:masters\nbootsvc,bloomery:bootsvc,bootsvc\n",
        )
        .unwrap();
        plane.spawn(
            "kube-apiserver",
            &[
                &format!("--etcd-servers={etcd}"),
                &format!("--secure-port={port}"),
                "--bind-address=127.0.0.1",
                // Also in a network without a default route.
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                "--cert-dir=certs",
                "--service-account-key-file=sa.pub",
                "--service-account-signing-key-file=sa.key",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=RBAC",
            ],
        );
        for token in ["admin", "bootsvc"] {
            let kubeconfig = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "x",
                "clusters": [{ "name": "c", "cluster": {
                    "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true } }],
                "users": [{ "name": "u", "user": { "token": token } }],
                "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
            });
            std::fs::write(plane.path(token), kubeconfig.to_string()).unwrap();
        }
        plane
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spawn(&mut self, name: &str, args: &[&str]) {
        let link = self.path(name);
        std::os::unix::fs::symlink(binary(), &link).unwrap();
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let child = Command::new(link)
            .args(args)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    pub(crate) fn logs(&self) -> String {
        let tail = |name: &str| {
            let log = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let from = log.len().saturating_sub(2000);
            log.get(from..).unwrap_or_default().to_owned()
        };
        format!("etcd: {}\nkube-apiserver {}: {}", tail("etcd.log"), self.port, tail("kube-apiserver.log"))
    }
}

/// Repeats `attempt` until it gives something, or fails with what it said last.
pub(crate) async fn eventually<T, F, R>(what: &str, plane: &ControlPlane, mut attempt: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        let last = match attempt().await {
            Ok(value) => return value,
            Err(last) => last,
        };
        assert!(
            started.elapsed() < patience(),
            "{what}: {last} after {:?}\n{}",
            started.elapsed(),
            plane.logs()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
