//! A machine with PID 1's authority, the appliance server, etcd and kube-apiserver.

use appliance::Appliance;
use appliance::config::Config;
use base64::Engine;
use bloomery_pairing::Code;
use bloomery_pairing::client::Endpoint;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
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
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Names the directory with the programs.
const VARIABLE: &str = "BLOOMERY_CONTROLPLANE";
/// How long a condition may take: the API server looks for new authorities once a minute at the latest.
const LIMIT: Duration = Duration::from_mins(2);
/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A child that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
        let ports = free_ports();
        let etcd = start_etcd(directory.path(), ports);
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
        let mut command = Command::new(program("kube-apiserver"));
        command
            .args([format!("--etcd-servers=http://127.0.0.1:{store}"), format!("--secure-port={port}")])
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/24"])
            .args([
                format!("--client-ca-file={}", file(people::API_CLIENTS)),
                format!("--tls-cert-file={}", file("tls.crt")),
                format!("--tls-private-key-file={}", file("tls.key")),
                format!("--authentication-config={}", file("authentication.yaml")),
                format!("--service-account-key-file={}", file("sa.pub")),
                format!("--service-account-signing-key-file={}", file("sa.key")),
            ])
            .args(["--authorization-mode=RBAC", "--service-account-issuer=https://test.invalid"]);
        self.api_server = Some(start("kube-apiserver", self.directory.path(), &mut command));
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
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports[2])).await.ok()?;
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
        let stream = TlsConnector::from(Arc::new(self.tls(identity))).connect(name, stream).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "127.0.0.1")
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    fn tls(&self, identity: Option<&Issued>) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pki.ca.certificate().as_bytes()).unwrap()).unwrap();
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
        match identity {
            None => config.with_no_client_auth(),
            Some(Issued { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        }
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

fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os(VARIABLE).map(PathBuf::from);
    let Some(directory) = directory else {
        panic!(
            "{VARIABLE} is not set: it names a directory with links `etcd` and `kube-apiserver`; `make test` sets it"
        )
    };
    directory.join(name)
}

fn start_etcd(directory: &Path, [store, peers, ..]: [u16; 4]) -> Process {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let mut command = Command::new(program("etcd"));
    command
        .arg(format!("--data-dir={}", directory.join("etcd").display()))
        .args([
            format!("--listen-client-urls={}", url(store)),
            format!("--advertise-client-urls={}", url(store)),
        ])
        .args([
            format!("--listen-peer-urls={}", url(peers)),
            format!("--initial-advertise-peer-urls={}", url(peers)),
        ])
        .arg(format!("--initial-cluster=default={}", url(peers)))
        // Nothing of a test survives it.
        .arg("--unsafe-no-fsync=true");
    start("etcd", directory, &mut command)
}

fn start(name: &str, directory: &Path, command: &mut Command) -> Process {
    let log = File::create(directory.join(format!("{name}.log"))).unwrap();
    let errors = log.try_clone().unwrap();
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(directory).spawn();
    Process(child.unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Ports that are free now: all are held until all are known, so that no two are the same.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// Waits until `look` gives something; fails with `condition` when it does not in time.
pub(crate) async fn eventually<T>(condition: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let start = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(start.elapsed() < LIMIT * patience, "{condition}: not so after {:?}", start.elapsed());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
