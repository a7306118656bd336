//! What the other services say, through 8443.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use bloomery_pairing::client::ClientError;
use bloomery_pairing::wire::ADMIN_GROUP;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::site::Site;

async fn service(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn the_admin_gets_the_traces_and_nobody_else_does() {
    let traces = service(Router::new().route("/traces", get(|| async { r#"{"machines":[]}"# }))).await;
    let site = Site::start_among(vec![format!("bootsvc={traces}").parse().unwrap()]).await;
    let answer: serde_json::Value = site.pair().await.1.traces().await.unwrap();
    assert_eq!(answer, serde_json::json!({"machines": []}));
    let stranger = site.client_of(&site.authority.client("x", "y"));
    let error = stranger.traces::<serde_json::Value>().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 403, .. }), "{error:?}");
    let other = site.client_of(&site.authority.client("x", ADMIN_GROUP));
    assert!(other.traces::<serde_json::Value>().await.is_err());
}

#[tokio::test]
async fn the_admin_gets_the_controllers_table() {
    let table =
        service(Router::new().route("/controllers", get(|| async { r#"[{"name":"servers"}]"# }))).await;
    let site = Site::start_among(vec![format!("controllers={table}").parse().unwrap()]).await;
    let answer: serde_json::Value = site.pair().await.1.controllers().await.unwrap();
    assert_eq!(answer, serde_json::json!([{"name": "servers"}]));
    let stranger = site.client_of(&site.authority.client("x", "y"));
    let error = stranger.controllers::<serde_json::Value>().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 403, .. }), "{error:?}");
}

#[tokio::test]
async fn boot_services_that_are_away_are_said_to_be() {
    let site = Site::start_among(vec![format!("bootsvc={}", dead().await).parse().unwrap()]).await;
    let error = site.pair().await.1.traces::<serde_json::Value>().await.unwrap_err();
    assert!(matches!(error, ClientError::NotReady { .. }), "{error:?}");
    let alone = Site::start().await;
    let error = alone.pair().await.1.traces::<serde_json::Value>().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error:?}");
}

#[tokio::test]
async fn metrics_of_all_services_come_together_without_the_one_that_is_down() {
    let metrics = Router::new().route("/metrics", get(|| async { "# TYPE a counter\na_total 7\n# EOF\n" }));
    let up = service(metrics).await;
    let services = [format!("bootsvc={up}"), format!("controllers={}", dead().await), format!("last={up}")];
    let services = services.iter().map(|text| text.parse().unwrap()).collect();
    let site = Site::start_among(services).await;
    let text = scrape(&site).await;
    for line in [
        "appliance_service_up{service=\"bootsvc\"} 1",
        "appliance_service_up{service=\"controllers\"} 0",
        "appliance_service_up{service=\"last\"} 1",
        "a_total 7",
        "appliance_connections_open 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(!text.contains("# EOF"));
}

/// As Prometheus asks: with the admin's certificate, over HTTP/1.1.
async fn scrape(site: &Site) -> String {
    let mut stream = tls(site).await;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // The server may close without a TLS goodbye.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn tls(site: &Site) -> tokio_rustls::client::TlsStream<TcpStream> {
    let paired = bloomery_pairing::client::pair(&site.endpoint(), &site.code()).await.unwrap();
    let own = Some((paired.response.client_certificate.as_str(), paired.client_key.as_str()));
    let config = bloomery_pairing::http::client_config(&site.authority.pem(), own).unwrap();
    let name = rustls_pki_types::ServerName::try_from(crate::site::SERVER_NAME).unwrap();
    let stream = TcpStream::connect(site.public).await.unwrap();
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.unwrap()
}
