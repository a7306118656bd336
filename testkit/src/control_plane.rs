//! A real etcd and a real kube-apiserver as host processes, on free ports of the loopback, for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tempfile::TempDir;

use crate::http::{Tls, ask};
use crate::pki::Authority;
use crate::{Process, eventually, free_ports};

/// Names the directory with links `etcd` and `kube-apiserver`.
const VARIABLE: &str = "BLOOMERY_CONTROLPLANE";

/// The control plane. Dropping it ends its processes and removes its files.
pub struct ControlPlane {
    /// Signs every identity.
    pub authority: Authority,
    /// `https://127.0.0.1:<port>`.
    pub server: String,
    /// Kubeconfig of an administrator.
    pub admin: PathBuf,
    // Dropped in this order: the API server before its store, the files last.
    apiserver: Process,
    etcd: Process,
    ports: [u16; 3],
    directory: TempDir,
}

impl ControlPlane {
    /// Starts both and waits until the API server is ready.
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        let ports = free_ports();
        let [store, peers, port] = ports;
        let etcd = start_etcd(directory.path(), store, peers);
        let apiserver = start_apiserver(directory.path(), &authority, ports);
        let server = format!("https://127.0.0.1:{port}");
        let admin = authority.kubeconfig("admin", &["system:masters"], &server);
        let mut plane = Self { authority, server, admin, apiserver, etcd, ports, directory };
        plane.wait_until_ready().await;
        plane
    }

    /// Directory for a test's own files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a kubeconfig for a user of groups.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> PathBuf {
        self.authority.kubeconfig(user, groups, &self.server)
    }

    /// A client with the identity of a user of groups.
    pub async fn client(&self, user: &str, groups: &[&str]) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(user, groups)).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// Copies etcd's files while it stands still.
    pub async fn back_up(&mut self) {
        self.etcd.stop().await;
        copy(&self.directory().join("etcd"), &self.directory().join("backup"));
        self.restart_etcd();
        self.wait_until_ready().await;
    }

    /// Puts the copy in the place of etcd's files, and forgets what came after it.
    pub async fn restore(&mut self) {
        // Asked to stop it would wait a minute for open watches.
        self.apiserver.kill().await;
        self.etcd.stop().await;
        std::fs::remove_dir_all(self.directory().join("etcd")).unwrap();
        copy(&self.directory().join("backup"), &self.directory().join("etcd"));
        self.restart_etcd();
        self.apiserver = start_apiserver(self.directory.path(), &self.authority, self.ports);
        self.wait_until_ready().await;
    }

    fn restart_etcd(&mut self) {
        let [store, peers, _] = self.ports;
        self.etcd = start_etcd(self.directory.path(), store, peers);
    }

    async fn wait_until_ready(&mut self) {
        let [.., port] = self.ports;
        let identity = self.authority.issue("readiness", &["system:masters"]);
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let authority = read(&self.authority.file());
        let (certificate, key) = (read(&identity.certificate_file), read(&identity.key_file));
        let tls = Tls { authority: &authority, identity: Some((&certificate, &key)) };
        let (apiserver, etcd) = (&mut self.apiserver, &mut self.etcd);
        eventually("the API server is ready", async || {
            apiserver.assert_running();
            etcd.assert_running();
            match ask(Some(tls), port, "GET", "/readyz", "").await? {
                (200, _) => Ok(()),
                (status, body) => Err(format!("{status}: {body}")),
            }
        })
        .await;
    }
}

/// The directory with links `etcd` and `kube-apiserver`; without them the test fails and says how to make them.
pub fn programs() -> PathBuf {
    directory_with(&["etcd", "kube-apiserver"])
}

/// The link `cluster-api` beside them.
pub fn cluster_api() -> PathBuf {
    program("cluster-api")
}

/// The link `talosconfig` beside them.
pub fn talosconfig() -> PathBuf {
    program("talosconfig")
}

/// The link `clusterctl` beside them.
pub fn clusterctl() -> PathBuf {
    program("clusterctl")
}

fn program(name: &str) -> PathBuf {
    directory_with(&[name]).join(name)
}

fn directory_with(programs: &[&str]) -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/controlplane.d");
    let directory = std::env::var_os(VARIABLE).map_or_else(built, PathBuf::from);
    for program in programs {
        assert!(
            directory.join(program).exists(),
            "there is no {program} in {}: run `make out/controlplane.d`, or name a directory with links {programs:?} to \
             the control plane's program in {VARIABLE}",
            directory.display()
        );
    }
    // The children start in directories of their own.
    directory.canonicalize().unwrap()
}

/// Starts an etcd without TLS whose files are in `<directory>/etcd`.
pub fn start_etcd(directory: &Path, store: u16, peers: u16) -> Process {
    let store = format!("http://127.0.0.1:{store}");
    let peers = format!("http://127.0.0.1:{peers}");
    let mut command = Command::new(programs().join("etcd"));
    command
        .arg(format!("--data-dir={}", directory.join("etcd").display()))
        .args([format!("--listen-client-urls={store}"), format!("--advertise-client-urls={store}")])
        .args([format!("--listen-peer-urls={peers}"), format!("--initial-advertise-peer-urls={peers}")])
        .arg(format!("--initial-cluster=default={peers}"))
        // Nothing of a test survives it.
        .arg("--unsafe-no-fsync=true");
    Process::start("etcd", directory, &mut command)
}

/// A kube-apiserver beside that etcd, without an opinion on who is who.
pub fn apiserver(store: u16, port: u16) -> Command {
    let mut command = Command::new(programs().join("kube-apiserver"));
    command
        .args([format!("--etcd-servers=http://127.0.0.1:{store}"), format!("--secure-port={port}")])
        // Also in a network without a default route.
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/24"])
        .args(["--authorization-mode=RBAC", "--service-account-issuer=https://test.invalid"]);
    command
}

fn start_apiserver(directory: &Path, authority: &Authority, [store, _, port]: [u16; 3]) -> Process {
    let serving = authority.issue("kube-apiserver", &[]);
    let (private, public) = authority.service_account_keys();
    let mut command = apiserver(store, port);
    command
        .arg(format!("--client-ca-file={}", authority.file().display()))
        .arg(format!("--tls-cert-file={}", serving.certificate_file.display()))
        .arg(format!("--tls-private-key-file={}", serving.key_file.display()))
        .arg(format!("--service-account-key-file={}", public.display()))
        .arg(format!("--service-account-signing-key-file={}", private.display()));
    Process::start("kube-apiserver", directory, &mut command)
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
