//! HTTP requests to a BMC or a provisioner: one connection for the requests of one command.
//!
//! Never follows a redirect (credentials would go along), and never reads a body without a limit.
//! Any certificate is accepted: BMCs sign their own. TLS here keeps out who only listens, not who stands between.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::endpoint::{Origin, Scheme};

/// Longest body read: the largest Redfish resource needed has some 20 KiB.
const MAX_BODY: usize = 1 << 20;
/// TCP and TLS; old BMCs need seconds for a TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);

/// Why there is no response.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WebError {
    /// No TCP connection.
    #[error("failed to connect to {origin}; check the address and port")]
    Connect {
        /// Where.
        origin: String,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// No TLS.
    #[error("failed to set up TLS with {origin}; is it HTTPS with TLS 1.2 or newer?")]
    Tls {
        /// Where.
        origin: String,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// Silence.
    #[error("failed to get an answer from {origin} within {} s", .limit.as_secs())]
    Timeout {
        /// Where.
        origin: String,
        /// The limit.
        limit: Duration,
    },
    /// The request cannot be sent: a path or header with characters that must not be there.
    #[error("failed to make a request to {origin}")]
    Request {
        /// Where.
        origin: String,
        /// Why.
        source: Arc<http::Error>,
    },
    /// The conversation broke.
    #[error("failed to talk HTTP with {origin}")]
    Http {
        /// Where.
        origin: String,
        /// Why.
        source: Arc<hyper::Error>,
    },
    /// The body is too long or broke off.
    #[error("failed to read the answer of {origin}")]
    Body {
        /// Where.
        origin: String,
        /// Why.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl WebError {
    /// One word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                "refused"
            }
            Self::Connect { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Tls { .. } | Self::Request { .. } | Self::Http { .. } | Self::Body { .. } => "protocol",
        }
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A connection that is made when it is first needed, and again when it broke between two requests.
#[derive(Debug)]
pub(crate) struct Connection {
    origin: Origin,
    limit: Duration,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// Requests to `origin`, each within `limit`. Connects to nothing yet.
    pub(crate) const fn new(origin: Origin, limit: Duration) -> Self {
        Self { origin, limit, sender: None }
    }

    /// Sends a request and reads the response.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, WebError> {
        let limit = self.limit;
        match timeout(limit, self.send_unlimited(method, path, headers, body)).await {
            Ok(result) => result,
            Err(_) => Err(WebError::Timeout { origin: self.origin.to_string(), limit }),
        }
    }

    async fn send_unlimited(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, WebError> {
        let origin = self.origin.to_string();
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.origin.authority());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let mut request = request
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(Full::new(body))
            .map_err(|error| WebError::Request { origin: origin.clone(), source: Arc::new(error) })?;
        request.headers_mut().extend(headers);

        let failed = |error| WebError::Http { origin: origin.clone(), source: Arc::new(error) };
        // Put back only after a whole answer: a connection that was dropped half way is of no use.
        let mut kept = self.sender.take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => connect(&self.origin).await?,
        };
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|error| WebError::Body { origin: origin.clone(), source: Arc::from(error) })?
            .to_bytes();
        self.sender = Some(sender);
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

async fn connect(origin: &Origin) -> Result<SendRequest<Full<Bytes>>, WebError> {
    let name = origin.to_string();
    let connecting = async {
        let tcp = TcpStream::connect((origin.host.as_str(), origin.port))
            .await
            .map_err(|error| WebError::Connect { origin: name.clone(), source: Arc::new(error) })?;
        match origin.scheme {
            Scheme::Http => handshake(tcp, &name).await,
            Scheme::Https => {
                let failed = |source| WebError::Tls { origin: name.clone(), source: Arc::new(source) };
                let server = ServerName::try_from(origin.host.clone())
                    .map_err(|error| failed(std::io::Error::other(error)))?;
                let config = tls::client_config().map_err(|error| failed(std::io::Error::other(error)))?;
                let stream = TlsConnector::from(config).connect(server, tcp).await.map_err(failed)?;
                handshake(stream, &name).await
            }
        }
    };
    timeout(CONNECT_LIMIT, connecting)
        .await
        .unwrap_or_else(|_| Err(WebError::Timeout { origin: name.clone(), limit: CONNECT_LIMIT }))
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    origin: &str,
) -> Result<SendRequest<Full<Bytes>>, WebError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| WebError::Http { origin: origin.to_owned(), source: Arc::new(error) })?;
    // Ends when the sender is dropped or the peer closes; a failure shows up at the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

mod tls {
    //! TLS that accepts any certificate.

    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

    /// The configuration, made anew: once for each connection to a BMC is seldom enough.
    pub(super) fn client_config() -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    /// Accepts every certificate and every signature. Who could forge the signature could as well show a certificate
    /// of his own; and BMCs have certificates of such age that checking a signature with them fails.
    #[derive(Debug)]
    struct AnyCertificate(Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
