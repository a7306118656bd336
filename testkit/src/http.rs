//! One request to a port of the loopback, in plain text or over mutual TLS.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Certificates of one side, PEM.
#[derive(Clone, Copy, Debug)]
pub struct Tls<'a> {
    /// Signed the server's certificate.
    pub authority: &'a str,
    /// Certificate and key of the client; none for a stranger.
    pub identity: Option<(&'a str, &'a str)>,
}

impl Tls<'_> {
    fn config(self) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some((certificate, key)) = self.identity else { return config.with_no_client_auth() };
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        config.with_client_auth_cert(vec![certificate], key).unwrap()
    }
}

/// GETs over plain HTTP: status and body.
pub async fn get(port: u16, path: &str) -> Result<(u16, String), String> {
    ask(None, port, "GET", path, "").await
}

/// Asks with a body of JSON, or an empty one: status and body.
pub async fn ask(
    tls: Option<Tls<'_>>,
    port: u16,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String), String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| error.to_string())?;
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", format!("127.0.0.1:{port}"))
        .header("connection", "close")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let Some(tls) = tls else { return send(TokioIo::new(stream), request).await };
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    let stream = TlsConnector::from(Arc::new(tls.config())).connect(name, stream).await;
    send(TokioIo::new(stream.map_err(|error| error.to_string())?), request).await
}

async fn send(
    stream: impl Read + Write + Send + Unpin + 'static,
    request: hyper::Request<Full<Bytes>>,
) -> Result<(u16, String), String> {
    let (mut sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
