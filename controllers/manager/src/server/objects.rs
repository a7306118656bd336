//! A Server and its binding: from the caches where that can do no harm, else from the API server.
//!
//! That there is no binding is believed of the cache for a Server that no cluster has. A binding that comes at this moment
//! brings the next reconcile; what is written before is written on the version of the Server that it was decided on, and
//! both objects are read before a command.

use bloomery_api::evidence::DiskRecord;
use bloomery_api::{Server, ServerBinding};
use kube::{Api, Client};

use crate::reconcile::{self, Error, readable};
use crate::watch::GuardedServer;

#[derive(Debug)]
pub(super) struct Objects {
    pub(super) server: Server,
    pub(super) binding: Option<ServerBinding>,
}

/// The Server (`cached`, if given) and the binding of its name; `None` when the Server is gone. `unbound` tells that the
/// cache has no binding of that name. A binding that cannot be read is an error: it is not taken for none.
pub(super) async fn read(
    client: &Client,
    name: &str,
    cached: Option<&GuardedServer>,
    unbound: bool,
) -> Result<Option<Objects>, Error> {
    // The binding after the Server, however old that is: one that was deleted in between was released under an older
    // Server, whose version then no longer fits what is written.
    let server = match cached {
        Some(server) => Some(readable(server.clone())?),
        None => reconcile::read(&Api::all(client.clone()), name).await?,
    };
    let Some(server) = server else { return Ok(None) };
    let binding = if unbound && cached.is_some() && is_free(&server) {
        None
    } else {
        reconcile::read(&Api::all(client.clone()), name).await?
    };
    Ok(Some(Objects { server, binding }))
}

/// True when nothing on record tells of a cluster.
fn is_free(server: &Server) -> bool {
    let is_claimed = DiskRecord::of(server).is_some_and(|record| record.state.is_claim());
    !is_claimed && !server.status.as_ref().is_some_and(|status| status.in_use)
}
