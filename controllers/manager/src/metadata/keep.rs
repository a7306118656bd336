//! The Secret of a binding, read and written.
//!
//! Never writes over a Secret of another kind that has its name.

use bloomery_api::ServerBinding;
use bloomery_api::metadata::rendered::{
    NAMESPACE, NotRendered, Rendered, SOURCES_ANNOTATION, TYPE, is_owned_by, secret_name,
};
use bloomery_platform::patch::{self, Part};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{PatchParams, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Map, Value, json};
use tracing::info;

use super::Shared;
use crate::reconcile::Error;

impl Shared {
    /// Whether the Secret that is there was made for this binding from these sources, as far as the watch has seen.
    pub(super) fn is_kept(&self, binding: &ServerBinding, sources: &str) -> bool {
        let name = secret_name(&binding.name_any());
        let kept = self.rendered.get(&ObjectRef::new(&name).within(NAMESPACE));
        kept.is_some_and(|kept| {
            let annotations = kept.meta().annotations.as_ref();
            let made_from = annotations.and_then(|all| all.get(SOURCES_ANNOTATION)).map(String::as_str);
            made_from == Some(sources) && is_owned_by(kept.meta(), binding)
        })
    }

    /// What the Secret says; `None` where it is to be made anew.
    pub(super) async fn read(&self, binding: &ServerBinding) -> Result<Option<Rendered>, Error> {
        let name = secret_name(&binding.name_any());
        let found = self.configurations().get_opt(&name).await.map_err(Error::api("get", object(&name)))?;
        Ok(found.and_then(|secret| Rendered::of(&secret, binding).ok()))
    }

    pub(super) async fn write(
        &self,
        binding: &ServerBinding,
        rendered: &Rendered,
        sources: &str,
    ) -> Result<(), Error> {
        let name = secret_name(&binding.name_any());
        let Some(secret) = rendered.secret(binding, sources) else { return Ok(()) };
        let secrets = self.configurations();
        match secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let known = secrets.get(&name).await.map_err(Error::api("get", object(&name)))?;
                if known.type_.as_deref() != Some(TYPE) {
                    let problem = NotRendered::Foreign.to_string();
                    return Err(Error::Invalid { object: object(&name), problem });
                }
                patch::merge(
                    &secrets,
                    &known,
                    change(&known, &secret),
                    Part::Object,
                    &PatchParams::default(),
                )
                .await
                .map_err(Error::api("patch", object(&name)))?;
            }
            Err(error) => return Err(Error::api("create", object(&name))(error)),
        }
        info!(server = binding.name_any(), good = rendered.trouble().is_none(), "configuration made");
        Ok(())
    }

    fn configurations(&self) -> Api<Secret> {
        Api::namespaced(self.frame.urgent.clone(), NAMESPACE)
    }
}

fn object(name: &str) -> String {
    format!("Secret {NAMESPACE}/{name}")
}

/// The merge patch from one to the other; what is no longer said is removed.
fn change(known: &Secret, wanted: &Secret) -> Value {
    let mut data: Map<String, Value> =
        known.data.iter().flatten().map(|(key, _)| (key.clone(), Value::Null)).collect();
    for (key, value) in wanted.data.iter().flatten() {
        data.insert(key.clone(), json!(value));
    }
    let meta = &wanted.metadata;
    json!({
        "metadata": {
            "labels": meta.labels, "annotations": meta.annotations, "ownerReferences": meta.owner_references,
        },
        "data": data,
    })
}
