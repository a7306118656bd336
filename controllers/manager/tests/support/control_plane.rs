//! A real etcd and a real kube-apiserver as host processes, on free loopback ports, for one test.

// Each test takes the parts it needs.
#![allow(dead_code)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use bloomery_platform::client::{self, Source};
use kube::Client;
use tempfile::TempDir;

use super::child::Process;
use super::eventually::eventually;
use super::pki::Authority;

/// Names the directory with links `etcd` and `kube-apiserver`.
const VARIABLE: &str = "BLOOMERY_CONTROLPLANE";

/// The control plane. Dropping it ends its processes and removes its files.
pub(crate) struct ControlPlane {
    /// Signs every identity.
    pub(crate) authority: Authority,
    /// `https://127.0.0.1:<port>`.
    pub(crate) server: String,
    /// Kubeconfig of an administrator.
    pub(crate) admin: PathBuf,
    // Dropped in this order: the API server before its store, the files last.
    apiserver: Process,
    etcd: Process,
    ports: [u16; 3],
    directory: TempDir,
}

impl ControlPlane {
    /// Starts both and waits until the API server is ready.
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let programs = programs();
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        let ports = free_ports();
        let etcd = start_etcd(&programs, directory.path(), ports);
        let apiserver = start_apiserver(&programs, directory.path(), &authority, ports);
        let [_, _, port] = ports;
        let server = format!("https://127.0.0.1:{port}");
        let admin = authority.kubeconfig("admin", &["system:masters"], &server);
        let mut plane = Self { authority, server, admin, apiserver, etcd, ports, directory };
        plane.wait_until_ready().await;
        plane
    }

    /// Directory for a test's own files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Copies etcd's files while it stands still.
    pub(crate) async fn back_up(&mut self) {
        self.etcd.stop().await;
        copy(&self.directory().join("etcd"), &self.directory().join("backup"));
        self.etcd = start_etcd(&programs(), self.directory.path(), self.ports);
        self.wait_until_ready().await;
    }

    /// Puts the copy in the place of etcd's files, and forgets what came after it.
    pub(crate) async fn restore(&mut self) {
        // Asked to stop it would wait a minute for open watches.
        self.apiserver.kill().await;
        self.etcd.stop().await;
        std::fs::remove_dir_all(self.directory().join("etcd")).unwrap();
        copy(&self.directory().join("backup"), &self.directory().join("etcd"));
        self.etcd = start_etcd(&programs(), self.directory.path(), self.ports);
        self.apiserver = start_apiserver(&programs(), self.directory.path(), &self.authority, self.ports);
        self.wait_until_ready().await;
    }

    /// A client with the identity of a user.
    pub(crate) async fn client(&self, user: &str, groups: &[&str]) -> Client {
        let path = self.authority.kubeconfig(user, groups, &self.server);
        connect(&path).await
    }

    async fn wait_until_ready(&mut self) {
        let client = connect(&self.admin).await;
        let (apiserver, etcd) = (&mut self.apiserver, &mut self.etcd);
        eventually("the API server is ready", async || {
            apiserver.assert_running();
            etcd.assert_running();
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            client.request_text(request).await.map_err(|error| error.to_string())
        })
        .await;
    }
}

async fn connect(kubeconfig: &Path) -> Client {
    let source = Source::Kubeconfig(kubeconfig.to_owned());
    client::connect(source, bloomery_controllers::LIMITS).await.unwrap().urgent
}

/// The directory of the programs, or an end with a message that says how to make it.
fn programs() -> PathBuf {
    let Some(directory) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        panic!(
            "{VARIABLE} is not set. It names a directory with links `etcd` and `kube-apiserver` to the \
             multi-call control plane binary; `make test` builds that and sets it. By hand: \
             make out/controlplane; mkdir d; for p in etcd kube-apiserver; do ln -s $PWD/out/controlplane d/$p; \
             done; {VARIABLE}=$PWD/d cargo test -p controllers --test real_apiserver"
        );
    };
    for program in ["etcd", "kube-apiserver"] {
        assert!(
            directory.join(program).exists(),
            "{VARIABLE}: there is no {program} in {}",
            directory.display()
        );
    }
    directory
}

/// Ports that are free now: all are held until all are known, so that no two are the same.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn start_etcd(programs: &Path, directory: &Path, [store, peers, _]: [u16; 3]) -> Process {
    let store = format!("http://127.0.0.1:{store}");
    let peers = format!("http://127.0.0.1:{peers}");
    let mut command = Command::new(programs.join("etcd"));
    command
        .arg(format!("--data-dir={}", directory.join("etcd").display()))
        .args([format!("--listen-client-urls={store}"), format!("--advertise-client-urls={store}")])
        .args([format!("--listen-peer-urls={peers}"), format!("--initial-advertise-peer-urls={peers}")])
        .arg(format!("--initial-cluster=default={peers}"))
        // Nothing of a test survives it.
        .arg("--unsafe-no-fsync=true");
    Process::start("etcd", directory, &mut command)
}

fn start_apiserver(
    programs: &Path,
    directory: &Path,
    authority: &Authority,
    [store, _, port]: [u16; 3],
) -> Process {
    let store = format!("http://127.0.0.1:{store}");
    let serving = authority.issue("kube-apiserver", &[]);
    let (private, public) = authority.service_account_keys();
    let mut command = Command::new(programs.join("kube-apiserver"));
    command
        .args([format!("--etcd-servers={store}"), format!("--secure-port={port}")])
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
        ])
        .arg(format!("--client-ca-file={}", authority.file().display()))
        .arg(format!("--tls-cert-file={}", serving.certificate_file.display()))
        .arg(format!("--tls-private-key-file={}", serving.key_file.display()))
        .args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/24"])
        .arg("--service-account-issuer=https://test.invalid")
        .arg(format!("--service-account-key-file={}", public.display()))
        .arg(format!("--service-account-signing-key-file={}", private.display()));
    Process::start("kube-apiserver", directory, &mut command)
}
