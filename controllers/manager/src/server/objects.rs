//! A Server and its binding: the binding always from the API server, the Server unless the cache has it.

use bloomery_api::{Server, ServerBinding};
use kube::{Api, Client};

use crate::reconcile::{self, Error, readable};
use crate::watch::GuardedServer;

/// What a plan is made of.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) server: Server,
    pub(super) binding: Option<ServerBinding>,
}

/// The Server (`cached`, if given) and the binding of its name; `None` when the Server is gone. A binding that cannot be
/// read is an error: it is not taken for none.
pub(super) async fn read(
    client: &Client,
    name: &str,
    cached: Option<&GuardedServer>,
) -> Result<Option<Objects>, Error> {
    // The binding after the Server, however old that is: one that was deleted in between was released under an older
    // Server, whose version then no longer fits what is written.
    let server = match cached {
        Some(server) => Some(readable(server.clone())?),
        None => reconcile::read(&Api::all(client.clone()), name).await?,
    };
    let Some(server) = server else { return Ok(None) };
    let binding = reconcile::read(&Api::all(client.clone()), name).await?;
    Ok(Some(Objects { server, binding }))
}
