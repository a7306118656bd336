//! What `bloomery status` reads of the Kubernetes API: lists, and nothing else.

use anyhow::Context as _;
use bloomery_api::contract::{Cluster, Machine};
use bloomery_api::{MetalMachine, Server, ServerBinding, TalosConfig};
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, Resource};

/// Objects asked for at once; a list of thousands comes in pieces.
const PAGE: u32 = 500;
/// HTTP.
const NOT_FOUND: u16 = 404;

/// The Server objects.
pub(super) async fn servers(client: &Client) -> anyhow::Result<Vec<DynamicObject>> {
    list(client, &ApiResource::erase::<Server>(&())).await.context("failed to list the servers")
}

/// Everything that clusters are told by.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) clusters: Vec<DynamicObject>,
    pub(super) machines: Vec<DynamicObject>,
    pub(super) metal_machines: Vec<DynamicObject>,
    pub(super) configs: Vec<DynamicObject>,
    pub(super) bindings: Vec<DynamicObject>,
}

/// The objects of all clusters, of all namespaces.
pub(super) async fn objects(client: &Client) -> anyhow::Result<Objects> {
    async fn known<K>(client: &Client) -> anyhow::Result<Vec<DynamicObject>>
    where
        K: Resource<DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        match list(client, &resource).await {
            // A kind that nobody has defined yet has no objects. The answer is no object of Kubernetes then.
            Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(Vec::new()),
            found => found.with_context(|| format!("failed to list the {}", resource.plural)),
        }
    }
    let (clusters, machines, metal_machines, configs, bindings) = tokio::try_join!(
        known::<Cluster>(client),
        known::<Machine>(client),
        known::<MetalMachine>(client),
        known::<TalosConfig>(client),
        known::<ServerBinding>(client),
    )?;
    Ok(Objects { clusters, machines, metal_machines, configs, bindings })
}

async fn list(client: &Client, resource: &ApiResource) -> Result<Vec<DynamicObject>, kube::Error> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let mut parameters = ListParams::default().limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        objects.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters = parameters.continue_token(&token),
            _ => return Ok(objects),
        }
    }
}
