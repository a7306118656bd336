//! `bloomery machineconfig`: the machine configurations that the controllers made, as machines get them.
//!
//! It shows what is kept and makes nothing by itself. Secrets are masked unless they are asked for.

mod mask;
mod text;

use anyhow::{Context as _, anyhow};
use bloomery_api::ServerBinding;
use bloomery_api::metadata::rendered::{NAMESPACE, Rendered, secret_name};
use clap::Subcommand;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde::Serialize;

use crate::connection::Common;

const EXAMPLES: &str = "\
Examples:
  bloomery machineconfig render --help";

const RENDER_EXAMPLES: &str = "\
Examples:
  # What the machine gets, and where each patch comes from
  bloomery machineconfig render 4c4c4544-0042-3510-8054-b4c04f565831

  # The very text, for talosctl
  bloomery machineconfig render 4c4c4544-0042-3510-8054-b4c04f565831 \\
    --show-secrets > machine.yaml
  talosctl validate --mode metal --config machine.yaml";

/// Show machine configurations
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Render(RenderArgs),
}

/// Show the configuration of the machine that a cluster has, and where its patches come from
#[derive(Debug, clap::Args)]
#[command(after_help = RENDER_EXAMPLES)]
struct RenderArgs {
    /// The Server
    #[arg(value_name = "SERVER")]
    server: String,
    /// Show keys, tokens and passwords, and the text as it is
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    common: Common,
}

/// What `-o json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    server: String,
    /// The MetalMachine that has the Server, as NAMESPACE/NAME.
    metal_machine: String,
    /// Whether the machine can use it.
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// What was put over the bootstrap data, in this order.
    patches: Vec<String>,
    /// The configuration; none where it cannot be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    /// Whether secrets in it are masked.
    masked: bool,
}

pub(crate) async fn run(Args { command }: Args) -> anyhow::Result<()> {
    let Command::Render(RenderArgs { server, show_secrets, common: Common { connection, output } }) = command;
    let client = connection.kubernetes().await?;
    let (binding, rendered) = read(&client, &server).await?;
    let report = report(&server, &binding, rendered, show_secrets)?;
    output.print(&report, || text::render(&report)).context("failed to print the machine configuration")
}

async fn read(client: &Client, server: &str) -> anyhow::Result<(ServerBinding, Rendered)> {
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    let binding = bindings.get_opt(server).await.context("failed to get the ServerBinding")?;
    let binding = binding.ok_or_else(|| {
        anyhow!("no cluster has Server {server}: a machine gets a configuration once a MetalMachine has its Server")
    })?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let secret = secrets.get_opt(&secret_name(server)).await.context("failed to get the configuration")?;
    let secret = secret.ok_or_else(|| {
        anyhow!(
            "the configuration of Server {server} is not made yet; what it waits for: kubectl describe serverbinding \
             {server}"
        )
    })?;
    let rendered = Rendered::of(&secret, &binding).context("failed to read the configuration")?;
    Ok((binding, rendered))
}

fn report(
    server: &str,
    binding: &ServerBinding,
    rendered: Rendered,
    show_secrets: bool,
) -> anyhow::Result<Report> {
    let machine = &binding.spec.metal_machine_ref;
    let place = |name: &Option<String>| name.clone().unwrap_or_default();
    let trouble = rendered.trouble();
    let config = rendered.outcome.ok().map(|(config, _)| config);
    let shown = |config: String| if show_secrets { Ok(config) } else { mask::masked(&config) };
    let config = config
        .map(shown)
        .transpose()
        .context("failed to mask the secrets; --show-secrets shows it as it is")?;
    Ok(Report {
        server: server.to_owned(),
        metal_machine: format!("{}/{}", place(&machine.namespace), place(&machine.name)),
        ready: trouble.is_none(),
        reason: trouble.as_ref().map(|trouble| trouble.reason.to_string()),
        message: trouble.map(|trouble| trouble.message),
        patches: rendered.patches.iter().map(ToString::to_string).collect(),
        config,
        masked: !show_secrets,
    })
}

#[cfg(test)]
mod tests {
    use bloomery_api::metadata::failure::{Failure, Stage};
    use bloomery_api::metadata::patches::{Origin, Provenance};
    use bloomery_api::metadata::verdict::Verdict;
    use serde_json::json;

    use super::*;

    fn binding() -> ServerBinding {
        serde_json::from_value(json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding",
            "metadata": { "name": "s" }, "spec": { "metalMachineRef": { "name": "m", "namespace": "default" } } }))
        .unwrap()
    }

    #[test]
    fn a_configuration_is_shown_with_the_places_that_its_patches_come_from() {
        let patches = vec![
            Provenance { origin: Origin::ServerClass("any".to_owned()), field: "configPatches".to_owned() },
            Provenance { origin: Origin::Server("s".to_owned()), field: "strategicPatches[0]".to_owned() },
            Provenance { origin: Origin::NodeLabel, field: String::new() },
        ];
        let config = "machine:\n  token: hidden\n  type: worker\n".to_owned();
        let rendered = Rendered { outcome: Ok((config.clone(), Verdict::GOOD)), patches };
        let masked = report("s", &binding(), rendered.clone(), false).unwrap();
        let text = text::render(&masked);
        assert_eq!(
            text,
            "# Server:        s\n# MetalMachine:  default/m\n# Usable:        yes\n# Patches, in this order, over the \
             bootstrap data:\n#   configPatches of ServerClass any\n#   strategicPatches[0] of Server s\n#   the label of \
             the node\n# Secrets are masked; --show-secrets shows them.\nmachine:\n  token: '******'\n  type: worker\n"
        );
        let open = report("s", &binding(), rendered, true).unwrap();
        assert_eq!(open.config, Some(config));
        assert!(!text::render(&open).contains("masked"));
    }

    #[test]
    fn what_cannot_be_made_is_told_in_its_place() {
        let failure = Failure::missing(Stage::DataSecret, "bootstrap secret default/b not found");
        let told = failure.told.clone();
        let report = report("s", &binding(), Rendered::failed(failure, Vec::new()), false).unwrap();
        assert_eq!((report.ready, report.config.as_deref()), (false, None));
        assert_eq!(report.message.as_deref(), Some(told.as_str()));
        assert!(text::render(&report).contains(&told));
    }
}
