//! Keeps the kubeconfig of the workload cluster: makes it from the cluster's authority, and renews its client certificate.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_api::contract::CLUSTER_LABEL;
use bloomery_api::controlplane::objects::owner;
use bloomery_platform::patch::{self, Part};
use bloomery_talosconfig::{KeyPair, Secret as Text};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{ObjectMeta, PatchParams, PostParams};
use kube::config::Kubeconfig;
use serde_json::json;
use tracing::info;

use super::reconcile::Scene;
use crate::reconcile::Error;
use crate::workload::{KUBECONFIG, KUBECONFIG_KEY};

/// End of the name of the Secret with the cluster's authority.
const AUTHORITY: &str = "-ca";
/// Type of Secrets that Cluster API knows.
const TYPE: &str = "cluster.x-k8s.io/secret";
/// A certificate is renewed when it is good for less: half of what it is made for.
const RENEWED_BEFORE: Duration = Duration::from_hours(4380);

impl Scene<'_> {
    /// Makes it once there is an authority, and keeps it good.
    pub(super) async fn keep_kubeconfig(&self) -> Result<(), Error> {
        let cluster = self.cluster_name().unwrap_or_default();
        let name = format!("{cluster}{KUBECONFIG}");
        let secrets = self.api::<Secret>();
        let object = format!("Secret {}/{name}", self.namespace);
        let found = secrets.get_opt(&name).await.map_err(Error::api("get", object.clone()))?;
        let Some(found) = found else {
            let Some(endpoint) = self.cluster.endpoint() else { return Ok(()) };
            let port = u16::try_from(endpoint.port).unwrap_or_default();
            let server = bloomery_talosconfig::endpoint(&endpoint.host, port);
            let Some(text) = self.kubeconfig(cluster, &server).await? else { return Ok(()) };
            let secret = self.secret(cluster, &name, &text);
            return match secrets.create(&PostParams::default(), &secret).await {
                Ok(_) => Ok(()),
                // Another program made it.
                Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
                Err(error) => Err(Error::api("create", object)(error)),
            };
        };
        let mut change = json!({});
        let own = owner(&self.control_plane, true);
        let owners = found.owner_references();
        let is_own = owners.contains(&own);
        if !is_own
            && found.type_.as_deref() == Some(TYPE)
            && !owners.iter().any(|one| one.controller == Some(true))
        {
            let others = owners.iter().filter(|one| (&one.kind, &one.name) != (&own.kind, &own.name));
            change["metadata"]["ownerReferences"] = json!(others.chain([&own]).collect::<Vec<_>>());
        }
        if found.labels().get(CLUSTER_LABEL).map(String::as_str) != Some(cluster) && is_own {
            change["metadata"]["labels"] = json!({ CLUSTER_LABEL: cluster });
        }
        // One that a person made is that person's to renew.
        if is_own
            && let Some(server) = self.renewed_for(&found)
            && let Some(text) = self.kubeconfig(cluster, &server).await?
        {
            info!(control_plane = %self.object(), secret = name, "the certificate of the kubeconfig is renewed");
            change["data"] = json!({ KUBECONFIG_KEY: STANDARD.encode(text.expose()) });
        }
        if change != json!({}) {
            patch::merge(&secrets, &found, change, Part::Object, &PatchParams::default())
                .await
                .map_err(Error::api("patch", object))?;
        }
        Ok(())
    }

    /// The server of a kubeconfig that must be renewed.
    fn renewed_for(&self, secret: &Secret) -> Option<String> {
        let data = secret.data.as_ref()?.get(KUBECONFIG_KEY)?;
        let known = Kubeconfig::from_yaml(&String::from_utf8_lossy(&data.0)).ok()?;
        let until = known.auth_infos.iter().filter_map(|named| {
            let pem = STANDARD.decode(named.auth_info.as_ref()?.client_certificate_data.as_ref()?).ok()?;
            let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
            Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
        });
        let limit = self.now.0.as_second() + i64::try_from(RENEWED_BEFORE.as_secs()).unwrap_or(i64::MAX);
        let ends_soon = until.min().is_some_and(|until| until < limit);
        let cluster = known.clusters.into_iter().find_map(|named| named.cluster);
        ends_soon.then(|| cluster?.server).flatten()
    }

    /// A new one, if there is an authority with its key.
    async fn kubeconfig(&self, cluster: &str, server: &str) -> Result<Option<Text>, Error> {
        let name = format!("{cluster}{AUTHORITY}");
        let object = format!("Secret {}/{name}", self.namespace);
        let found = self.api::<Secret>().get_opt(&name).await.map_err(Error::api("get", object))?;
        let data = found.and_then(|secret| secret.data).unwrap_or_default();
        let text = |key: &str| data.get(key).map(|value| String::from_utf8_lossy(&value.0).into_owned());
        let (Some(crt), Some(key)) = (text("tls.crt"), text("tls.key")) else { return Ok(None) };
        let ca = KeyPair { crt, key: key.into() };
        let made = self.shared.frame.talos.kubeconfig(cluster, server, &ca).await;
        made.map(Some)
            .map_err(|error| Error::Node { object: self.object(), problem: bloomery_platform::chain(&error) })
    }

    fn secret(&self, cluster: &str, name: &str, text: &Text) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some([(CLUSTER_LABEL.to_owned(), cluster.to_owned())].into()),
                owner_references: Some(vec![owner(&self.control_plane, true)]),
                ..ObjectMeta::default()
            },
            type_: Some(TYPE.to_owned()),
            data: Some([(KUBECONFIG_KEY.to_owned(), ByteString(text.expose().as_bytes().to_vec()))].into()),
            ..Secret::default()
        }
    }
}
