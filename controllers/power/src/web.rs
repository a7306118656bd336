//! HTTP requests to a BMC or a provisioner: one connection for the requests of one command, a new one where it broke.
//!
//! Never follows a redirect by itself (credentials would go along), never reads a body without a limit, and never sends
//! a request twice that may do something twice.

mod pin;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use self::pin::CertificatePin;
pub(crate) use self::pin::Trust;
use crate::endpoint::{Origin, Scheme};

/// Longest body read: the largest Redfish resource needed has some 20 KiB.
const MAX_BODY: usize = 1 << 20;
/// TCP and TLS; old BMCs need seconds for a TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);

/// Why there is no response.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum WebError {
    #[error("failed to connect to {origin}; check the address and port")]
    Connect { origin: String, source: Arc<std::io::Error> },
    #[error("failed to set up TLS with {origin}; is it HTTPS?")]
    Tls { origin: String, source: Arc<std::io::Error> },
    #[error(
        "failed to agree on a cipher suite with {origin}: TLS 1.3, and TLS 1.2 with ECDHE and AES-GCM or ChaCha20, \
         are spoken here, not RSA key exchange, DHE or CBC; update the BMC's firmware or set the interface to lanplus"
    )]
    CipherSuite { origin: String, source: Arc<std::io::Error> },
    /// Another certificate than the one that is pinned: the BMC was replaced or reset, or somebody else answers.
    #[error(
        "failed to recognise {origin}: it shows another certificate ({shown}) than before ({pinned}); no password \
         was sent"
    )]
    CertificateChanged { origin: String, pinned: CertificatePin, shown: CertificatePin },
    #[error("failed to connect to {origin} within {} s", .limit.as_secs())]
    ConnectTimeout { origin: String, limit: Duration },
    #[error("failed to get an answer from {origin} within {} s", .limit.as_secs())]
    Timeout { origin: String, limit: Duration },
    /// The request cannot be sent: a path or header with characters that must not be there.
    #[error("failed to make a request to {origin}")]
    Request { origin: String, source: Arc<http::Error> },
    #[error("failed to talk HTTP with {origin}")]
    Http { origin: String, source: Arc<hyper::Error> },
    /// The body is too long or broke off.
    #[error("failed to read the answer of {origin}")]
    Body { origin: String, source: Arc<dyn std::error::Error + Send + Sync> },
}

impl WebError {
    /// One word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused => {
                "refused"
            }
            Self::Connect { .. } => "unreachable",
            Self::Timeout { .. } | Self::ConnectTimeout { .. } => "timeout",
            Self::CertificateChanged { .. } => "certificate",
            Self::Tls { .. }
            | Self::CipherSuite { .. }
            | Self::Request { .. }
            | Self::Http { .. }
            | Self::Body { .. } => "protocol",
        }
    }

    /// The request may have arrived.
    pub(crate) const fn may_have_arrived(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Http { .. } | Self::Body { .. } => true,
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::CipherSuite { .. }
            | Self::CertificateChanged { .. }
            | Self::ConnectTimeout { .. }
            | Self::Request { .. } => false,
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

type Sender = SendRequest<Full<Bytes>>;

/// A connection that is made when it is first needed, and again when it broke between two requests.
#[derive(Debug)]
pub(crate) struct Connection {
    origin: Origin,
    limit: Duration,
    trust: Arc<Trust>,
    sender: Option<Sender>,
}

impl Connection {
    /// Requests to `origin`, each within `limit`, of a certificate that `trust` knows or gets to know. Connects to
    /// nothing yet.
    pub(crate) const fn new(origin: Origin, limit: Duration, trust: Arc<Trust>) -> Self {
        Self { origin, limit, trust, sender: None }
    }

    /// Sends a request and reads the response.
    ///
    /// BMCs close connections without a word after any answer (RFC 9112, 9.3.1 and 9.5): a request that does the same
    /// when it comes twice is sent again on a new connection when a used one broke; one that does not (POST) gets a
    /// new connection of its own.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, WebError> {
        let limit = self.limit;
        match timeout(limit, self.send_unlimited(&method, path, &headers, &body)).await {
            Ok(result) => result,
            Err(_) => Err(WebError::Timeout { origin: self.origin.to_string(), limit }),
        }
    }

    async fn send_unlimited(
        &mut self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response, WebError> {
        // Put back only after a whole answer: a connection that was dropped half way is of no use.
        let kept = self.sender.take().filter(|_| *method != Method::POST);
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            match self.exchange(sender, self.request(method, path, headers, body)?).await {
                Err(WebError::Http { .. } | WebError::Body { .. }) => {}
                result => return result,
            }
        }
        let sender = connect(&self.origin, &self.trust).await?;
        self.exchange(sender, self.request(method, path, headers, body)?).await
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Request<Full<Bytes>>, WebError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.origin.authority());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let mut request = request
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(Full::new(body.clone()))
            .map_err(|error| WebError::Request {
                origin: self.origin.to_string(),
                source: Arc::new(error),
            })?;
        request.headers_mut().extend(headers.clone());
        Ok(request)
    }

    async fn exchange(
        &mut self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
    ) -> Result<Response, WebError> {
        let origin = || self.origin.to_string();
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| WebError::Http { origin: origin(), source: Arc::new(error) })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(|error| WebError::Body { origin: origin(), source: Arc::from(error) })?
            .to_bytes();
        self.sender = Some(sender);
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

async fn connect(origin: &Origin, trust: &Trust) -> Result<Sender, WebError> {
    let name = origin.to_string();
    let connecting = async {
        let tcp = TcpStream::connect((origin.host.as_str(), origin.port))
            .await
            .map_err(|error| WebError::Connect { origin: name.clone(), source: Arc::new(error) })?;
        match origin.scheme {
            Scheme::Http => handshake(tcp, &name).await,
            Scheme::Https => handshake(tls::connect(origin, tcp, trust).await?, &name).await,
        }
    };
    timeout(CONNECT_LIMIT, connecting)
        .await
        .unwrap_or_else(|_| Err(WebError::ConnectTimeout { origin: name.clone(), limit: CONNECT_LIMIT }))
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    origin: &str,
) -> Result<Sender, WebError> {
    let (sender, connection) = http1::Builder::new()
        // `Content-Type : x` and the like, which BMCs send and browsers accept.
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| WebError::Http { origin: origin.to_owned(), source: Arc::new(error) })?;
    // Ends when the sender is dropped or the peer closes; a failure shows up at the sender.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
