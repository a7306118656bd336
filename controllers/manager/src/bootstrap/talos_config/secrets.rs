//! The Secrets of a cluster and of its machines, as they are in the API server.
//!
//! Never writes over what a Secret holds, and never writes a new bundle for a cluster that runs with another.

use std::sync::Arc;

use bloomery_api::bootstrap::generation::is_control_plane;
use bloomery_api::bootstrap::secrets::{
    BUNDLE_KEY, Belongs, CA_KEYS, Keeper, SECTION_KEYS, bundle_name, ca_name, talosconfig_name,
};
use bloomery_platform::patch::{self, Part};
use bloomery_talosconfig::{KeyPair, Secret as Text, SecretsBundle};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{PatchParams, PostParams};
use kube::runtime::reflector::ObjectRef;

use super::Scene;
use super::failure::Failure;
use crate::reconcile::Error;
use crate::watch::SecretMeta;

/// What became of a new Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// It is there now.
    Now,
    /// Somebody else made one of this name.
    Before,
}

impl Scene<'_> {
    pub(super) fn of_cluster(&self) -> Keeper<'_> {
        Keeper::cluster(self.cluster)
    }

    /// Namespace and name of the Cluster, for what one at a time may do.
    pub(super) fn turn(&self) -> (String, String) {
        (self.namespace.clone(), self.cluster.name_any())
    }

    /// A Secret that may be used; an error for one that is about to go.
    pub(super) async fn secret(&self, keeper: &Keeper<'_>, name: &str) -> Result<Option<Secret>, Failure> {
        let secrets = self.shared.secrets(&self.namespace);
        let found = secrets.get_opt(name).await.map_err(Error::api("get", format!("Secret {name}")))?;
        let Some(found) = found else { return Ok(None) };
        let is_left = keeper.judge(&found.metadata) == Belongs::Predecessor;
        if is_left || found.metadata.deletion_timestamp.is_some() {
            let kind = &keeper.reference.kind;
            return Err(Failure::told(format!(
                "the Secret {name} is of an earlier {kind} of this name and is about to be removed; if it stays, delete it"
            )));
        }
        Ok(Some(found))
    }

    /// Makes a Secret if there is none.
    pub(super) async fn create(
        &self,
        keeper: &Keeper<'_>,
        name: String,
        data: impl IntoIterator<Item = (&'static str, &str)>,
    ) -> Result<Created, Failure> {
        let object = format!("Secret {name}");
        let secret = keeper.secret(&self.namespace, name, data);
        match self.shared.secrets(&self.namespace).create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(Created::Now),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Created::Before),
            Err(error) => Err(Error::api("create", object)(error).into()),
        }
    }

    /// The secrets of the cluster, if there are any.
    pub(super) async fn bundle(&self) -> Result<Option<SecretsBundle>, Failure> {
        let name = bundle_name(&self.cluster.name_any());
        let found = self.secret(&self.of_cluster(), &name).await?;
        found.map(|secret| bundle_of(&name, secret)).transpose()
    }

    /// The authority of the Kubernetes API under the name that Cluster API has for it, unless it is there.
    pub(super) async fn keep_ca(&self, ca: Option<&KeyPair>) -> Result<(), Failure> {
        let Some(KeyPair { crt, key }) = ca.filter(|ca| !ca.crt.is_empty() && !ca.key.is_empty()) else {
            return Ok(());
        };
        let (keeper, name) = (self.of_cluster(), ca_name(&self.cluster.name_any()));
        if self.secret(&keeper, &name).await?.is_none() {
            let [of_crt, of_key] = CA_KEYS;
            self.create(&keeper, name, [(of_crt, crt.as_str()), (of_key, key.expose())]).await?;
        }
        Ok(())
    }

    /// Gives Secrets their owners back, and the cluster its authority.
    pub(super) async fn keep_secrets(&self, data: Option<&str>) -> Result<(), Failure> {
        let cluster = self.cluster.name_any();
        let of_cluster = self.of_cluster();
        for name in [bundle_name(&cluster), ca_name(&cluster), talosconfig_name(&cluster)] {
            self.mend(&of_cluster, &name).await?;
        }
        let Some(data) = data else { return Ok(()) };
        let of_config = Keeper::config(self.config, self.cluster);
        self.mend(&of_config, data).await?;
        // Upstream writes an authority with a configuration and no other time; so it comes back where that was made here.
        let known = self.known(data);
        let is_made_here = known.is_some_and(|known| of_config.judge(&known.metadata) == Belongs::Own);
        let is_wanted = is_made_here && is_control_plane(&self.config.spec.generate_type);
        if !is_wanted || self.known(&ca_name(&cluster)).is_some() {
            return Ok(());
        }
        if self.secret(&of_cluster, &ca_name(&cluster)).await?.is_none()
            && let Some(bundle) = self.bundle().await?
        {
            let authorities = self.inspect(&bundle).await?;
            self.keep_ca(authorities.kubernetes.as_ref()).await?;
        }
        Ok(())
    }

    fn known(&self, name: &str) -> Option<Arc<SecretMeta>> {
        self.shared.secrets.get(&ObjectRef::new(name).within(&self.namespace))
    }

    async fn mend(&self, keeper: &Keeper<'_>, name: &str) -> Result<(), Failure> {
        let Some(known) = self.known(name) else { return Ok(()) };
        let Some(change) = keeper.mend(&known.metadata) else { return Ok(()) };
        let secret = Secret { metadata: known.metadata.clone(), ..Secret::default() };
        let secrets = self.shared.secrets(&self.namespace);
        // If it changed, that comes here too.
        patch::try_merge(&secrets, &secret, change, Part::Object, &PatchParams::default())
            .await
            .map_err(Error::api("patch", format!("Secret {name}")))?;
        Ok(())
    }
}

/// The secrets in a Secret, old ones in three parts.
fn bundle_of(name: &str, secret: Secret) -> Result<SecretsBundle, Failure> {
    let mut data = secret.data.unwrap_or_default();
    let mut take = |key: &str| -> Option<Text> { Some(String::from_utf8(data.remove(key)?.0).ok()?.into()) };
    if let Some(bundle) = take(BUNDLE_KEY) {
        return Ok(bundle.into());
    }
    let [certs, kube_secrets, trustd_info] = SECTION_KEYS.map(take);
    match (certs, kube_secrets, trustd_info) {
        (Some(certs), Some(kube_secrets), Some(trustd_info)) => {
            Ok(SecretsBundle::Sections { certs, kube_secrets, trustd_info })
        }
        _ => Err(Failure::told(format!(
            "the Secret {name} has no key {BUNDLE_KEY} with the secrets of the cluster"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn secrets_are_read_in_one_part_and_in_three() {
        let secret = |keys: &[&str]| Secret {
            data: Some(keys.iter().map(|key| ((*key).to_owned(), ByteString(b"x".to_vec()))).collect()),
            ..Secret::default()
        };
        let read = |keys: &[&str]| bundle_of("c-talos", secret(keys));
        assert!(matches!(read(&["bundle"]), Ok(SecretsBundle::Bundle { .. })));
        assert!(matches!(read(&["bundle", "certs"]), Ok(SecretsBundle::Bundle { .. })));
        assert!(matches!(read(&SECTION_KEYS), Ok(SecretsBundle::Sections { .. })));
        for keys in [&[][..], &["certs"][..], &["certs", "kubeSecrets"][..], &["Bundle"][..]] {
            let failure = read(keys).unwrap_err();
            assert_eq!(failure.told, "the Secret c-talos has no key bundle with the secrets of the cluster");
        }
    }
}
