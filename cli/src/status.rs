//! `bloomery status`: how the plane is and which machines it knows.

pub(crate) mod model;
mod text;
mod waiting;

use std::time::SystemTime;

use bloomery_api::Server;
use bloomery_pairing::client::ClientError;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::Serialize;
use serde_json::Value;

use crate::connection::{Connection, ConnectionArgs, ConnectionError};
use crate::output::{self, Format, OutputError};
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
    connection: ConnectionArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
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
    /// The boot services' traces; null when they did not give them.
    traces: Option<Value>,
}

pub(crate) async fn run(args: Args) -> Result<(), StatusError> {
    let connection = args.connection.resolve().map_err(|source| StatusError::Connection { source })?;
    let doing = format!("asking {}", connection.endpoint());
    let report = progress::during(&doing, Box::pin(gather(connection))).await?;
    match args.output {
        Format::Json => output::json(&report),
        Format::Text => output::text(&text::render(&report, SystemTime::now())),
    }
    .map_err(|source| StatusError::Output { source })
}

/// The appliance must answer; that Kubernetes does not is part of the answer.
async fn gather(connection: Connection) -> Result<Report, StatusError> {
    let client = connection.appliance().map_err(|source| StatusError::Connection { source })?;
    let (appliance, traces, servers) =
        tokio::join!(client.status(), client.traces::<Value>(), servers(connection));
    let appliance = appliance.map_err(|source| StatusError::Appliance { source: Box::new(source) })?;
    let (servers, servers_error) = match servers {
        Ok(servers) => (Some(servers), None),
        Err(error) => (None, Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    Ok(Report { appliance, servers, servers_error, traces: traces.ok() })
}

async fn servers(connection: Connection) -> Result<Vec<DynamicObject>, ServersError> {
    let client = connection.kubernetes().await.map_err(|source| ServersError::Connection { source })?;
    let api: Api<DynamicObject> = Api::all_with(client, &ApiResource::erase::<Server>(&()));
    let mut parameters = ListParams::default().limit(PAGE);
    let mut servers = Vec::new();
    loop {
        let page =
            api.list(&parameters).await.map_err(|source| ServersError::List { source: Box::new(source) })?;
        servers.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
            _ => return Ok(servers),
        }
    }
}

/// Why the machines are not known.
#[derive(Debug, thiserror::Error)]
enum ServersError {
    #[error("failed to reach the Kubernetes API")]
    Connection { source: ConnectionError },
    #[error("failed to list the servers")]
    List { source: Box<kube::Error> },
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The kubeconfig does not lead to an appliance.
    #[error("failed to find the appliance")]
    Connection { source: ConnectionError },
    #[error("failed to get the status")]
    Appliance { source: Box<ClientError> },
    #[error("failed to print the status")]
    Output { source: OutputError },
}
