//! The HTTP socket: accepts connections, sends each request to its route, gRPC to the agent service.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bloomery_agent_api::TOKEN_METADATA;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::configdata;
use super::context::Context;
use super::download::{self, Outcome, stream};
use super::files::{self, text};
use super::ipxe;
use super::pulse::{Pulse, held};
use super::query::Query;
use super::route::{self, Route};
use crate::advertise::Endpoint;
use crate::connection::Connection;
use crate::directories::BOOT_FILES;
use crate::{boot_script, thrift, tunnels};

/// A client that does not finish its request head in this time is gone.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// An HTTP/2 peer that does not answer a ping in this time is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(30);
/// Octets of a request's head kept in memory, for each of the connections.
const MAX_HEAD: usize = 32 << 10;
/// Calls at once on one HTTP/2 connection: an agent makes one or two. Until it has shown a boot token they are answered
/// one after the other.
const MAX_STREAMS: u32 = 8;
/// Octets of all calls of an HTTP/2 connection that wait to be read, and of one answer that waits to be sent.
const WINDOW: u32 = 64 << 10;
/// A request that is not answered after this time never will be: a call waits 20 s for its turn and iPXE as long for a
/// script.
const REQUEST_WITHIN: Duration = Duration::from_mins(1);
/// Waiting connections; a rack that is switched on at once connects at once.
const BACKLOG: i32 = 1024;
/// After an error of accept, mostly "too many open files": time for others to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Downloads that run at shutdown may finish within this.
pub const DRAIN: Duration = Duration::from_secs(5);
/// Calls that are refused without a valid boot token.
const PROVING: [&str; 3] = ["Heartbeat", "MarkServerAsWiped", "UpdateBMCInfo"];
/// Prefix of gRPC's media types.
const GRPC: &[u8] = b"application/grpc";

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("failed to bind HTTP port {port}")]
    Bind { port: u16, source: std::io::Error },
}

/// Binds `port` on all addresses, IPv6 included where the kernel has it.
pub fn bind(port: u16) -> Result<TcpListener, HttpError> {
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    listen(v6).or_else(|_| listen(v4)).map_err(|source| HttpError::Bind { port, source })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `listener` until `shutdown`, then lets running downloads finish for a moment.
pub async fn run(
    listener: TcpListener,
    context: Context,
    shutdown: CancellationToken,
) -> Result<(), HttpError> {
    let admission = Admission::for_this_process();
    let connections = TaskTracker::new();
    let drained = CancellationToken::new();
    let ended = Arc::new(Notify::new());
    tokio::spawn(thrift::after_bursts(ended.clone(), shutdown.clone()));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Closed at once, which iPXE takes as a reason to retry.
        let slot = match admission.admit(peer.ip()) {
            Ok(slot) => slot,
            Err(refused) => {
                context.services.edge.metrics.http_refused_connections.inc();
                tracing::debug!(%peer, ?refused, "connection refused");
                continue;
            }
        };
        let (context, shutdown, drained) = (context.clone(), shutdown.clone(), drained.clone());
        let ended = ended.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection(stream, peer, context, slot.pulse.clone(), shutdown) => {}
                () = slot.pulse.expired() => tracing::debug!(%peer, "connection ended: too slow or idle"),
                () = slot.evicted.cancelled() => tracing::debug!(%peer, "connection ended: its place was needed"),
                () = drained.cancelled() => {}
            }
            drop(slot);
            ended.notify_one();
        });
    }
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        drained.cancel();
    }
    Ok(())
}

async fn connection(
    mut stream: TcpStream,
    peer: SocketAddr,
    context: Context,
    pulse: Arc<Pulse>,
    shutdown: CancellationToken,
) {
    let Ok(connection) = Connection::of(&stream, peer) else { return };
    // Scripts are small: waiting to fill a packet would delay each by a round trip.
    let _ = stream.set_nodelay(true);
    // A management interface: nobody boots there.
    if !context.services.edge.sources.answers_at(connection.local.ip()) {
        return tracing::debug!(%peer, at = %connection.local, "connection closed: not at a provisioning interface");
    }
    context.services.edge.paths.prove(connection.peer.ip());
    let read = match download::serve(&mut stream, connection, &context, &pulse, &shutdown).await {
        Ok(Outcome::Handover(read)) => read,
        Ok(Outcome::Closed) => return,
        Err(error) => return tracing::debug!(%peer, %error, "connection ended"),
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let (context, pulse) = (context.clone(), pulse.clone());
        async move {
            let running = pulse.begin(REQUEST_WITHIN);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(pulse);
            let response = handle(context, connection, request).await;
            running.allow(download::time_for(length(&response)));
            Ok::<_, Infallible>(response.map(|body| held(body, running)))
        }
    });
    let builder = protocols();
    let serving = builder.serve_connection(TokioIo::new(stream::rewound(read, stream)), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Firmware drops connections as it likes.
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Both versions of HTTP, with what a connection may hold of each.
fn protocols() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .max_send_buf_size(WINDOW as usize)
        .keep_alive_interval(PING_TIMEOUT)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Octets that a response says it has; what does not say is short.
fn length(response: &Response<Body>) -> u64 {
    let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or_default()
}

/// A call of an agent. Until its connection has shown a valid boot token, calls are short and come one by one.
async fn call(context: Context, connection: Connection, request: Request<Body>) -> Response<Body> {
    let pulse = request.extensions().get::<Arc<Pulse>>().cloned().unwrap_or_default();
    let may_prove = may_prove(&request);
    let is_known = pulse.has_shown_token();
    let turn = if is_known { None } else { Some(pulse.turn().await) };
    let (mut head, body) = request.into_parts();
    let (charge, body) = context.intake.charge(connection.peer.ip(), body);
    head.extensions.insert(connection);
    let request = Request::from_parts(head, body);
    let response = if tunnels::is_call(request.uri().path()) {
        context.tunnels.call(request).await
    } else {
        context.agent.call(request, is_known).await
    };
    drop((charge, turn));
    // A refused call has its status in the head, as it has no message.
    if may_prove && !response.headers().contains_key("grpc-status") {
        pulse.show_token();
    }
    response
}

/// Whether an answer to this call says that its token is valid: registrations and addresses are answered whatever token
/// is shown.
fn may_prove(request: &Request<Body>) -> bool {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    PROVING.contains(&method) && request.headers().contains_key(TOKEN_METADATA)
}

/// RFC 9112 section 3.2: a request of HTTP/1.1 names its host, once.
fn names_its_host(request: &Request<Body>) -> bool {
    request.version() != Version::HTTP_11 || request.headers().get_all(HOST).iter().count() == 1
}

pub async fn handle(context: Context, connection: Connection, request: Request<Body>) -> Response<Body> {
    if is_grpc(&request) {
        return call(context, connection, request).await;
    }
    if !names_its_host(&request) {
        return files::empty(StatusCode::BAD_REQUEST);
    }
    let path = request.uri().path().to_owned();
    match route::route(&path) {
        Route::BootScript => {
            context.services.edge.metrics.http_scripts.inc();
            let endpoint = endpoint(&context, connection, &request);
            context.services.edge.trace.script(connection.peer.ip());
            tracing::info!(client = %connection.peer, %endpoint, "boot script served");
            text(StatusCode::OK, boot_script::render(&endpoint), request.method())
        }
        Route::Decision => {
            let query = Query::parse(request.uri().query().unwrap_or_default());
            let endpoint = endpoint(&context, connection, &request);
            let method = request.method().clone();
            let told = ipxe::answer(&context, connection, query, endpoint.clone(), method).await;
            or_wait(&context, connection, told, &endpoint, &request)
        }
        Route::Configuration => {
            let query = request.uri().query().unwrap_or_default();
            configdata::answer(&context, connection, query, request.method()).await
        }
        Route::Loader(loader) => {
            log_download(&context, connection, loader.file_name(), &request);
            let path = context.services.edge.loaders.directory().join(loader.file_name());
            files::file(&path, request).await
        }
        Route::LoaderList => files::loader_listing(&context.services.edge.loaders, &request),
        Route::Agent(arch, file) => agent_file(&context, connection, arch, file, request).await,
        Route::Environment(below) => {
            let root = &context.services.directories.environments;
            if download::decode(below).is_none_or(|below| download::open_below(root, &below).is_err()) {
                return files::empty(StatusCode::NOT_FOUND);
            }
            log_download(&context, connection, &path, &request);
            files::below(root, below, request).await
        }
        Route::NotFound => files::empty(StatusCode::NOT_FOUND),
    }
}

/// What a machine is told; while the plane starts, one that cannot be told anything yet waits for it.
fn or_wait(
    context: &Context,
    connection: Connection,
    told: Response<Body>,
    endpoint: &Endpoint,
    request: &Request<Body>,
) -> Response<Body> {
    let startup = &context.startup;
    if !told.status().is_server_error() {
        startup.decided();
        return told;
    }
    match startup.wait_script(request.uri(), endpoint) {
        Some(script) => {
            tracing::info!(client = %connection.peer, "machine told to wait: the plane is starting");
            text(StatusCode::OK, script, request.method())
        }
        None => told,
    }
}

fn is_grpc(request: &Request<Body>) -> bool {
    request.version() == Version::HTTP_2
        && request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC))
}

fn endpoint(context: &Context, connection: Connection, request: &Request<Body>) -> Endpoint {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()));
    context.services.edge.advertise.endpoint_for(host, connection.local)
}

async fn agent_file(
    context: &Context,
    connection: Connection,
    arch: bloomery_api::arch::Arch,
    file: &str,
    request: Request<Body>,
) -> Response<Body> {
    let name = file.trim_start_matches('/');
    if name.is_empty() {
        return files::agent_listing(&context.services.directories, arch, &request);
    }
    if !BOOT_FILES.contains(&name) {
        return files::empty(StatusCode::NOT_FOUND);
    }
    let path = context.services.directories.agent_file(arch, name);
    log_download(context, connection, request.uri().path(), &request);
    files::file(&path, request).await
}

/// One line for each download; HEAD and later parts of the same file are not worth one.
fn log_download(context: &Context, connection: Connection, file: &str, request: &Request<Body>) {
    let first_part = request
        .headers()
        .get(http::header::RANGE)
        .is_none_or(|range| range.as_bytes().starts_with(b"bytes=0-"));
    if request.method() == Method::GET && first_part {
        context.services.edge.metrics.http_files.inc();
        tracing::info!(client = %connection.peer, file, "file requested");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_need_a_token_prove_one() {
        for (method, shows, expected) in [
            ("Heartbeat", true, true),
            ("MarkServerAsWiped", true, true),
            ("UpdateBMCInfo", true, true),
            ("Heartbeat", false, false),
            ("CreateServer", true, false),
            ("ReconcileServerAddresses", true, false),
            ("", true, false),
        ] {
            let mut request = Request::builder().uri(format!("/api.Agent/{method}"));
            if shows {
                request = request.header(TOKEN_METADATA, "x");
            }
            assert_eq!(may_prove(&request.body(Body::empty()).unwrap()), expected, "{method} {shows}");
        }
    }
}
