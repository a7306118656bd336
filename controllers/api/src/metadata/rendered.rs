//! What is kept of a configuration: one Secret for each binding, in the plane's own namespace, owned by the binding.
//!
//! The boot services read these Secrets and no other. Never takes a Secret for one of these by its name alone: type,
//! label and owner count too.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::patches::Provenance;
use super::verdict::Verdict;
use crate::condition::Severity;
use crate::contract::CLUSTER_LABEL;
use crate::readiness::Trouble;
use crate::server_binding::ServerBinding;

/// Namespace of the Secrets.
pub const NAMESPACE: &str = "sidero-system";
/// Type of the Secrets, which never changes in the life of one.
pub const TYPE: &str = "bloomery.dev/machine-configuration";
/// Label of the Secrets: the name of their Server.
pub const LABEL: &str = "bloomery.dev/machine-configuration";
/// Annotation: digest of all that the Secret was made from.
pub const SOURCES_ANNOTATION: &str = "bloomery.dev/sources";
/// What follows the Server's name in that of its Secret.
const SUFFIX: &str = "-config";
/// Key of the configuration. A Secret without it tells why there is none.
const CONFIG: &str = "config";
/// Key of everything else.
const STATE: &str = "state";

/// Name of the Secret for a Server.
pub fn secret_name(server: &str) -> String {
    format!("{server}{SUFFIX}")
}

/// Name of the Server that a Secret of this name is for.
pub fn server_of(secret: &str) -> Option<&str> {
    secret.strip_suffix(SUFFIX).filter(|server| !server.is_empty())
}

/// A configuration, or why there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The configuration, and whether a machine can use it.
    pub outcome: Result<(String, Verdict), Failure>,
    /// Its patches, in order.
    pub patches: Vec<Provenance>,
}

impl std::fmt::Debug for Rendered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcome = self.outcome.as_ref().map(|(config, verdict)| (config.len(), verdict));
        formatter.debug_struct("Rendered").field("outcome", &outcome).field("patches", &self.patches).finish()
    }
}

/// What the Secret says besides the configuration, as JSON.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    patches: Vec<Provenance>,
}

/// A Secret that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRendered {
    /// It is not one of these.
    #[error("the Secret is no machine configuration")]
    Foreign,
    /// It was made for a binding that is gone.
    #[error("the machine configuration is that of another ServerBinding")]
    OtherBinding,
    /// It holds something else than was written.
    #[error("the machine configuration cannot be read")]
    Unreadable,
}

impl Rendered {
    /// Why there is none.
    pub fn failed(failure: Failure, patches: Vec<Provenance>) -> Self {
        Self { outcome: Err(failure), patches }
    }

    /// What is the matter with it; `None` where a machine can use it.
    pub fn trouble(&self) -> Option<Trouble> {
        let (severity, reason, message) = match &self.outcome {
            Err(failure) => (failure.stage.severity(), failure.stage.reason(), failure.told.clone()),
            Ok((_, verdict)) => {
                let (reason, message) = verdict.told()?;
                (Severity::Error, reason, message)
            }
        };
        Some(Trouble { severity, reason, message })
    }

    /// The Secret of a binding; `sources` is the digest of what it was made from. `None` for a binding that the API
    /// server has not stored.
    pub fn secret(&self, binding: &ServerBinding, sources: &str) -> Option<Secret> {
        let Self { outcome, patches } = self;
        let name = binding.metadata.name.as_deref()?;
        let owner = OwnerReference {
            api_version: ServerBinding::api_version(&()).into_owned(),
            kind: ServerBinding::kind(&()).into_owned(),
            name: name.to_owned(),
            uid: binding.metadata.uid.clone()?,
            controller: Some(true),
            block_owner_deletion: None,
        };
        let cluster = binding.metadata.labels.as_ref().and_then(|labels| labels.get(CLUSTER_LABEL));
        let labels = [(LABEL, Some(&name.to_owned())), (CLUSTER_LABEL, cluster)];
        let labels = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.clone())));
        let (config, verdict, failure) = match outcome {
            Ok((config, verdict)) => (Some(config), Some(verdict.clone()), None),
            Err(failure) => (None, None, Some(failure.clone())),
        };
        let state = State { failure, verdict, patches: patches.clone() };
        // Strings, numbers and lists of them: nothing in it can fail.
        let state = serde_json::to_vec(&state).unwrap_or_default();
        let mut data = BTreeMap::from([(STATE.to_owned(), ByteString(state))]);
        data.extend(config.map(|config| (CONFIG.to_owned(), ByteString(config.clone().into_bytes()))));
        Some(Secret {
            metadata: ObjectMeta {
                name: Some(secret_name(name)),
                namespace: Some(NAMESPACE.to_owned()),
                labels: Some(labels.collect()),
                annotations: Some([(SOURCES_ANNOTATION.to_owned(), sources.to_owned())].into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(data),
            type_: Some(TYPE.to_owned()),
            ..Secret::default()
        })
    }

    /// What the Secret of a binding says, if it is that.
    pub fn of(secret: &Secret, binding: &ServerBinding) -> Result<Self, NotRendered> {
        let name = binding.metadata.name.as_deref().unwrap_or_default();
        let meta = &secret.metadata;
        let is_one = secret.type_.as_deref() == Some(TYPE)
            && meta.namespace.as_deref() == Some(NAMESPACE)
            && meta.name.as_deref().and_then(server_of) == Some(name)
            && meta.labels.as_ref().and_then(|labels| labels.get(LABEL)).map(String::as_str) == Some(name);
        if !is_one {
            return Err(NotRendered::Foreign);
        }
        if !is_owned_by(meta, binding) {
            return Err(NotRendered::OtherBinding);
        }
        let data = secret.data.as_ref();
        let field = |key: &str| data.and_then(|data| data.get(key)).map(|octets| octets.0.as_slice());
        let state = field(STATE).and_then(|octets| serde_json::from_slice(octets).ok());
        let State { failure, verdict, patches } = state.ok_or(NotRendered::Unreadable)?;
        let config = field(CONFIG).map(|octets| std::str::from_utf8(octets).map(str::to_owned));
        let outcome = match (config, verdict, failure) {
            (Some(Ok(config)), Some(verdict), None) => Ok((config, verdict)),
            (None, None, Some(failure)) => Err(failure),
            _ => return Err(NotRendered::Unreadable),
        };
        Ok(Self { outcome, patches })
    }
}

/// Whether an object with this metadata belongs to this very binding.
pub fn is_owned_by(meta: &ObjectMeta, binding: &ServerBinding) -> bool {
    let (group, kind) = (ServerBinding::group(&()), ServerBinding::kind(&()));
    let is_binding = |owner: &&OwnerReference| {
        owner.kind == kind && owner.api_version.split_once('/').is_some_and(|(found, _)| found == group)
    };
    let mut owners = meta.owner_references.iter().flatten().filter(is_binding);
    binding.metadata.uid.is_some()
        && owners.any(|owner| {
            Some(owner.uid.as_str()) == binding.metadata.uid.as_deref()
                && Some(owner.name.as_str()) == binding.metadata.name.as_deref()
        })
}

#[cfg(test)]
mod tests {
    use super::super::failure::Stage;
    use super::super::patches::Origin;
    use super::*;

    const NAME: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";

    fn binding(uid: &str) -> ServerBinding {
        let mut binding = ServerBinding::new(NAME, <_>::default());
        binding.metadata.uid = Some(uid.to_owned());
        binding.metadata.labels = Some([(CLUSTER_LABEL.to_owned(), "c".to_owned())].into());
        binding
    }

    fn rendered() -> Rendered {
        let patches = vec![Provenance {
            origin: Origin::ServerClass("c".to_owned()),
            field: "configPatches".to_owned(),
        }];
        Rendered { outcome: Ok(("token: hidden".to_owned(), Verdict::GOOD)), patches }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let failure = Failure::missing(Stage::DataSecret, "bootstrap secret default/b not found");
        for kept in [rendered(), Rendered::failed(failure, Vec::new())] {
            let secret = kept.secret(&binding("u"), "digest").unwrap();
            assert_eq!(Rendered::of(&secret, &binding("u")), Ok(kept));
            assert_eq!(secret.metadata.name.as_deref().and_then(server_of), Some(NAME));
        }
        assert!(!format!("{:?}", rendered()).contains("hidden"));
        assert!(rendered().secret(&ServerBinding::new(NAME, <_>::default()), "digest").is_none());
    }

    #[test]
    fn another_secret_is_never_taken_for_one() {
        let good = rendered().secret(&binding("u"), "digest").unwrap();
        let changed = |change: fn(&mut Secret)| {
            let mut secret = good.clone();
            change(&mut secret);
            Rendered::of(&secret, &binding("u")).unwrap_err()
        };
        for (change, expected) in [
            ((|secret| secret.type_ = Some("Opaque".to_owned())) as fn(&mut Secret), NotRendered::Foreign),
            (|secret| secret.metadata.labels = None, NotRendered::Foreign),
            (|secret| secret.metadata.name = Some("bmc-password".to_owned()), NotRendered::Foreign),
            (|secret| secret.metadata.namespace = Some("default".to_owned()), NotRendered::Foreign),
            (|secret| secret.metadata.owner_references = None, NotRendered::OtherBinding),
            (
                |secret| secret.metadata.owner_references.as_mut().unwrap()[0].kind = "Server".to_owned(),
                NotRendered::OtherBinding,
            ),
            (|secret| secret.data = None, NotRendered::Unreadable),
            (
                |secret| {
                    secret.data.as_mut().unwrap().remove(CONFIG);
                },
                NotRendered::Unreadable,
            ),
            (
                |secret| {
                    secret.data.as_mut().unwrap().insert(CONFIG.to_owned(), ByteString(vec![0xff]));
                },
                NotRendered::Unreadable,
            ),
        ] {
            assert_eq!(changed(change), expected);
        }
        // The binding was made anew: what was made for its predecessor is not for this machine.
        assert_eq!(Rendered::of(&good, &binding("other")), Err(NotRendered::OtherBinding));
    }
}
