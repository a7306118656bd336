//! A running server with its own certificate authority in a directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use appliance::Appliance;
use appliance::config::Config;
use appliance::neighbours::Neighbour;
use bloomery_pairing::client::{AdminClient, AdminCredentials, Endpoint};
use bloomery_pairing::wire::{ADMIN_GROUP, ADMIN_USER};
use bloomery_pairing::{Code, Fingerprint, Secret};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a condition may take before the test fails.
const LIMIT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
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
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn client(&self, user: &str, group: &str) -> Leaf {
        let mut params = CertificateParams::default();
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

/// A server under test; stopped when dropped.
pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
    pub(crate) admin: Leaf,
    pub(crate) server_key: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) public: SocketAddr,
    pub(crate) health: SocketAddr,
    _stop: DropGuard,
}

impl Site {
    /// With the client CA that the admin identity names.
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With this client CA (PEM), when one is given.
    pub(crate) async fn start_with(client_ca: Option<&str>) -> Self {
        Self::start_among(client_ca, Vec::new()).await
    }

    /// With these services beside it.
    pub(crate) async fn start_among(client_ca: Option<&str>, services: Vec<Neighbour>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let authority = Authority::new();
        let admin = authority.client(ADMIN_USER, ADMIN_GROUP);
        let server = authority.server(&[SERVER_NAME, "192.0.2.7"], KeyPair::generate().unwrap());
        fs::write(path("tls.crt"), &server.certificate).unwrap();
        fs::write(path("tls.key"), server.key.serialize_pem()).unwrap();
        let identity = format!(
            r#"{{"certificateAuthority":{:?},"clientCertificate":{:?},"clientKey":{:?}}}"#,
            authority.pem(),
            admin.certificate,
            admin.key.serialize_pem()
        );
        fs::write(path("admin.json"), identity).unwrap();
        fs::write(path("status.json"), r#"{"phase":"running"}"#).unwrap();
        fs::create_dir(path("assets")).unwrap();
        bloomery_pairing::load_or_create(&path("pairing-secret"), None).unwrap();
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let appliance = Appliance::bind(Config {
            listen: loopback,
            tls_cert: path("tls.crt"),
            tls_key: path("tls.key"),
            client_ca: client_ca.map(|pem| {
                fs::write(path("client-ca.crt"), pem).unwrap();
                path("client-ca.crt")
            }),
            pairing_secret: path("pairing-secret"),
            admin: path("admin.json"),
            status: path("status.json"),
            assets_dir: path("assets"),
            health_addr: loopback,
            api_server_port: 6443,
            services,
        })
        .await
        .unwrap();
        let (public, health) = appliance.addresses().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(appliance.run(stop.clone()));
        Self {
            fingerprint: Fingerprint::of_public_key(&server.key.subject_public_key_info()),
            server_key: server.key.serialize_pem(),
            directory,
            authority,
            admin,
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

    pub(crate) fn admin_client(&self, leaf: &Leaf) -> AdminClient {
        let credentials = AdminCredentials {
            certificate_authority: self.authority.pem(),
            client_certificate: leaf.certificate.clone(),
            client_key: leaf.key.serialize_pem(),
            tls_server_name: Some(SERVER_NAME.to_owned()),
        };
        AdminClient::new(self.endpoint(), &credentials).unwrap()
    }
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
