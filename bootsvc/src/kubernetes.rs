//! The connection to the Kubernetes API: made when it can be, watched, never waited for by a service.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use bloomery_api::lookup::Lookup;
pub use bloomery_platform::client::Kubernetes;
use bloomery_platform::client::Limits;
use kube::core::{ClusterResourceScope, Status};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::health::Part;

/// Longest wait for one answer; iPXE gives a server about twenty seconds before it goes on.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Requests at once, of the 60 that the API server takes. Calls have turns of their own; what is not urgent are events.
const LIMITS: Limits = Limits { urgent: 24, background: 4, answer_within: ANSWER_WITHIN };

/// Makes the client from `kubeconfig` (none: the pod's service account), and reports in `part` whether the API answers.
pub fn connect(kubeconfig: Option<PathBuf>, part: Part, shutdown: CancellationToken) -> Kubernetes {
    Kubernetes::connect(kubeconfig.into(), LIMITS, part, shutdown)
}

/// Reads one cluster-scoped object.
pub async fn get<K>(client: &Client, name: &str) -> Lookup<K>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let kind = K::kind(&());
    match tokio::time::timeout(ANSWER_WITHIN, api.get(name)).await {
        Ok(Ok(object)) => Lookup::Found(object),
        Ok(Err(kube::Error::Api(status))) if is_object_missing(&status, name) => Lookup::NotFound,
        Ok(Err(error)) => {
            tracing::warn!(kind = %kind, name, error = bloomery_base::chain(&error), "kubernetes lookup failed");
            Lookup::Failed
        }
        Err(_) => {
            tracing::warn!(kind = %kind, name, "kubernetes lookup took too long");
            Lookup::Failed
        }
    }
}

/// Whether the API server itself says that the object of this name does not exist. A 404 without
/// these details comes from an unknown kind, a proxy, or a server that is starting.
fn is_object_missing(status: &Status, name: &str) -> bool {
    status.code == 404
        && status.reason == "NotFound"
        && status.details.as_ref().is_some_and(|details| details.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::StatusDetails;

    #[test]
    fn only_the_api_servers_own_word_means_not_found() {
        let details: StatusDetails = serde_json::from_value(serde_json::json!({ "name": "u" })).unwrap();
        let missing =
            Status::failure("servers \"u\" not found", "NotFound").with_code(404).with_details(details);
        assert!(is_object_missing(&missing, "u"));
        assert!(!is_object_missing(&missing, "v"));
        // What an API server without the kind, and a proxy, answer.
        let page = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        assert!(!is_object_missing(&page, "u"));
        assert!(!is_object_missing(&Status::failure("", "NotFound").with_code(404), "u"));
        assert!(!is_object_missing(&Status::failure("", "Forbidden").with_code(403), "u"));
    }
}
