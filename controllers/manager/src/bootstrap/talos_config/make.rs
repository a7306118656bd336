//! Makes a configuration: secrets of the cluster, authority, configuration, in this order, each created once.
//!
//! A reconcile that is cut off leaves nothing that the next one does not use.

use bloomery_api::bootstrap::generation::{Generated, Source, Task};
use bloomery_api::bootstrap::secrets::{BUNDLE_KEY, DATA_KEY, Keeper, bundle_name};
use bloomery_talosconfig::{Generate, Patch, Secret as Text, SecretsBundle, SecretsCas, endpoint};
use kube::ResourceExt;

use super::Scene;
use super::failure::Failure;
use super::secrets::Created;

/// The line that names Talos.
const TALOS_LINE: &str = "#!talos\n";
/// What the library makes, for errors.
const CONFIGURATION: &str = "a machine configuration";
const SECRETS: &str = "the secrets of a cluster";
const CLIENT_CONFIG: &str = "a client configuration";

/// What was made.
pub(super) struct Made {
    /// The client configuration of the node, where its authority is known.
    pub(super) talos_config: Option<Text>,
}

impl Scene<'_> {
    pub(super) async fn make(&self, task: &Task<'_>) -> Result<Made, Failure> {
        let keeper = Keeper::config(self.config, self.cluster);
        let is_there = self.secret(&keeper, &task.data_secret).await?.is_some();
        let patches = patches(task)?;
        let (config, made) = match &task.source {
            // Whatever made it: a machine may have it already, and must not get another.
            _ if is_there => return Ok(Made { talos_config: self.known_client_config().await? }),
            Source::Given(data) => self.given(data, &patches).await?,
            Source::Generated(generated) => self.generated(generated, patches).await?,
        };
        let line = if task.has_talos_line { TALOS_LINE } else { "" };
        let value = Text::from(line.to_owned() + config.expose());
        self.create(&keeper, task.data_secret.clone(), [(DATA_KEY, value.expose())]).await?;
        // One that somebody else made in the meantime counts.
        self.secret(&keeper, &task.data_secret).await?;
        Ok(made)
    }

    /// A configuration that the user wrote.
    async fn given(&self, data: &str, patches: &[Patch]) -> Result<(Text, Made), Failure> {
        let failed = |error| Failure::of_library(CONFIGURATION, error, patches);
        let talos = &self.shared.frame.talos;
        let data = Text::from(data);
        let said = talos.inspect_config(&data).await.map_err(failed)?;
        self.keep_ca(said.kubernetes_ca.as_ref()).await?;
        let config = talos.normalize(&data, patches).await.map_err(failed)?;
        if said.bundle.is_empty() {
            return Ok((config, Made { talos_config: None }));
        }
        let client = talos.talosconfig(&said.bundle.into(), &said.cluster, &[]).await;
        let client = client.map_err(|error| Failure::of_library(CLIENT_CONFIG, error, &[]))?;
        Ok((config, Made { talos_config: Some(client) }))
    }

    async fn generated(
        &self,
        generated: &Generated<'_>,
        patches: Vec<Patch>,
    ) -> Result<(Text, Made), Failure> {
        let Generated {
            machine_type,
            host,
            port,
            kubernetes_version,
            talos_version,
            dns_domain,
            pod_subnets,
            service_subnets,
            hostname,
        } = generated;
        let secrets = self.bundle_or_new(talos_version).await?;
        let authorities = self.inspect(&secrets).await?;
        self.keep_ca(authorities.kubernetes.as_ref()).await?;
        let request = Generate {
            kubernetes_version: (*kubernetes_version).to_owned(),
            talos_version: (*talos_version).to_owned(),
            dns_domain: (*dns_domain).to_owned(),
            pod_subnets: pod_subnets.map(<[String]>::to_vec),
            service_subnets: service_subnets.map(<[String]>::to_vec),
            hostname: hostname.as_deref().map(str::to_owned),
            patches,
            ..Generate::new(*machine_type, self.cluster.name_any(), endpoint(host, *port), secrets)
        };
        let talos = &self.shared.frame.talos;
        let config = talos.generate(&request).await;
        let config = config.map_err(|error| Failure::of_library(CONFIGURATION, error, &request.patches))?;
        let client = self.client_config_of_node(&request.secrets).await?;
        Ok((config, Made { talos_config: Some(client) }))
    }

    pub(super) async fn inspect(&self, secrets: &SecretsBundle) -> Result<SecretsCas, Failure> {
        let authorities = self.shared.frame.talos.inspect_secrets(secrets).await;
        authorities.map_err(|error| Failure::of_library(SECRETS, error, &[]))
    }

    /// Names no address: the node has none yet.
    async fn client_config_of_node(&self, secrets: &SecretsBundle) -> Result<Text, Failure> {
        let client = self.shared.frame.talos.talosconfig(secrets, &self.cluster.name_any(), &[]).await;
        client.map_err(|error| Failure::of_library(CLIENT_CONFIG, error, &[]))
    }

    async fn known_client_config(&self) -> Result<Option<Text>, Failure> {
        match self.bundle().await? {
            Some(secrets) => self.client_config_of_node(&secrets).await.map(Some),
            None => Ok(None),
        }
    }

    /// The secrets of the cluster; new ones where there are none and no machine can have others.
    async fn bundle_or_new(&self, talos_version: &str) -> Result<SecretsBundle, Failure> {
        let _turn = self.shared.turns.lock(&self.turn()).await;
        if let Some(known) = self.bundle().await? {
            return Ok(known);
        }
        let name = bundle_name(&self.cluster.name_any());
        if self.cluster.has_control_plane() {
            return Err(Failure::told(format!(
                "the Secret {name} is missing, and the cluster runs with the secrets that it held: restore it"
            )));
        }
        let made = self.shared.frame.talos.new_secrets(talos_version).await;
        let made = made.map_err(|error| Failure::of_library(SECRETS, error, &[]))?;
        match self.create(&self.of_cluster(), name.clone(), [(BUNDLE_KEY, made.expose())]).await? {
            Created::Now => Ok(made.into()),
            // Those of another program.
            Created::Before => {
                let known = self.bundle().await?;
                known.ok_or_else(|| Failure::told(format!("the Secret {name} was removed while it was read")))
            }
        }
    }
}

/// As the library takes them.
fn patches(task: &Task<'_>) -> Result<Vec<Patch>, Failure> {
    let mut all = Vec::new();
    if !task.config_patches.is_empty() {
        let list = serde_json::to_value(task.config_patches);
        let list =
            list.map_err(|error| Failure::told(format!("configPatches cannot be written: {error}")))?;
        all.push(Patch::Json6902(list));
    }
    all.extend(task.strategic_patches.iter().map(|text| Patch::strategic(text.as_str())));
    Ok(all)
}
