//! A client of the emulator, which listens on the loopback of the lab's network.

use super::authorization;
use crate::{net::connect, state::LabDir};
use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// The emulator answers within some hundredths of a second, unless the computer is very busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(super) struct Sushy {
    dir: Arc<LabDir>,
    address: SocketAddr,
    system: String,
}

impl Sushy {
    pub(super) fn new(dir: Arc<LabDir>, port: u16, uuid: &str) -> Self {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        Self { dir, address, system: format!("/redfish/v1/Systems/{uuid}") }
    }

    /// Passes a request on, as it is.
    pub(super) async fn pass(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        let talk = async {
            let stream = connect(&self.dir, self.address).await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .context("failed to reach the emulator")?;
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.context("failed to ask the emulator")?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.context("failed to read the emulator's answer")?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(ANSWER_LIMIT, talk)
            .await
            .context("failed to get the emulator's answer in time")?
    }

    /// Reads the machine's state, which is also when the emulator lets delayed changes happen.
    pub(super) async fn read(&self) -> Result<()> {
        self.call("GET", "", None).await
    }

    /// Tells it that the machine went on or off without it.
    pub(super) async fn reset(&self, kind: &str) -> Result<()> {
        self.call("POST", "/Actions/ComputerSystem.Reset", Some(json!({ "ResetType": kind }))).await
    }

    /// Ends the boot override.
    pub(super) async fn boot_from_disk(&self) -> Result<()> {
        let boot = json!({ "BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous" });
        self.call("PATCH", "", Some(json!({ "Boot": boot }))).await
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<()> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.system))
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, authorization())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .context("failed to make a request")?;
        let answer = self.pass(request).await?;
        if !answer.status().is_success() {
            bail!("the emulator answered {}", answer.status());
        }
        Ok(())
    }
}
