//! Everything that a configuration is made from, and its digest.
//!
//! Never takes an object for missing that cannot be read: that is an error.

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::contract::Machine;
use bloomery_api::metadata::failure::Failure;
use bloomery_api::metadata::sources::{self, DATA_KEY, Data, Owner, Place, class_name};
use bloomery_api::plane::{NAME, Plane, SIDERO_LINK_ANNOTATION};
use bloomery_api::readiness::Trouble;
use bloomery_api::siderolink::{self, Network};
use bloomery_api::{MetalMachine, Server, ServerBinding, ServerClass};
use bloomery_config::SideroOptions;
use bloomery_platform::patch::{self, Part};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PatchParams;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::Shared;
use super::render::Plan;
use crate::cluster::{GROUP, owner};
use crate::reconcile::{Error, readable};

/// Namespace of the Secret with the identity of the plane's network.
const LINK_NAMESPACE: &str = "sidero-system";
/// How long that is used before it is looked at again: a pivot brings another.
const LINK_MEMO: Duration = Duration::from_mins(1);
/// Changed whenever the same sources give another configuration.
const FORM: u32 = 1;

/// All of it but the bootstrap data, which is read when it is needed.
pub(super) struct Gathered {
    data: Result<Place, Failure>,
    read: Option<Read>,
    server: Option<Server>,
    class: Option<ServerClass>,
    documents: [Value; 3],
    /// Digest of all of it, of the bootstrap data by its version.
    pub(super) sources: String,
}

impl Gathered {
    /// Whether a watch tells when the bootstrap data changes.
    pub(super) fn is_watched(&self) -> bool {
        self.read.is_none()
    }
}

/// The plane's own network, and where machines reach the plane.
pub(super) struct SideroLink {
    client: Client,
    endpoint: Option<String>,
    network: Mutex<Option<(Instant, Network)>>,
}

impl SideroLink {
    pub(super) fn new(client: Client, sidero: &SideroOptions) -> Self {
        let SideroOptions { api_endpoint, api_port, .. } = sidero;
        let host = if api_endpoint.contains(':') && !api_endpoint.starts_with('[') {
            format!("[{api_endpoint}]")
        } else {
            api_endpoint.clone()
        };
        let endpoint = (!host.is_empty()).then(|| format!("{host}:{api_port}"));
        Self { client, endpoint, network: Mutex::default() }
    }

    /// The documents for every machine, or what is waited for.
    async fn documents(&self) -> Result<Result<[Value; 3], Trouble>, Error> {
        let Some(endpoint) = &self.endpoint else {
            let why =
                "the plane does not know the address by which machines reach it: set sidero.apiEndpoint";
            return Ok(Err(Trouble::without_sidero_link(why)));
        };
        let mut known = self.network.lock().await;
        let fresh =
            known.as_ref().filter(|(read, _)| read.elapsed() < LINK_MEMO).map(|(_, network)| *network);
        let network = if let Some(network) = fresh {
            network
        } else {
            let Some(network) = self.read().await? else {
                let why = format!(
                    "the identity of the plane's SideroLink network (Secret {LINK_NAMESPACE}/{}) was not made yet",
                    siderolink::SECRET_NAME
                );
                return Ok(Err(Trouble::without_sidero_link(&why)));
            };
            self.tell(network).await?;
            *known = Some((Instant::now(), network));
            network
        };
        Ok(Ok(siderolink::documents(endpoint, network.server().into())))
    }

    /// Says the plane's address on the Plane object: the boot services tell it to machines, and may not read the Secret.
    async fn tell(&self, network: Network) -> Result<(), Error> {
        let planes: Api<Plane> = Api::all(self.client.clone());
        let object = || format!("Plane {NAME}");
        let plane = planes.get(NAME).await.map_err(Error::api("get", object()))?;
        let address = network.server().to_string();
        let told = plane.metadata.annotations.as_ref().and_then(|all| all.get(SIDERO_LINK_ANNOTATION));
        if told == Some(&address) {
            return Ok(());
        }
        let change = json!({ "metadata": { "annotations": { SIDERO_LINK_ANNOTATION: address } } });
        patch::merge(&planes, &plane, change, Part::Object, &PatchParams::default())
            .await
            .map_err(Error::api("patch", object()))?;
        Ok(())
    }

    async fn read(&self) -> Result<Option<Network>, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), LINK_NAMESPACE);
        let object = || format!("Secret {LINK_NAMESPACE}/{}", siderolink::SECRET_NAME);
        let secret = secrets.get_opt(siderolink::SECRET_NAME).await.map_err(Error::api("get", object()))?;
        let id = secret.and_then(|secret| secret.data?.remove(siderolink::INSTALLATION_ID));
        let id = id.and_then(|id| String::from_utf8(id.0).ok()).filter(|id| !id.is_empty());
        Ok(id.map(|id| Network::of_installation(&id)))
    }
}

/// The bootstrap data as it was read.
enum Read {
    Missing,
    NoValue,
    Value(Zeroizing<String>),
}

impl Read {
    fn of(secret: Option<Secret>) -> Self {
        let Some(secret) = secret else { return Self::Missing };
        let octets = secret.data.and_then(|mut data| data.remove(DATA_KEY));
        let text = octets.and_then(|octets| String::from_utf8(octets.0).ok());
        text.map_or(Self::NoValue, |text| Self::Value(Zeroizing::new(text)))
    }
}

impl Shared {
    pub(super) fn metal_machine(
        &self,
        binding: &ServerBinding,
    ) -> Option<Arc<DeserializeGuard<MetalMachine>>> {
        let Place { namespace, name } = sources::metal_machine(binding);
        self.metal_machines.get(&ObjectRef::new(&name).within(&namespace))
    }

    /// What is there, or what is waited for before anything can be made.
    pub(super) async fn gather(&self, binding: &ServerBinding) -> Result<Result<Gathered, Trouble>, Error> {
        let documents = match self.link.documents().await? {
            Ok(documents) => documents,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let data = self.place_of_data(binding)?;
        let server = self.servers.named(&binding.name_any()).map(|found| taken(&found)).transpose()?;
        let class = class_name(binding).and_then(|name| self.classes.named(name));
        let class = class.map(|found| taken(&found)).transpose()?;
        let (version, read) = match &data {
            Err(failure) => (failure.message.clone(), None),
            Ok(place) => {
                let known = self.data.get(&ObjectRef::new(&place.name).within(&place.namespace));
                if let Some(known) = known {
                    (version(known.meta()), None)
                } else {
                    // Without the label of a cluster, or not there.
                    let secret = self.read_data(place).await?;
                    let found = secret.as_ref().map(|secret| version(&secret.metadata));
                    (found.unwrap_or_default(), Some(Read::of(secret)))
                }
            }
        };
        let sources = digest(&json!({
            "form": FORM,
            "binding": binding.metadata.uid,
            "cluster": binding.metadata.labels,
            "data": [data.as_ref().ok().map(ToString::to_string), Some(version)],
            "documents": documents,
            "server": server.as_ref().map(|server: &Server| {
                json!([server.metadata.name, server.spec.config_patches, server.spec.strategic_patches])
            }),
            "class": class.as_ref().map(|class: &ServerClass| {
                json!([class.metadata.name, class.spec.config_patches, class.spec.strategic_patches])
            }),
        }));
        Ok(Ok(Gathered { data, read, server, class, documents, sources }))
    }

    /// Everything, or where the way to it ended.
    pub(super) async fn plan(
        &self,
        binding: &ServerBinding,
        gathered: Gathered,
    ) -> Result<Result<Plan, Failure>, Error> {
        let Gathered { data, read, server, class, documents, sources: _ } = gathered;
        let place = match data {
            Ok(place) => place,
            Err(failure) => return Ok(Err(failure)),
        };
        let read = match read {
            Some(read) => read,
            None => Read::of(self.read_data(&place).await?),
        };
        let data = match &read {
            Read::Missing => Data::Missing,
            Read::NoValue => Data::NoValue,
            Read::Value(text) => Data::Value(text),
        };
        let found = sources::complete(binding, &place, data, server.as_ref(), class.as_ref());
        Ok(found.map(|found| Plan {
            bootstrap: Zeroizing::new(found.bootstrap.to_owned()),
            server: found.server.clone(),
            class: found.class.cloned(),
            documents,
        }))
    }

    fn place_of_data(&self, binding: &ServerBinding) -> Result<Result<Place, Failure>, Error> {
        let metal_machine = self.metal_machine(binding).map(|found| taken(&found)).transpose()?;
        let named = metal_machine.as_ref().and_then(|machine| owner(&machine.metadata, GROUP, "Machine"));
        let Some((metal_machine, named)) = metal_machine.as_ref().zip(named) else {
            return Ok(sources::data_secret(binding, metal_machine.as_ref(), Owner::None));
        };
        let namespace = metal_machine.namespace().unwrap_or_default();
        let machine = self.machines.get(&ObjectRef::new(&named.name).within(&namespace));
        let machine: Option<Machine> = machine.map(|found| taken(&found)).transpose()?;
        let owner = machine.as_ref().map_or(Owner::Missing(&named.name), Owner::Found);
        Ok(sources::data_secret(binding, Some(metal_machine), owner))
    }

    async fn read_data(&self, place: &Place) -> Result<Option<Secret>, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.frame.client.clone(), &place.namespace);
        secrets.get_opt(&place.name).await.map_err(Error::api("get", format!("Secret {place}")))
    }
}

/// An object of a cache.
fn taken<K: Resource<DynamicType = ()> + Clone>(found: &Arc<DeserializeGuard<K>>) -> Result<K, Error> {
    readable(found.as_ref().clone())
}

/// Which object this is, and which version of it.
fn version(meta: &ObjectMeta) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&meta.uid), part(&meta.resource_version))
}

fn digest(sources: &Value) -> String {
    format!("{:x}", Sha256::digest(sources.to_string()))
}
