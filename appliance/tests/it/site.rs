//! A running server with its own certificate authority in a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use appliance::Appliance;
use appliance::config::Config;
use appliance::neighbours::Neighbour;
use bloomery_pairing::authority::{self, Bundle, Files, Log, Plane, Refusal, Services};
use bloomery_pairing::client::{AdminClient, AdminCredentials, Endpoint, Paired, pair};
use bloomery_pairing::local::{Refused, Rights};
use bloomery_pairing::wire::{LogPiece, ServiceCommand};
use bloomery_pairing::{Code, Fingerprint, Secret};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::net::UnixListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a condition may take before the test fails.
const LIMIT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// PID 1's status.
const STATUS: &str = r#"{"phase": "running", "services": [
    {"name": "etcd", "state": "running", "since": "2026-11-23T00:47:30Z", "pid": 7, "restarts": 0,
     "holdRefused": "it is needed"},
    {"name": "worker", "state": "held", "since": "2026-11-23T00:47:30Z", "restarts": 2, "lastExit": "killed by SIGTERM"}
]}"#;
/// The name in the serving certificate.
pub(crate) const SERVER_NAME: &str = "bloomery.test";

/// A signed certificate and its key, PEM.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: KeyPair,
}

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        // As PID 1 calls it.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "bloomery");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn client(&self, user: &str, group: &str) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, KeyPair::generate().unwrap())
    }

    pub(crate) fn server(&self, names: &[&str], key: KeyPair) -> Leaf {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params, key)
    }

    fn sign(&self, params: &CertificateParams, key: KeyPair) -> Leaf {
        Leaf { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key }
    }
}

/// PID 1's part of the machine: the file of client authorities, and what the Kubernetes API and the audit log would
/// be asked and told.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    clients: PathBuf,
    shared: String,
    rights: Arc<Mutex<Rights>>,
    audit: Arc<Mutex<Vec<String>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    /// What the Kubernetes API says of everybody's rights from now on.
    pub(crate) fn say(&self, rights: Rights) {
        *self.rights.lock().unwrap() = rights;
    }

    /// The one service, `worker`, writes a line.
    pub(crate) fn write_log(&self, line: &str) {
        self.log.lock().unwrap().push(line.to_owned());
    }

    /// The lines of the audit log.
    pub(crate) fn audit_log(&self) -> Vec<String> {
        self.audit.lock().unwrap().clone()
    }
}

impl Plane for Machine {
    fn publish(&self, bundle: &Bundle) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let shared = bundle.shared.then_some(&self.shared);
        let text: String = shared.into_iter().chain(&bundle.pairings).map(String::as_str).collect();
        Ok(fs::write(&self.clients, text)?)
    }

    async fn rights(&self, _: &authority::Identity) -> Rights {
        *self.rights.lock().unwrap()
    }

    async fn audit(&self, entry: authority::Entry) {
        self.audit.lock().unwrap().push(entry.to_string());
    }
}

/// One service named `worker`, and `etcd`, which cannot be held. PID 1's own is tried in `init/tests`.
impl Services for Machine {
    async fn tell(&self, service: &str, command: ServiceCommand) -> Result<String, Refusal> {
        match (service, command) {
            ("worker", ServiceCommand::Hold) => Ok("held".to_owned()),
            ("worker" | "etcd", ServiceCommand::Start | ServiceCommand::Restart) => Ok("starting".to_owned()),
            ("etcd", ServiceCommand::Hold) => {
                Err(Refusal::new(Refused::Conflict, "etcd cannot be held: it is needed"))
            }
            (other, _) => Err(Refusal::new(Refused::NotFound, format!("there is no service {other:?}"))),
        }
    }

    async fn log(&self, log: Log<'_>, lines: u32, after: Option<&str>) -> Result<LogPiece, Refusal> {
        if !matches!(log, Log::Service("worker") | Log::Machine("4c4c4544-0042")) {
            let told = match log {
                Log::Service(name) => format!("there is no service {name:?}"),
                Log::Machine(name) => format!("there is no log of machine {name:?}"),
            };
            return Err(Refusal::new(Refused::NotFound, told));
        }
        let log = self.log.lock().unwrap();
        let last = log.len().saturating_sub(lines.try_into().unwrap());
        let from = after.map_or(last, |cursor| cursor.parse().unwrap());
        let text = log[from..].iter().fold(String::new(), |text, line| text + line + "\n");
        Ok(LogPiece { text, next: log.len().to_string(), more: false, skipped: false })
    }
}

/// A server under test; stopped when dropped.
pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
    pub(crate) machine: Machine,
    pub(crate) server_key: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) public: SocketAddr,
    pub(crate) health: SocketAddr,
    _stop: DropGuard,
}

impl Site {
    /// A new plane.
    pub(crate) async fn start() -> Self {
        Self::start_among(Vec::new()).await
    }

    /// With these services beside it.
    pub(crate) async fn start_among(services: Vec<Neighbour>) -> Self {
        Self::start_after(false, services).await
    }

    /// On a plane that an earlier version made, perhaps.
    pub(crate) async fn start_after(had_earlier_version: bool, services: Vec<Neighbour>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = Authority::new();
        let server = authority.server(&[SERVER_NAME, "192.0.2.7"], KeyPair::generate().unwrap());
        fs::write(path("tls.crt"), &server.certificate).unwrap();
        fs::write(path("tls.key"), server.key.serialize_pem()).unwrap();
        fs::write(path("status.json"), STATUS).unwrap();
        fs::create_dir(path("assets")).unwrap();
        bloomery_pairing::load_or_create(&path("pairing-secret")).unwrap();
        let machine = Machine {
            clients: path("pairings.crt"),
            shared: authority.pem(),
            rights: Arc::new(Mutex::new(Rights::Full)),
            audit: Arc::default(),
            log: Arc::default(),
        };
        let stop = CancellationToken::new();
        let people = people(&directory, machine.clone(), &authority, had_earlier_version).await;
        let listener = UnixListener::bind(path("authority.sock")).unwrap();
        let worker = Arc::new(machine.clone());
        let serving =
            stop.clone().run_until_cancelled_owned(authority::serve(listener, people, worker, None));
        tokio::spawn(serving);
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let appliance = Appliance::bind(Config {
            listen: loopback,
            tls_cert: path("tls.crt"),
            tls_key: path("tls.key"),
            client_ca: path("pairings.crt"),
            authority: path("authority.sock"),
            status: path("status.json"),
            assets_dir: path("assets"),
            health_addr: loopback,
            api_server_port: 6443,
            services,
        })
        .await
        .unwrap();
        let (public, health) = appliance.addresses().unwrap();
        tokio::spawn(appliance.run(stop.clone()));
        Self {
            fingerprint: Fingerprint::of_public_key(&server.key.subject_public_key_info()),
            server_key: server.key.serialize_pem(),
            directory,
            authority,
            machine,
            public,
            health,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new("127.0.0.1", self.public.port()).unwrap()
    }

    /// What the console shows.
    pub(crate) fn code(&self) -> Code {
        Code::new(bloomery_pairing::load(&self.path("pairing-secret")).unwrap(), self.fingerprint)
    }

    /// A well-formed code with another secret.
    pub(crate) fn wrong_code(&self) -> Code {
        Code::new(Secret::generate().unwrap(), self.fingerprint)
    }

    /// Pairs; the ID of the pairing and a client with its certificate.
    pub(crate) async fn pair(&self) -> (String, AdminClient) {
        let Paired { client_key, response } = pair(&self.endpoint(), &self.code()).await.unwrap();
        (response.id, self.client(response.client_certificate, client_key))
    }

    /// A client with a certificate that was not paired.
    pub(crate) fn client_of(&self, leaf: &Leaf) -> AdminClient {
        self.client(leaf.certificate.clone(), leaf.key.serialize_pem())
    }

    pub(crate) fn client(&self, client_certificate: String, client_key: String) -> AdminClient {
        let credentials = AdminCredentials {
            certificate_authority: self.authority.pem(),
            client_certificate,
            client_key,
            tls_server_name: Some(SERVER_NAME.to_owned()),
        };
        AdminClient::new(self.endpoint(), &credentials).unwrap()
    }
}

async fn people(
    directory: &TempDir,
    machine: Machine,
    authority: &Authority,
    had_earlier_version: bool,
) -> Arc<authority::Authority<Machine>> {
    let path = |name: &str| directory.path().join(name);
    let files = Files { pairings: path("pairings.json"), secret: path("pairing-secret") };
    authority::begin(&files.pairings, had_earlier_version).unwrap();
    let now = OffsetDateTime::now_utc();
    let people = authority::Authority::open(machine, files, authority.pem(), now).unwrap();
    people.publish().await.unwrap();
    Arc::new(people)
}

/// How much longer than usual to wait on a slow machine.
pub(crate) fn patience() -> u32 {
    std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Waits until `look` gives something; fails with `condition` when it does not in time.
pub(crate) async fn eventually<T>(condition: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(start.elapsed() < LIMIT * patience(), "{condition}: not so after {:?}", start.elapsed());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
