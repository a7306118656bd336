//! Kinds that a reference names without a version: the one that serves Cluster API's contract, by the labels of the kind's
//! definition.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{ApiResource, PartialObjectMeta, Version};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::reconcile::Error;

/// Labels with the versions that serve a contract, the newest contract first.
const CONTRACTS: [&str; 2] = ["cluster.x-k8s.io/v1beta2", "cluster.x-k8s.io/v1beta1"];
/// How long a version counts: definitions change with releases of their providers.
const COUNTS: Duration = Duration::from_mins(5);

/// What is known of kinds.
#[derive(Default)]
pub(super) struct Kinds {
    known: Mutex<HashMap<(String, String), (Instant, ApiResource)>>,
}

impl Kinds {
    /// A kind of a group. `given` is the version for a kind whose definition names none.
    pub(super) async fn find(
        &self,
        client: &Client,
        group: &str,
        kind: &str,
        given: Option<&str>,
    ) -> Result<ApiResource, Error> {
        let key = (group.to_owned(), kind.to_owned());
        if let Some((since, resource)) = self.known.lock().get(&key)
            && since.elapsed() < COUNTS
        {
            return Ok(resource.clone());
        }
        let plural = plural(kind);
        let name = format!("{plural}.{group}");
        let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client.clone());
        let operation = Error::api("get", format!("CustomResourceDefinition {name}"));
        let definition = definitions.get_metadata_opt(&name).await.map_err(operation)?;
        let labelled = definition.as_ref().and_then(|definition| {
            let labels = definition.labels();
            CONTRACTS.iter().find_map(|contract| newest(labels.get(*contract)?))
        });
        let Some(version) = labelled.or_else(|| given.map(str::to_owned)) else {
            let problem = "no version of the kind serves a contract of Cluster API".to_owned();
            return Err(Error::Invalid { object: format!("{kind}.{group}"), problem });
        };
        let resource = ApiResource {
            api_version: format!("{group}/{version}"),
            group: group.to_owned(),
            version,
            kind: kind.to_owned(),
            plural,
        };
        self.known.lock().insert(key, (Instant::now(), resource.clone()));
        Ok(resource)
    }
}

/// The newest of versions that are joined by underscores.
fn newest(versions: &str) -> Option<String> {
    let all = versions.split('_').filter(|version| !version.is_empty());
    all.max_by_key(|version| Version::parse(version).priority()).map(str::to_owned)
}

/// The plural as Cluster API finds the names of definitions.
fn plural(kind: &str) -> String {
    let singular = kind.to_lowercase();
    if let Some(stem) = singular.strip_suffix('y')
        && !stem.ends_with(['a', 'e', 'i', 'o', 'u'])
    {
        return format!("{stem}ies");
    }
    let hisses = ["s", "x", "z", "ch", "sh"].iter().any(|end| singular.ends_with(end));
    if hisses { format!("{singular}es") } else { format!("{singular}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_a_label_is_taken() {
        for (label, expected) in [
            ("v1alpha3", Some("v1alpha3")),
            ("v1alpha3_v1beta1", Some("v1beta1")),
            ("v1_v1beta1", Some("v1")),
            ("v1beta2_v1beta10", Some("v1beta10")),
            ("", None),
        ] {
            assert_eq!(newest(label).as_deref(), expected, "{label}");
        }
    }

    #[test]
    fn kinds_have_the_plurals_of_their_definitions() {
        for (kind, expected) in [
            ("MetalMachineTemplate", "metalmachinetemplates"),
            ("MetalMachine", "metalmachines"),
            ("ExampleProxy", "exampleproxies"),
            ("ExampleBox", "exampleboxes"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }
}
