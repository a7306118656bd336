//! `bloomery status`: how the plane is and which machines it knows.

pub(crate) mod model;
mod text;
mod waiting;

use std::time::SystemTime;

use anyhow::Context as _;
use bloomery_api::Server;
use bloomery_pairing::client::AdminClient;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::Serialize;
use serde_json::Value;

use crate::connection::{Common, Connection};
use crate::progress;

const EXAMPLES: &str = "\
Examples:
  bloomery status --kubeconfig kubeconfig

  # Services that do not run
  bloomery status -o json |
    jq '.appliance.services[] | select(.state != \"running\")'";

/// Objects asked for at once; a list of thousands comes in pieces.
const PAGE: u32 = 500;

/// Show how the appliance is and which machines it knows
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// What `-o json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// PID 1's status as it stands.
    appliance: Value,
    /// The Server objects; null when the Kubernetes API did not give them.
    servers: Option<Vec<DynamicObject>>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_error: Option<String>,
    /// The controllers' table; null when they did not give it.
    controllers: Option<Value>,
    /// The boot services' traces; null when they did not give them.
    traces: Option<Value>,
}

pub(crate) async fn run(Args { common: Common { connection, output } }: Args) -> anyhow::Result<()> {
    let (client, connection) = connection.appliance()?;
    let doing = format!("asking {}", connection.endpoint());
    let report = progress::during(&doing, Box::pin(gather(client, connection))).await?;
    output.print(&report, || text::render(&report, SystemTime::now())).context("failed to print the status")
}

/// The appliance must answer; that Kubernetes does not is part of the answer.
async fn gather(client: AdminClient, connection: Connection) -> anyhow::Result<Report> {
    let (appliance, controllers, traces, servers) =
        tokio::join!(client.status(), client.controllers(), client.traces(), servers(connection));
    let appliance = appliance.context("failed to get the status")?;
    let (servers, servers_error) = match servers {
        Ok(servers) => (Some(servers), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    Ok(Report { appliance, servers, servers_error, controllers: controllers.ok(), traces: traces.ok() })
}

async fn servers(connection: Connection) -> anyhow::Result<Vec<DynamicObject>> {
    let client = connection.kubernetes().await?;
    let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::erase::<Server>(&()));
    let mut parameters = ListParams::default().limit(PAGE);
    let mut servers = Vec::new();
    loop {
        let page = api.list(&parameters).await.context("failed to list the servers")?;
        servers.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
            _ => return Ok(servers),
        }
    }
}
