//! One HTTP/1.1 request over one TLS connection, every size bounded.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{HeaderMap, Method, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use super::error::ClientError;
use super::tls::FingerprintMismatch;

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
    pub(super) body: Vec<u8>,
}

/// Connects, asks, reads the whole answer. The caller bounds the time.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    tls: Arc<ClientConfig>,
    tls_server_name: Option<&str>,
    request: Request,
) -> Result<Answer, ClientError> {
    let http = |source| ClientError::Http { endpoint: endpoint.clone(), source };
    let name = tls_server_name.unwrap_or(endpoint.host());
    let name = ServerName::try_from(name.to_owned())
        .map_err(|source| ClientError::ServerName { name: name.to_owned(), source })?;
    let tcp = TcpStream::connect((endpoint.host(), endpoint.port()))
        .await
        .map_err(|source| ClientError::Connect { endpoint: endpoint.clone(), source })?;
    let stream =
        TlsConnector::from(tls).connect(name, tcp).await.map_err(|source| tls_error(endpoint, source))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    // Drives the connection until `sender` is dropped; its errors also reach the sender.
    let connection = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(request.method)
        .uri(request.path)
        .header(HOST, endpoint.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(request.body)))
        .map_err(|source| ClientError::Build { source })?;
    let result = async {
        let response = sender.send_request(request).await.map_err(http)?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = read_body(endpoint, response.into_body()).await?;
        Ok(Answer { status, retry_after, body })
    }
    .await;
    connection.abort();
    result
}

async fn read_body(endpoint: &Endpoint, body: hyper::body::Incoming) -> Result<Vec<u8>, ClientError> {
    match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(source) => ClientError::Http { endpoint: endpoint.clone(), source: *source },
            Err(other) => {
                debug_assert!(other.is::<LengthLimitError>(), "a limited body fails in two ways only");
                ClientError::TooLarge { endpoint: endpoint.clone(), limit: MAX_ANSWER_BYTES }
            }
        }),
    }
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
