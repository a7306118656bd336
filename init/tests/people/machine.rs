//! A machine with PID 1's authority, the appliance server, etcd and kube-apiserver.

use appliance::Appliance;
use appliance::config::Config;
use base64::Engine;
use bloomery_pairing::Code;
use bloomery_pairing::client::Endpoint;
use bloomery_testkit::control_plane::{apiserver, start_etcd};
use bloomery_testkit::http::{self, Tls};
use bloomery_testkit::{Process, free_ports, within};
use hyper::Method;
use init::accounts::Accounts;
use init::console::Console;
use init::layout::Layout;
use init::pki::Pki;
use init::pki::leaf::Issued;
use init::pki::people::{self, Servers};
use init::pki::provision::{Names, Provisioner};
use init::service_requests::ServiceRequests;
use init::status::StatusStore;
use init::supervise::cgroup::Cgroups;
use init::supervise::log_file::LogSink;
use init::supervise::probe::Probe;
use init::supervise::reaper::Reaper;
use init::supervise::service::Service;
use init::supervise::{Shared, Supervisor};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a condition may take: the API server looks for new authorities once a minute at the latest.
const LIMIT: Duration = Duration::from_mins(2);

/// The machine; everything on it ends when it is dropped.
pub(crate) struct Machine {
    pub(crate) pki: Pki,
    pub(crate) layout: Layout,
    ports: [u16; 4],
    api_server: Option<Process>,
    _etcd: Process,
    supervisor: Arc<Supervisor>,
    reaper: Reaper,
    stop: DropGuard,
    directory: TempDir,
}

impl Machine {
    /// Without an API server yet.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::under(directory.path());
        let ports: [u16; 4] = free_ports();
        let [store, peers, ..] = ports;
        let etcd = start_etcd(directory.path(), store, peers);
        let reaper = Reaper::default();
        tokio::spawn(reaper.clone().run());
        let (pki, stop, supervisor) = boot(&layout, ports, reaper.clone()).await;
        let stop = stop.drop_guard();
        Self { pki, layout, ports, api_server: None, _etcd: etcd, supervisor, reaper, stop, directory }
    }

    /// Ends everything but etcd, and boots anew from the state.
    pub(crate) async fn restart(&mut self) {
        self.api_server = None;
        self.supervisor.stop().await;
        // Stops the former appliance server; its port is closed when the new one has it.
        self.stop = CancellationToken::new().drop_guard();
        fs::remove_dir_all(&self.layout.run).unwrap();
        let (pki, stop, supervisor) = boot(&self.layout, self.ports, self.reaper.clone()).await;
        (self.pki, self.stop, self.supervisor) = (pki, stop.drop_guard(), supervisor);
        self.start_api_server().await;
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.ports[3]).unwrap()
    }

    /// What the console shows.
    pub(crate) fn code(&self) -> Code {
        let secret = bloomery_pairing::load(&self.layout.pairing_secret()).unwrap();
        Code::new(secret, self.pki.appliance_fingerprint())
    }

    /// Starts the API server with the product's authentication, and waits until it is ready.
    pub(crate) async fn start_api_server(&mut self) {
        let [store, _, port, _] = self.ports;
        let file = |name: &str| self.layout.service_file("kube-apiserver", name).display().to_string();
        let mut command = apiserver(store, port);
        command.args([
            format!("--client-ca-file={}", file(people::API_CLIENTS)),
            format!("--tls-cert-file={}", file("tls.crt")),
            format!("--tls-private-key-file={}", file("tls.key")),
            format!("--authentication-config={}", file("authentication.yaml")),
            format!("--service-account-key-file={}", file("sa.pub")),
            format!("--service-account-signing-key-file={}", file("sa.key")),
        ]);
        self.api_server = Some(Process::start("kube-apiserver", self.directory.path(), &mut command));
        eventually("the API server is ready", async || {
            let (status, _) = self.ask(Method::GET, "/readyz", "", None).await?;
            (status == 200).then_some(())
        })
        .await;
    }

    /// The status of a GET on 6443; 0 when it does not answer.
    pub(crate) async fn get(&self, path: &str, identity: &Issued) -> u16 {
        self.ask(Method::GET, path, "", Some(identity)).await.map_or(0, |(status, _)| status)
    }

    /// A request of `apply`, which may do everything.
    pub(crate) async fn as_apply(&self, method: Method, path: &str, body: &str) -> (u16, String) {
        let text = fs::read(self.layout.service_file("apply", "kubeconfig")).unwrap();
        let kubeconfig: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let pem = |name: &str| {
            let data = kubeconfig["users"][0]["user"][name].as_str().unwrap();
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).unwrap()).unwrap()
        };
        let identity = Issued { certificate: pem("client-certificate-data"), key: pem("client-key-data") };
        self.ask(method, path, body, Some(&identity)).await.unwrap()
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &str,
        identity: Option<&Issued>,
    ) -> Option<(u16, String)> {
        let tls = Tls {
            authority: self.pki.ca.certificate(),
            identity: identity.map(|issued| (issued.certificate.as_str(), issued.key.as_str())),
        };
        http::ask(Some(tls), self.ports[2], method.as_str(), path, body).await.ok()
    }
}

/// What PID 1 does about certificates, and the appliance server.
async fn boot(
    layout: &Layout,
    [_, _, api_port, appliance_port]: [u16; 4],
    reaper: Reaper,
) -> (Pki, CancellationToken, Arc<Supervisor>) {
    let now = OffsetDateTime::now_utc();
    let pki = Pki::open(&layout.pki(), now).unwrap();
    let accounts = Accounts::Single;
    let names = Names { hostname: "forge".to_owned(), ..Names::default() };
    Provisioner { pki: &pki, layout, accounts, now }.everything(&names).unwrap();
    fs::create_dir_all(layout.logs()).unwrap();
    let logs = LogSink::start(layout.logs(), 1 << 20);
    let servers = Servers::new(layout, accounts, logs.clone(), &pki).with_api_port(api_port);
    let authority = people::open(servers, now).await.unwrap();
    let supervisor = worker(layout, &logs, reaper);
    let requests = ServiceRequests::new(Arc::clone(&supervisor), layout.logs());
    people::listen(&authority, requests, layout, accounts).unwrap();
    fs::create_dir_all(layout.assets()).unwrap();
    let file = |name: &str| layout.service_file("appliance", name);
    let config = |listen| Config {
        listen,
        tls_cert: file("tls.crt"),
        tls_key: file("tls.key"),
        client_ca: file(people::APPLIANCE_CLIENTS),
        authority: file(people::SOCKET),
        status: layout.status(),
        assets_dir: layout.assets(),
        health_addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        api_server_port: api_port,
        services: Vec::new(),
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, appliance_port));
    let server = eventually("the port is free", async || Appliance::bind(config(listen)).await.ok()).await;
    let stop = CancellationToken::new();
    tokio::spawn(server.run(stop.clone()));
    (pki, stop, supervisor)
}

/// PID 1's supervisor with one service, `worker`, which writes a line a second.
fn worker(layout: &Layout, logs: &LogSink, reaper: Reaper) -> Arc<Supervisor> {
    let shared = Shared {
        reaper,
        cgroups: Cgroups::none(),
        logs: logs.clone(),
        console: Console::with(|_| {}),
        status: StatusStore::default(),
    };
    tokio::spawn(shared.status.clone().publish(layout.status()));
    let mut worker = Service::daemon("worker", "/bin/sh".into(), Probe::Http { port: 9, path: "/readyz" });
    worker.args = ["-c", "while echo $$ works; do sleep 1; done"].map(str::to_owned).into();
    worker.env.insert("PATH", "/usr/bin:/bin".to_owned());
    Arc::new(Supervisor::start(vec![worker], &shared).unwrap())
}

/// Waits until `look` gives something.
pub(crate) async fn eventually<T>(condition: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(LIMIT, condition, async || look().await.ok_or_else(|| "not so".to_owned())).await
}
