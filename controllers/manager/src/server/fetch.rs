//! Reads a Server and its binding from the API server, not from a cache.
//!
//! Never interprets them.

use bloomery_api::{Server, ServerBinding};
use kube::core::DeserializeGuard;
use kube::{Api, Client};

use crate::reconcile::Error;

/// What a reconcile works on, as it was read.
pub(super) struct Fetched {
    pub(super) server: DeserializeGuard<Server>,
    pub(super) binding: Option<DeserializeGuard<ServerBinding>>,
}

/// `None` when the Server is gone.
pub(super) async fn fetch(client: &Client, name: &str) -> Result<Option<Fetched>, Error> {
    let servers: Api<DeserializeGuard<Server>> = Api::all(client.clone());
    let bindings: Api<DeserializeGuard<ServerBinding>> = Api::all(client.clone());
    let (server, binding) = futures::join!(servers.get_opt(name), bindings.get_opt(name));
    let server = server.map_err(Error::api("get", format!("Server {name}")))?;
    let binding = binding.map_err(Error::api("get", format!("ServerBinding {name}")))?;
    Ok(server.map(|server| Fetched { server, binding }))
}
