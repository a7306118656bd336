//! Reads an Environment from the API server.
//!
//! Never interprets it.

use bloomery_api::Environment;
use kube::core::DeserializeGuard;
use kube::{Api, Client};

use crate::reconcile::Error;

/// `None` when the Environment is gone.
pub(super) async fn fetch(
    client: &Client,
    name: &str,
) -> Result<Option<DeserializeGuard<Environment>>, Error> {
    let environments: Api<DeserializeGuard<Environment>> = Api::all(client.clone());
    environments.get_opt(name).await.map_err(Error::api("get", format!("Environment {name}")))
}
