//! One HTTP/1.1 request over one TLS connection, every size bounded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{HeaderMap, Method, StatusCode};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::error::ClientError;
use super::tls::FingerprintMismatch;
use crate::http::{self, ExchangeError};

/// Larger than any real answer; the boot traces of ten thousand machines stay below.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// What to ask.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// Connects, asks, reads the whole answer. The caller bounds the time.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    tls: Arc<ClientConfig>,
    tls_server_name: Option<&str>,
    request: Request,
) -> Result<Answer, ClientError> {
    let name = tls_server_name.unwrap_or(endpoint.host());
    let name = ServerName::try_from(name.to_owned())
        .map_err(|source| ClientError::ServerName { name: name.to_owned(), source })?;
    let tcp = TcpStream::connect((endpoint.host(), endpoint.port()))
        .await
        .map_err(|source| ClientError::Connect { endpoint: endpoint.clone(), source })?;
    let stream =
        TlsConnector::from(tls).connect(name, tcp).await.map_err(|source| tls_error(endpoint, source))?;
    let request = hyper::Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(HOST, endpoint.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(request.body)))
        .map_err(|source| ClientError::Build { source })?;
    let answer = http::exchange(stream, request, MAX_ANSWER_BYTES).await.map_err(|error| match error {
        ExchangeError::Http(source) => ClientError::Http { endpoint: endpoint.clone(), source },
        ExchangeError::TooLarge(limit) => ClientError::TooLarge { endpoint: endpoint.clone(), limit },
    })?;
    let (status, retry_after) = (answer.status(), retry_after(answer.headers()));
    Ok(Answer { status, retry_after, body: answer.into_body() })
}

/// Seconds form only (RFC 9110 §10.2.3): the appliance sends no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// Recovers what the pinning verifier found from inside the handshake's error.
fn tls_error(endpoint: &Endpoint, source: io::Error) -> ClientError {
    let endpoint = endpoint.clone();
    match FingerprintMismatch::find(&source) {
        Some(&FingerprintMismatch { expected, found }) => {
            ClientError::Fingerprint { endpoint, expected, found }
        }
        None => ClientError::Tls { endpoint, source },
    }
}
