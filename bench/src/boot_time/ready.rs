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
use kube::client::ConfigExt as _;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
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
    let stream =
        TlsConnector::from(Arc::new(anyone(address)?)).connect(name, stream).await.context("no TLS yet")?;
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

/// Accepts any certificate: nothing secret is said, and the only other party in that network is the machine.
fn anyone(address: SocketAddr) -> anyhow::Result<ClientConfig> {
    let mut config = kube::Config::new(format!("https://{address}").parse()?);
    config.accept_invalid_certs = true;
    // Else the system's roots would be read for each connection.
    config.root_cert = Some(Vec::new());
    Ok(config.rustls_client_config()?)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_is_accepted() {
        let made = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let server = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let address: SocketAddr = ([127, 0, 0, 1], API_PORT).into();
        let (ours, theirs) = tokio::io::duplex(1 << 14);
        let client = TlsConnector::from(Arc::new(anyone(address).unwrap()));
        let (client, server) = tokio::join!(
            client.connect(ServerName::from(address.ip()), ours),
            TlsAcceptor::from(Arc::new(server)).accept(theirs)
        );
        client.unwrap();
        server.unwrap();
    }
}
