//! Asks a machine's API server whether it is ready, over one kept connection, so that asking costs it little.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bloomery_lab::contract::API_PORT;
use bloomery_lab::lab::Lab;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::Address;

/// How often it is asked.
const ASK: Duration = Duration::from_millis(100);

/// Waits until `/readyz` says yes. The caller bounds the time.
pub(super) async fn wait(lab: &Lab, address: Address<'_>) {
    loop {
        if let Some(address) = address(lab)
            // Refused, cut, or not yet what it will be: all of it means "not yet".
            && Box::pin(ask(lab, (address, API_PORT).into())).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(ASK).await;
    }
}

/// Asks until the answer is yes, or the connection breaks.
async fn ask(lab: &Lab, address: SocketAddr) -> anyhow::Result<()> {
    let stream = lab.net.connect(address).await?;
    let name = ServerName::from(address.ip());
    let stream = TlsConnector::from(Arc::new(anyone()?)).connect(name, stream).await.context("no TLS yet")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let result = async {
        loop {
            let request = Request::get("/readyz").header("host", "bench").body(Empty::<Bytes>::new())?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            // Read to its end, so that the connection can be used again.
            answer.into_body().collect().await?;
            if status == StatusCode::OK {
                return Ok(());
            }
            tokio::time::sleep(ASK).await;
        }
    }
    .await;
    connection.abort();
    result
}

fn anyone() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth())
}

/// Accepts any certificate: nothing secret is said, and the only other party in that network is the machine.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
