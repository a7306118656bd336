//! What malformed, oversized, slow and numerous requests get, and that the server survives all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_pairing::client::pair;
use proptest::prelude::*;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::site::{SERVER_NAME, Site, eventually, patience};

/// Longer than any bound of the server but its connection lifetime.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

async fn tls(site: &Site) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(site.authority.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(site.public).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER_NAME).unwrap(), tcp).await
}

/// Sends bytes, says that no more come, and reads until the server closes.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    let talk = async {
        // The server may close before it has read everything.
        let _ = stream.write_all(request).await;
        let _ = stream.flush().await;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(ANSWER_LIMIT * patience(), talk)
        .await
        .expect("the server neither answers nor closes")
}

/// One request over plain HTTP, the connection closed after it.
pub(crate) async fn plain_http(address: SocketAddr, request: &str) -> String {
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    converse(TcpStream::connect(address).await.unwrap(), request.as_bytes()).await
}

async fn https(site: &Site, request: &str) -> String {
    let request = request.replacen("\r\n", "\r\nhost: x\r\nconnection: close\r\n", 1);
    converse(tls(site).await.unwrap(), request.as_bytes()).await
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// One POST over HTTPS: its status and answer.
pub(crate) async fn posted(site: &Site, path: &str, body: &str) -> (u16, String) {
    let answer = https(site, &post(path, body)).await;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, answer)
}

#[tokio::test]
async fn strangers_get_health_and_nothing_else() {
    let site = Site::start().await;
    for (request, answer) in [
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 200"),
        ("GET /readyz HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 200"),
        ("GET /v1/status HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 403"),
        ("GET /metrics HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 403"),
        (post("/v1/pairing/reissue", ""), "HTTP/1.1 403"),
        (post("/v1/pairing/renew", "{}"), "HTTP/1.1 403"),
        ("GET /v1/pairings HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 403"),
        ("DELETE /v1/pairings/shared HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 403"),
        ("GET /v1/pair HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 405"),
        ("DELETE /healthz HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 405"),
        ("GET /etc/passwd HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 404"),
        ("GET /../../etc/passwd HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 404"),
    ] {
        let got = https(&site, &request).await;
        assert!(got.starts_with(answer), "{request}: {got}");
        if !answer.ends_with("200") {
            assert!(got.contains(r#"{"reason":""#), "refusals are JSON: {got}");
        }
    }
}

#[tokio::test]
async fn the_health_port_serves_no_pairing() {
    let site = Site::start().await;
    let got = plain_http(site.health, &post("/v1/pair", "{}").replacen("\r\n", "\r\nhost: x\r\n", 1)).await;
    assert!(got.starts_with("HTTP/1.1 404"), "{got}");
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_refused_and_cost_no_attempts() {
    let site = Site::start().await;
    let huge = format!(r#"{{"secret":"{}"}}"#, "0".repeat(9000));
    for (body, status) in [
        ("", "400"),
        ("{", "400"),
        ("[]", "400"),
        (r#"{"secret":1}"#, "400"),
        (r#"{"secret":"short"}"#, "400"),
        (r#"{"secret":"0123456789AU"}"#, "400"),
        (r#"{"secret":"0123456789AB","more":1}"#, "400"),
        ("\u{0}\u{ff}", "400"),
        (huge.as_str(), "413"),
    ] {
        let got = https(&site, &post("/v1/pair", body)).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{body:?}: {got}");
    }
    pair(&site.endpoint(), &site.code()).await.unwrap();
}

#[tokio::test]
async fn a_chunked_body_without_end_is_cut_off() {
    let site = Site::start().await;
    let mut request = "POST /v1/pair HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..64 {
        request.push_str("400\r\n");
        request.push_str(&"x".repeat(0x400));
        request.push_str("\r\n");
    }
    let got = https(&site, &request).await;
    assert!(got.starts_with("HTTP/1.1 413"), "{got}");
}

#[tokio::test]
async fn a_header_without_end_is_cut_off() {
    let site = Site::start().await;
    let request = format!("GET /healthz HTTP/1.1\r\nx: {}", "y".repeat(1 << 20));
    let got = converse(tls(&site).await.unwrap(), request.as_bytes()).await;
    assert!(got.is_empty() || got.starts_with("HTTP/1.1 431"), "{got}");
    pair(&site.endpoint(), &site.code()).await.unwrap();
}

#[tokio::test]
async fn clients_that_stop_talking_are_hung_up_on() {
    let site = Site::start().await;
    let (handshake, header, body) = tokio::join!(
        async { converse(TcpStream::connect(site.public).await.unwrap(), b"").await },
        async { converse(tls(&site).await.unwrap(), b"GET /healthz HT").await },
        async {
            let request = b"POST /v1/pair HTTP/1.1\r\nhost: x\r\ncontent-length: 30\r\n\r\n{\"sec";
            converse(tls(&site).await.unwrap(), request).await
        },
    );
    assert_eq!(handshake, "");
    assert!(header.is_empty() || header.starts_with("HTTP/1.1 408"), "{header}");
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
}

#[tokio::test]
async fn a_flood_of_connections_is_capped_and_pairing_works_after_it() {
    let site = Site::start().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(site.public).await.unwrap());
    }
    let start = Instant::now();
    let refused = eventually("connections over the cap are closed", async || {
        let mut closed = 0;
        for stream in &mut idle {
            let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0; 1])).await;
            closed += usize::from(read.is_ok());
        }
        (closed >= 100).then_some(closed)
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(9),
        "closed at once, not by the handshake's limit: {refused}"
    );
    drop(idle);
    eventually("pairing works", async || pair(&site.endpoint(), &site.code()).await.ok()).await;
}

/// A connection from an address of this host that the test chooses.
async fn connect_from(local: [u8; 4], site: &Site) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((std::net::Ipv4Addr::from(local), 0).into()).unwrap();
    socket.connect(site.public).await.unwrap()
}

#[tokio::test]
async fn one_host_with_sixty_addresses_does_not_keep_the_rightful_admin_out() {
    let site = Site::start().await;
    let mut held = Vec::new();
    for round in 0..5 {
        for host in 0..60 {
            // In the administrator's own network, and in others.
            let network = if round % 2 == 0 { 0 } else { round };
            held.push(connect_from([127, 0, network, 2 + host], &site).await);
        }
    }
    // Wrong codes as well, one after the other: they come from the administrator's own address, which has no more
    // connections than the host's.
    let (endpoint, codes) = (site.endpoint(), (0..60).map(|_| site.wrong_code()).collect::<Vec<_>>());
    let wrong = tokio::spawn(async move {
        for code in codes {
            pair(&endpoint, &code).await.unwrap_err();
        }
    });
    for _ in 0..10 {
        pairs_soon(&site).await;
    }
    wrong.await.unwrap();
    pairs_soon(&site).await;
    let metrics = plain_http(site.health, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(metrics.contains("appliance_paired_total 11"), "{metrics}");
}

/// The administrator asks again where a connection made room for another: wrong codes come from the same address.
async fn pairs_soon(site: &Site) {
    const TRIES: usize = 5;
    let mut last = None;
    for _ in 0..TRIES {
        match pair(&site.endpoint(), &site.code()).await {
            Ok(_) => return,
            Err(error) => last = Some(error),
        }
    }
    panic!("kept out {TRIES} times: {last:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_end_the_server(inside in any::<Vec<u8>>(), outside in any::<Vec<u8>>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::start().await;
            for bytes in [&inside, &outside] {
                let mut stream = TcpStream::connect(site.public).await.unwrap();
                stream.write_all(bytes).await.unwrap();
            }
            let mut stream = tls(&site).await.unwrap();
            let _ = stream.write_all(&inside).await;
            drop(stream);
            pair(&site.endpoint(), &site.code()).await.unwrap();
        });
    }
}
