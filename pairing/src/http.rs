//! HTTP/1.1 and TLS of clients that ask one question per connection: PID 1, the appliance server, workstations.
//!
//! It must never follow a redirect or read an answer without a limit. The callers bound the time.

use std::error::Error;
use std::sync::Arc;

pub use http_body_util::Full;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ExchangeError {
    /// The connection broke, or what came was no HTTP.
    #[error(transparent)]
    Http(hyper::Error),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Sends a request over a connection of its own, and reads the whole answer, whose body has at most `most` octets.
pub async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Response<Bytes>, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ExchangeError::Http)?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(ExchangeError::Http)?.into_parts();
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
            // A limited body fails in two ways only.
            Err(error) => Err(error
                .downcast()
                .map_or(ExchangeError::TooLarge(most), |error| ExchangeError::Http(*error))),
        }
    };
    tokio::pin!(connection, exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection has to be driven. What ends it reaches the exchange, and so does an answer that came before.
        _ = &mut connection => exchange.await,
    }
}

/// Trusts what the authority (PEM) signed, and shows a certificate and its key (both PEM) if there is one.
pub fn client_config(
    authority: &str,
    own: Option<(&str, &str)>,
) -> Result<ClientConfig, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((certificate, key)) = own else { return Ok(config.with_no_client_auth()) };
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
    Ok(config.with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes())?)?)
}
