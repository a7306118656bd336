//! Reads a Server and its binding: the binding always from the API server, the Server unless the cache has it.
//!
//! Never interprets them.

use bloomery_api::{Server, ServerBinding};
use kube::core::DeserializeGuard;
use kube::{Api, Client};

use crate::reconcile::Error;

/// What a reconcile works on, as it was read.
pub(super) struct Fetched {
    pub(super) server: Option<DeserializeGuard<Server>>,
    pub(super) binding: Option<DeserializeGuard<ServerBinding>>,
}

/// The Server (`cached`, if given) and the binding of its name, each `None` when it is gone.
pub(super) async fn fetch(
    client: &Client,
    name: &str,
    cached: Option<&DeserializeGuard<Server>>,
) -> Result<Fetched, Error> {
    let bindings: Api<DeserializeGuard<ServerBinding>> = Api::all(client.clone());
    // The binding after the Server, however old that is: one that was deleted in between was released under an older
    // Server, whose version then no longer fits what is written.
    let server = match cached {
        Some(server) => Some(server.clone()),
        None => fetch_server(client, name).await?,
    };
    let binding = bindings.get_opt(name).await.map_err(Error::api("get", format!("ServerBinding {name}")))?;
    Ok(Fetched { server, binding })
}

/// The Server alone.
pub(super) async fn fetch_server(
    client: &Client,
    name: &str,
) -> Result<Option<DeserializeGuard<Server>>, Error> {
    let servers: Api<DeserializeGuard<Server>> = Api::all(client.clone());
    servers.get_opt(name).await.map_err(Error::api("get", format!("Server {name}")))
}
