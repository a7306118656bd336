//! What stands before the emulator: faults and HTTPS for its clients, and the machine's switch behind it.

use super::sushy::Sushy;
use crate::{
    eventually,
    net::Process,
    switch::{Command, Switch, faults::Fault},
};
use anyhow::{Context, Result, bail};
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    response::{IntoResponse, Response},
    routing::put,
    serve::Listener,
};
use http_body_util::Full;
use parking_lot::Mutex;
use rustls_pki_types::PrivateKeyDer;
use serde::Deserialize;
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Python starts within a second or two, on a busy computer later.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often the emulator is read: its delayed changes happen only then.
const FOLLOW: Duration = Duration::from_secs(1);
/// Bodies are some hundred bytes long.
const BODY_LIMIT: usize = 64 * 1024;
/// Nobody needs longer for a handshake; others wait meanwhile.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// The emulator's view of the machine, as it told us last.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Notified {
    power_state: String,
    #[serde(default)]
    boot_device: String,
}

#[derive(Debug)]
pub(super) struct Front {
    switch: Arc<Switch>,
    sushy: Sushy,
    last: Mutex<Notified>,
}

impl Front {
    pub(super) fn new(switch: Arc<Switch>, sushy: Sushy) -> Self {
        let last = Notified { power_state: "Off".to_owned(), boot_device: String::new() };
        Self { switch, sushy, last: Mutex::new(last) }
    }

    /// Waits until the emulator answers and its ports are open.
    pub(super) async fn answers(&self, processes: [&Process; 2]) -> Result<()> {
        eventually!("the emulator answers", START_LIMIT, None, async {
            if let Some(status) = processes.iter().find_map(|process| process.exit()) {
                bail!("it ended: {status}");
            }
            self.sushy.read().await.map(Some)
        })?;
        Ok(())
    }

    /// Turns the switch where the emulator's view has changed.
    async fn notified(&self, now: Notified) -> Result<()> {
        let before = self.last.lock().clone();
        let netboot = now.boot_device == "Pxe";
        if netboot != (before.boot_device == "Pxe") {
            let command = if netboot { Command::BootNetwork } else { Command::BootDisk };
            self.switch.obey(command).await?;
        }
        if now.power_state != before.power_state {
            let command = if now.power_state == "On" { Command::On } else { Command::Off };
            self.switch.obey(command).await?;
        }
        *self.last.lock() = now;
        Ok(())
    }

    /// Keeps the emulator's view true: delayed changes, an override that was used, a machine that went off by itself.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FOLLOW).await;
            // An emulator that does not answer is asked again a second later.
            if self.sushy.read().await.is_ok() {
                let _ = self.reconcile().await;
            }
        }
    }

    async fn reconcile(&self) -> Result<()> {
        let last = self.last.lock().clone();
        let on = self.switch.is_on().await;
        if last.power_state == "On" && !on {
            return self.sushy.reset("ForceOff").await;
        }
        if last.power_state == "Off" && on {
            return self.sushy.reset("On").await;
        }
        if last.boot_device == "Pxe" && !self.switch.netboots_next().await {
            return self.sushy.boot_from_disk().await;
        }
        Ok(())
    }

    async fn pass(&self, head: Parts, body: Bytes) -> Response {
        let answer = self.sushy.pass(Request::from_parts(head, Full::new(body))).await;
        match answer {
            Ok(answer) => answer.map(Body::from),
            Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}\n")).into_response(),
        }
    }
}

/// What clients see: the emulator, and what goes wrong on the way to it.
pub(super) fn routes(front: &Arc<Front>) -> Router {
    Router::new().fallback(client).with_state(Arc::clone(front))
}

async fn client(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let is_command = head.method == Method::POST || head.method == Method::PATCH;
    match is_command.then(|| front.switch.draw()).flatten() {
        Some(Fault::Refuse) => {
            let error = serde_json::json!({ "error": {
                "code": "Base.1.0.GeneralError", "message": "refused, as it was told to",
            }});
            (StatusCode::INTERNAL_SERVER_ERROR, Json(error)).into_response()
        }
        Some(Fault::Ignore) => StatusCode::NO_CONTENT.into_response(),
        Some(Fault::Late(delay)) => {
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                front.pass(head, body).await
            });
            StatusCode::NO_CONTENT.into_response()
        }
        None => front.pass(head, body).await,
    }
}

/// What the emulator tells us.
pub(super) fn notifications(front: &Arc<Front>) -> Router {
    let told = |State(front): State<Arc<Front>>, Json(now): Json<Notified>| async move {
        match front.notified(now).await {
            Ok(()) => (StatusCode::OK, String::new()),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")),
        }
    };
    Router::new().route("/", put(told)).with_state(Arc::clone(front))
}

/// TLS with a certificate that the BMC made itself, as BMCs do.
pub(super) struct Https {
    listener: UnixListener,
    acceptor: TlsAcceptor,
}

impl Https {
    pub(super) fn new(listener: UnixListener, address: Ipv4Addr) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([address.to_string()])
            .context("failed to make the BMC's certificate")?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|reason| anyhow::anyhow!("failed to use the BMC's key: {reason}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("failed to set TLS up")?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .context("failed to use the BMC's certificate")?;
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

impl Listener for Https {
    type Io = TlsStream<UnixStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let handshake = self.acceptor.accept(stream);
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
