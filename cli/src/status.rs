//! `bloomery status`: how the plane is, its clusters and their machines, and which servers it knows.

mod clusters;
mod kubernetes;
pub(crate) mod model;
mod text;
mod waiting;

use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use bloomery_pairing::client::AdminClient;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use crate::connection::{Common, Connection};
use crate::progress;
use clusters::ClusterRow;

const EXAMPLES: &str = "\
Examples:
  bloomery status --kubeconfig kubeconfig

  # Services that do not run
  bloomery status -o json |
    jq '.appliance.services[] | select(.state != \"running\")'

  # What machines of clusters wait for
  bloomery status -o json |
    jq '.clusters[].machines[] | select(.waitsFor)'";

/// Show how the appliance is, its clusters and machines, and what each waits for
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
    /// The clusters and their machines; null when the Kubernetes API did not give them.
    clusters: Option<Vec<ClusterRow>>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    clusters_error: Option<String>,
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
    let (appliance, controllers, traces, (servers, clusters)) =
        tokio::join!(client.status(), client.controllers(), client.traces(), objects(connection));
    let appliance = appliance.context("failed to get the status")?;
    let (servers, servers_error) = or_why(servers);
    let (clusters, clusters_error) = or_why(clusters);
    let (controllers, traces) = (controllers.ok(), traces.ok());
    Ok(Report { appliance, servers, servers_error, clusters, clusters_error, controllers, traces })
}

/// What the Kubernetes API has.
async fn objects(
    connection: Connection,
) -> (anyhow::Result<Vec<DynamicObject>>, anyhow::Result<Vec<ClusterRow>>) {
    let client = match connection.kubernetes().await {
        Ok(client) => client,
        Err(error) => {
            let why = format!("{error:#}");
            return (Err(anyhow!(why.clone())), Err(anyhow!(why)));
        }
    };
    let (servers, objects) = tokio::join!(kubernetes::servers(&client), kubernetes::objects(&client));
    (servers, objects.map(|objects| clusters::clusters(&objects)))
}

fn or_why<T>(found: anyhow::Result<T>) -> (Option<T>, Option<String>) {
    match found {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    }
}
