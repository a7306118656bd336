//! etcd and kube-apiserver as they are declared, on ports and in directories of one test.

use super::keys;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_config::Config;
use bloomery_testkit::control_plane::programs;
use bloomery_testkit::http::{Tls, ask};
use bloomery_testkit::{Process, free_ports, within};
use init::accounts::Accounts;
use init::certificates::provide;
use init::encryption::Key;
use init::etcd::Client;
use init::files;
use init::layout::{ETCD_CLIENT_PORT, ETCD_HEALTH_PORT, ETCD_PEER_PORT, KUBERNETES_API_PORT, Layout};
use init::pki::Pki;
use init::pki::leaf::Leaf;
use init::pki::people;
use init::pki::provision::{Names, Provisioner};
use init::services::{self, Inputs};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use time::OffsetDateTime;

/// A control plane under emulation needs half a minute to start.
const LIMIT: Duration = Duration::from_mins(3);
/// kube-apiserver waits a minute for open watches when it is asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Everything of one test; its processes end with it.
pub(crate) struct Plane {
    dir: tempfile::TempDir,
    layout: Layout,
    pki: Pki,
    key: Key,
    quota: u64,
    ports: BTreeMap<u16, u16>,
    encrypts: bool,
    children: BTreeMap<&'static str, Process>,
}

impl Plane {
    pub(crate) fn new(quota: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::under(dir.path());
        layout.bin = programs();
        let now = OffsetDateTime::now_utc();
        for directory in [layout.state(), layout.etcd_data(), layout.logs()] {
            files::directory(&directory, files::PRIVATE_DIR, None).unwrap();
        }
        files::directory(layout.audit_log().parent().unwrap(), files::PRIVATE_DIR, None).unwrap();
        let pki = Pki::open(&layout.pki(), now).unwrap();
        let provisioner = Provisioner { pki: &pki, layout: &layout, accounts: Accounts::Single, now };
        provisioner.everything(&Names::default()).unwrap();
        let key = Key::open(&layout).unwrap();
        provide(&layout, Accounts::Single, &key).unwrap();
        // Nobody has paired: the API server takes the certificates of processes alone.
        let clients = layout.service_file("kube-apiserver", people::API_CLIENTS);
        files::replace(&clients, pki.client_ca.certificate().as_bytes(), files::PRIVATE, None).unwrap();
        let free = free_ports::<4>();
        let ours = [ETCD_CLIENT_PORT, ETCD_PEER_PORT, ETCD_HEALTH_PORT, KUBERNETES_API_PORT];
        let ports = ours.into_iter().zip(free).collect();
        Self { dir, layout, pki, key, quota, ports, encrypts: true, children: BTreeMap::new() }
    }

    pub(crate) fn encrypt(&mut self, encrypts: bool) {
        self.encrypts = encrypts;
    }

    pub(crate) fn set_quota(&mut self, quota: u64) {
        self.quota = quota;
    }

    pub(crate) fn key_name(&self) -> String {
        self.key.name()
    }

    /// Starts the service with its declared arguments and waits until it is ready.
    pub(crate) async fn start(&mut self, name: &'static str) {
        let config = Config::default();
        let inputs = Inputs {
            layout: &self.layout,
            accounts: Accounts::Single,
            config: &config,
            address: None,
            encryption_key: Some(self.key.name()),
            memory: 1 << 30,
            cpus: 2,
            etcd_reserve: false,
            generation: 0,
        };
        let service = services::all(&inputs).into_iter().find(|service| service.name == name).unwrap();
        let mut command = Command::new(&service.program);
        command.args(service.args.iter().filter_map(|argument| self.adapted(argument))).envs(&service.env);
        let mut child = Process::start(name, self.dir.path(), &mut command);
        within(LIMIT, &format!("{name} is ready"), async || {
            child.assert_running();
            self.is_ready(name).await
        })
        .await;
        self.children.insert(name, child);
    }

    /// The argument with this test's port and quota; none for what this test leaves out.
    fn adapted(&self, argument: &str) -> Option<String> {
        if !self.encrypts && argument.starts_with("--encryption-provider-config") {
            return None;
        }
        if argument.starts_with("--quota-backend-bytes") {
            return Some(format!("--quota-backend-bytes={}", self.quota));
        }
        let mut argument = argument.to_owned();
        for (declared, free) in &self.ports {
            for mark in [":", "--secure-port="] {
                argument = argument.replace(&format!("{mark}{declared}"), &format!("{mark}{free}"));
            }
        }
        Some(argument)
    }

    async fn is_ready(&self, name: &str) -> Result<(), String> {
        if name == "etcd" {
            Client::connect(&self.pki, self.ports[&ETCD_CLIENT_PORT])
                .await
                .map_err(|error| error.to_string())?
                .look()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        } else {
            self.api("GET", "/readyz", None).await.map(drop)
        }
    }

    /// Ends it as PID 1 does.
    pub(crate) async fn stop(&mut self, name: &'static str) {
        let mut child = self.children.remove(name).unwrap();
        if tokio::time::timeout(GRACE, child.stop()).await.is_err() {
            child.kill().await;
        }
    }

    pub(crate) async fn etcd_client(&self) -> Client {
        Client::connect(&self.pki, self.ports[&ETCD_CLIENT_PORT]).await.unwrap()
    }

    /// One request of an administrator to the API server.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let leaf = Self::leaf("tester", &["system:masters"]).issue(&self.pki.client_ca).unwrap();
        let identity = Some((leaf.certificate.as_str(), leaf.key.as_str()));
        let tls = Tls { authority: self.pki.ca.certificate(), identity };
        let body = body.map(Value::to_string).unwrap_or_default();
        let port = self.ports[&KUBERNETES_API_PORT];
        match ask(Some(tls), port, method, path, &body).await? {
            (200..300, text) => Ok(serde_json::from_str(&text).unwrap_or(Value::String(text))),
            (status, text) => Err(format!("{status}: {text}")),
        }
    }

    fn leaf<'a>(user: &'a str, groups: &'a [&'a str]) -> Leaf<'a> {
        let now = OffsetDateTime::now_utc();
        let lifetime = time::Duration::hours(1);
        Leaf {
            common_name: user,
            organizations: groups,
            names: Vec::new(),
            server: false,
            client: true,
            now,
            lifetime,
        }
    }

    /// Writes so many octets under a key of etcd.
    pub(crate) async fn put(&self, key: &str, octets: usize) -> Result<(), String> {
        keys::put(self.etcd_client().await.channel(), key, vec![7; octets]).await
    }

    pub(crate) async fn put_until_refused(&self, key: &str, octets: usize) {
        for _ in 0..100 {
            if let Err(error) = self.put(key, octets).await {
                assert!(error.contains("space exceeded"), "{error}");
                return;
            }
        }
        panic!("etcd took 100 MiB");
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), String> {
        keys::delete(self.etcd_client().await.channel(), key).await
    }

    pub(crate) async fn etcd_value(&self, key: &str) -> Vec<u8> {
        keys::get(self.etcd_client().await.channel(), key).await.unwrap()
    }

    /// Whether any file of etcd's holds these octets.
    pub(crate) fn etcd_files_hold(&self, needle: &[u8]) -> bool {
        files_below(&self.layout.etcd_data()).iter().any(|file| {
            let content = std::fs::read(file).unwrap();
            content.windows(needle.len()).any(|window| window == needle)
        })
    }

    pub(crate) fn audit_log(&self) -> String {
        std::fs::read_to_string(self.layout.audit_log()).unwrap_or_default()
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The text in a base64 field.
pub(crate) fn decoded(value: &Value) -> String {
    String::from_utf8(STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()).unwrap()
}
