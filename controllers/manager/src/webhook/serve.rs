//! Serves the webhooks over TLS until it is told to stop.
//!
//! Never lets one slow or hostile connection hold up another: each has its own task and its own limits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bloomery_platform::chain;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::admission::{self, Subject};
use super::review;
use super::tls::ReloadedCertificate;
use crate::metrics::Metrics;
use crate::provider;

/// Largest review: a page of 500 objects of 100 KiB, more than the API server ever asks at once for these.
const LARGEST_REVIEW: usize = 64 << 20;
/// Largest admission review: the object before and after, each at most what etcd takes.
const LARGEST_ADMISSION: usize = 8 << 20;
/// The API server is on the same machine: a handshake that takes longer will not end.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Time to send the head of a request.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// Connections at once: the API server uses a handful.
const CONNECTIONS: usize = 64;
/// Pause after a failed accept, which a shortage of file descriptors repeats at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for requests under way when told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
}

pub struct Webhook {
    pub listener: TcpListener,
    pub certificate: Arc<ReloadedCertificate>,
    pub metrics: Arc<Metrics>,
}

/// Serves until the token is cancelled.
pub async fn serve(webhook: Webhook, stop: CancellationToken) -> Result<(), Error> {
    let Webhook { listener, certificate, metrics } = webhook;
    let acceptor = acceptor(certificate.clone())?;
    let follow = tokio::spawn(async move { certificate.follow().await });
    let routes = routes(metrics);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(error = %error, "webhook connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            warn!("webhook connection refused: too many");
            continue;
        };
        let (acceptor, routes, watcher) = (acceptor.clone(), routes.clone(), graceful.watcher());
        tokio::spawn(async move {
            if let Some(stream) = handshake(&acceptor, stream).await {
                let mut server = Builder::new(TokioExecutor::new());
                server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
                server.http2().timer(TokioTimer::new());
                let connection = server
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
                    .into_owned();
                if let Err(error) = watcher.watch(connection).await {
                    debug!(error = %error, "webhook connection ended");
                }
            }
            drop(permit);
        });
    }
    follow.abort();
    if let Some(graceful) = Arc::into_inner(graceful)
        && tokio::time::timeout(DRAIN_LIMIT, graceful.shutdown()).await.is_err()
    {
        warn!("webhook connections left behind");
    }
    Ok(())
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            debug!(error = chain(&error), "webhook handshake failed");
            None
        }
        Err(_) => {
            debug!("webhook handshake took too long");
            None
        }
    }
}

fn acceptor(certificate: Arc<ReloadedCertificate>) -> Result<TlsAcceptor, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn routes(metrics: Arc<Metrics>) -> Router {
    let mut admission = Router::new();
    for (path, subject) in admission::PATHS {
        let judge = move |State(metrics): State<Arc<Metrics>>, body: Bytes| {
            std::future::ready(admit(subject, &metrics, &body))
        };
        admission = admission.route(path, post(judge));
    }
    Router::new()
        .route("/convert", post(convert))
        .layer(DefaultBodyLimit::max(LARGEST_REVIEW))
        .merge(admission.layer(DefaultBodyLimit::max(LARGEST_ADMISSION)))
        .route("/healthz", get(async || "ok\n"))
        .with_state(metrics)
}

fn admit(subject: Subject, metrics: &Metrics, body: &Bytes) -> Response {
    let answer = admission::answer(subject, body);
    metrics.reviewed(answer.result);
    let identified = is_identified(&answer.review);
    let message = answer.review.pointer("/response/status/message").and_then(Value::as_str);
    if let Some(message) = message {
        info!(?subject, message, identified, "admission refused");
    }
    respond(answer.review)
}

async fn convert(State(metrics): State<Arc<Metrics>>, body: Bytes) -> Response {
    let answer = review::answer(&body);
    metrics.converted(answer.failure.is_none());
    let identified = is_identified(&answer.review);
    if let Some(failure) = &answer.failure {
        warn!(failure, identified, "conversion failed");
    }
    respond(answer.review)
}

fn is_identified(review: &Value) -> bool {
    review.pointer("/response/uid").is_some_and(|uid| uid != "")
}

/// A review without a readable `uid` cannot be answered as one, so it gets an HTTP error as well.
fn respond(review: Value) -> Response {
    let code = if is_identified(&review) { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    (code, axum::Json(review)).into_response()
}
