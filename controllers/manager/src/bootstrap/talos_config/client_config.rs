//! Keeps the client configuration of a cluster: made anew for other addresses and in good time, at rest never.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_api::bootstrap::client_config::{Known, endpoints, is_due};
use bloomery_api::bootstrap::generation::is_control_plane;
use bloomery_api::bootstrap::secrets::{TALOSCONFIG_KEY, talosconfig_name};
use bloomery_platform::patch::{self, Part};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::PatchParams;
use serde_json::json;
use serde_norway::Value;
use x509_parser::pem::Pem;

use super::Scene;
use super::failure::Failure;
use crate::reconcile::Error;

impl Scene<'_> {
    /// By the TalosConfigs of the control plane alone, as upstream has it.
    pub(super) async fn keep_client_config(&self) -> Result<(), Failure> {
        if !is_control_plane(&self.config.spec.generate_type) {
            return Ok(());
        }
        let _turn = self.shared.turns.lock(&self.turn()).await;
        let (cluster, keeper) = (self.cluster.name_any(), self.of_cluster());
        let name = talosconfig_name(&cluster);
        let machines = self.shared.machines.known();
        let machines = machines.iter().filter(|one| one.namespace().as_ref() == Some(&self.namespace));
        let addresses = endpoints(machines.filter_map(|machine| machine.0.as_ref().ok()), &cluster);
        let found = self.secret(&keeper, &name).await?;
        let known = found.as_ref().and_then(known);
        if !is_due(known.as_ref(), &addresses, Timestamp::now()) {
            return Ok(());
        }
        let secrets = self.bundle().await?.ok_or_else(|| Failure::told("secrets bundle is missing"))?;
        let made = self.shared.frame.talos.talosconfig(&secrets, &cluster, &addresses).await;
        let made = made.map_err(|error| Failure::of_library("a client configuration", error, &[]))?;
        match found {
            None => drop(self.create(&keeper, name, [(TALOSCONFIG_KEY, made.expose())]).await?),
            Some(found) => {
                let text = ByteString(made.expose().as_bytes().to_vec());
                let change = json!({ "data": { TALOSCONFIG_KEY: text } });
                let secrets = self.shared.secrets(&self.namespace);
                // Somebody else made it anew: the change comes here, too.
                patch::try_merge(&secrets, &found, change, Part::Object, &PatchParams::default())
                    .await
                    .map_err(Error::api("patch", format!("Secret {name}")))?;
            }
        }
        Ok(())
    }
}

/// What a client configuration says; nothing if it cannot be read, and then it is made anew.
fn known(secret: &Secret) -> Option<Known> {
    let text = secret.data.as_ref()?.get(TALOSCONFIG_KEY)?;
    let document: Value = serde_norway::from_slice(&text.0).ok()?;
    let context = document.get("contexts")?.get(document.get("context")?.as_str()?)?;
    let addresses = context.get("endpoints").and_then(Value::as_sequence);
    let addresses = addresses.into_iter().flatten().map(|one| one.as_str().map(str::to_owned));
    let pem = STANDARD.decode(context.get("crt")?.as_str()?).ok()?;
    let pem = Pem::iter_from_buffer(&pem).next()?.ok()?;
    let certificate = pem.parse_x509().ok()?;
    let validity = certificate.validity();
    Some(Known {
        endpoints: addresses.collect::<Option<_>>()?,
        not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
        not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        let data = [(TALOSCONFIG_KEY.to_owned(), ByteString(text.as_bytes().to_vec()))];
        Secret { data: Some(data.into()), ..Secret::default() }
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let crt = STANDARD.encode(params.self_signed(&key).unwrap().pem());
        let text = |context: &str, endpoints: &str, crt: &str| {
            format!("context: {context}\ncontexts:\n  c:\n    endpoints: {endpoints}\n    crt: {crt}\n")
        };
        let found = known(&secret(&text("c", "[10.0.0.1, 'fd00::1']", &crt))).unwrap();
        assert_eq!(found.endpoints, ["10.0.0.1", "fd00::1"]);
        assert_eq!((found.not_after.as_second() - found.not_before.as_second()) / 86_400, 365);
        assert!(known(&secret(&text("c", "[]", &crt))).unwrap().endpoints.is_empty());
        for bad in [
            String::new(),
            "[".to_owned(),
            text("other", "[]", &crt),
            text("c", "[]", "''"),
            text("c", "[]", "aGVsbG8="),
            text("c", "[[a]]", &crt),
        ] {
            assert_eq!(known(&secret(&bad)), None, "{bad}");
        }
        assert_eq!(known(&Secret::default()), None);
    }
}
