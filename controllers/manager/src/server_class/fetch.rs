//! Reads a ServerClass from the API server and the Servers from the cache.
//!
//! Never interprets them.

use std::sync::Arc;

use bloomery_api::{Server, ServerClass};
use kube::core::DeserializeGuard;
use kube::{Api, Client};

use crate::reconcile::Error;
use crate::watch::Servers;

/// What a reconcile works on, as it was read.
pub(super) struct Fetched {
    pub(super) class: DeserializeGuard<ServerClass>,
    pub(super) servers: Vec<Arc<DeserializeGuard<Server>>>,
}

/// `None` when the class is gone.
pub(super) async fn fetch(client: &Client, servers: &Servers, name: &str) -> Result<Option<Fetched>, Error> {
    let servers = servers.all().await;
    let classes: Api<DeserializeGuard<ServerClass>> = Api::all(client.clone());
    let class = classes.get_opt(name).await.map_err(Error::api("get", format!("ServerClass {name}")))?;
    Ok(class.map(|class| Fetched { class, servers }))
}
