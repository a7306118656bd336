//! A Redfish BMC of which a test decides every octet: over TCP or TLS, with connections that end as they please.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bloomery_power::CertificatePin;
use bloomery_power::endpoint::{Origin, Scheme};
use bloomery_power::identity::Identity;
use bloomery_power::ipmi::Credentials;
use bloomery_power::redfish::Redfish;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The machine's UUID.
pub(crate) const UUID: &str = "38947555-7742-3448-3784-823347823834";
/// Another machine's.
pub(crate) const OTHER: &str = "11111111-2222-3333-4444-555555555555";

/// A request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By name in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// Its number on its connection, from 0.
    pub(crate) number: usize,
}

impl Request {
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It stays open.
    Keep,
    /// It is closed this long after the answer, which said nothing of it.
    Close(Duration),
    /// It is closed instead of an answer.
    Silent,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Raw lines.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) then: Then,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec!["Content-Type: application/json".to_owned()];
        Self { status, headers, body: body.into(), then: Then::Keep }
    }

    pub(crate) fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    pub(crate) fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

type Handler = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// A certificate and its key.
pub(crate) struct Certificate {
    acceptor: TlsAcceptor,
    pub(crate) pin: CertificatePin,
}

impl Certificate {
    /// A new one, for a name that nobody asks for.
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["a-name-nobody-asked-for".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Self::of(made.cert.der().clone(), key)
    }

    /// This certificate with this key, whether they belong together or not.
    pub(crate) fn of(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Self {
        Self::at(certificate, key, rustls::ALL_VERSIONS)
    }

    /// The same with these versions of TLS.
    pub(crate) fn at(
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        let pin = CertificatePin::of(parsed.public_key().raw);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let signer = provider.key_provider.load_private_key(key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(vec![certificate], signer);
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), pin }
    }
}

/// A running BMC.
pub(crate) struct Mock {
    pub(crate) origin: Origin,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mock {
    /// Over TLS, with a certificate of its own.
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(vec![Certificate::new()], handler).await
    }

    /// Over TLS with one certificate for each connection, the last for all that follow; without any, over TCP.
    pub(crate) async fn with(
        certificates: Vec<Certificate>,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if certificates.is_empty() { Scheme::Http } else { Scheme::Https };
        let origin = Origin { scheme, host: "127.0.0.1".to_owned(), port };
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let handler: Handler = Arc::new(handler);
        let notes = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let certificate = certificates.get(number).or_else(|| certificates.last());
                let acceptor = certificate.map(|certificate| certificate.acceptor.clone());
                let (handler, notes) = (Arc::clone(&handler), Arc::clone(&notes));
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(tcp, &handler, &notes).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(tcp).await {
                                serve(stream, &handler, &notes).await;
                            }
                        }
                    }
                });
            }
        });
        Self { origin, seen, task }
    }

    /// A driver for the machine [`UUID`].
    pub(crate) fn driver(&self, pinned: Option<CertificatePin>) -> Redfish {
        self.driver_of(Identity::of(UUID), pinned)
    }

    /// A driver for another identity.
    pub(crate) fn driver_of(&self, identity: Identity, pinned: Option<CertificatePin>) -> Redfish {
        let credentials = Credentials { user: "u".into(), pass: "p".into() };
        Redfish::new(self.origin.clone(), identity, credentials, pinned)
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests that change something: `METHOD path body`.
    pub(crate) fn changes(&self) -> Vec<String> {
        let changing = |request: &Request| request.method != "GET";
        let all = self.requests();
        let words = |one: &Request| format!("{} {} {}", one.method, one.path, one.body);
        all.iter().filter(|one| changing(one)).map(words).collect()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: &Handler,
    seen: &Mutex<Vec<Request>>,
) {
    let mut number = 0;
    while let Some(request) = read(&mut stream, number).await {
        number += 1;
        seen.lock().unwrap().push(request.clone());
        let Reply { status, headers, body, then } = handler(&request);
        if then == Then::Silent {
            break;
        }
        let mut bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len()).into_bytes();
        for line in &headers {
            bytes.extend(format!("{line}\r\n").into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(body);
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            break;
        }
        if let Then::Close(wait) = then {
            tokio::time::sleep(wait).await;
            break;
        }
    }
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut (impl AsyncRead + Unpin), number: usize) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body: String::from_utf8(body).unwrap(), number })
}

/// The service root.
pub(crate) const ROOT: &str =
    r#"{"Systems":{"@odata.id":"/redfish/v1/Systems"},"Links":{"Sessions":{"@odata.id":"/redfish/v1/S"}}}"#;
/// A collection of the System `1`.
pub(crate) const ONE: &str = r#"{"Members@odata.count":1,"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}"#;

/// A System that is on.
pub(crate) fn system(path: &str, uuid: &str, more: &str) -> String {
    format!(
        r##"{{"UUID":"{uuid}","PowerState":"On",{more}"Actions":{{"#ComputerSystem.Reset":{{"target":"{path}/reset",
        "ResetType@Redfish.AllowableValues":["On","ForceOff","ForceRestart"]}}}}}}"##
    )
}

/// An ordinary BMC with one System: what a test has no word on.
pub(crate) fn ordinary(request: &Request) -> Reply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/redfish/v1/") => Reply::new(200, ROOT),
        ("GET", "/redfish/v1/Systems") => Reply::new(200, ONE),
        ("GET", "/redfish/v1/Systems/1") => Reply::new(200, system("/redfish/v1/Systems/1", UUID, "")),
        ("POST", path) if path.ends_with("/reset") => Reply::new(204, ""),
        _ => Reply::new(404, ""),
    }
}
