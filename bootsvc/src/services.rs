//! What the boot services work with, each part made once.

use std::net::SocketAddr;
use std::sync::Arc;

use bloomery_api::{Environment, ServerBinding, ServerClass};
use bloomery_config::SideroOptions;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::advertise::{Advertise, Resolver};
use crate::authority::PlaneAuthority;
use crate::cache::Cache;
use crate::config::{Args, ConfigError};
use crate::directories::Directories;
use crate::edge::Edge;
use crate::events::Events;
use crate::kubernetes::Kubernetes;
use crate::loaders::LoaderStore;
use crate::machines::Machines;
use crate::neighbours::Neighbours;
use crate::servers::Servers;
use crate::siderolink::SideroLink;
use crate::sources::Sources;
use crate::tokens::Tokens;

/// Directory of the iPXE binaries below `--share-dir`.
const LOADER_DIRECTORY: &str = "ipxe";
/// Directory of the agents below `--share-dir`.
const AGENT_DIRECTORY: &str = "agent";

/// Everything that the services look up, each kind by one watch.
pub struct Objects {
    pub servers: Servers,
    pub bindings: Cache<ServerBinding>,
    pub classes: Cache<ServerClass>,
    pub environments: Cache<Environment>,
}

impl Objects {
    /// The caches, and the watches that keep them up to date while they are polled. `listed` makes for each resource
    /// what is called once all of its objects are known.
    pub fn watch<L: Fn() + Send + 'static>(
        kubernetes: &Kubernetes,
        listed: impl Fn(&'static str) -> L,
    ) -> (Self, [BoxFuture<'static, ()>; 4]) {
        let api = || {
            let kubernetes = kubernetes.clone();
            move || kubernetes.client()
        };
        let (servers, all_servers) = Servers::watch(api(), listed("servers"));
        let (bindings, all_bindings) = Cache::watch(api(), listed("serverbindings"));
        let (classes, all_classes) = Cache::watch(api(), listed("serverclasses"));
        let (environments, all_environments) = Cache::watch(api(), listed("environments"));
        let watches =
            [all_servers.boxed(), all_bindings.boxed(), all_classes.boxed(), all_environments.boxed()];
        (Self { servers, bindings, classes, environments }, watches)
    }
}

pub struct Services {
    pub sidero: SideroOptions,
    /// What needs no Kubernetes API.
    pub edge: Edge,
    pub kubernetes: Kubernetes,
    pub authority: PlaneAuthority,
    pub objects: Objects,
    /// Who was given which boot.
    pub tokens: Tokens,
    /// Where events go.
    pub events: Events,
    /// Who is served while nobody accepted it.
    pub machines: Machines,
    /// Who is on our networks.
    pub neighbours: Neighbours,
    pub directories: Directories,
    /// The plane's own network.
    pub link: SideroLink,
    /// Where SideroLink takes calls for a tunnel.
    pub siderolink_addr: SocketAddr,
}

impl Services {
    /// Made from the command line; the resolver is to be run.
    pub fn build(
        args: &Args,
        kubernetes: Kubernetes,
        objects: Objects,
    ) -> Result<(Arc<Self>, Resolver), ConfigError> {
        let options = args.options();
        let sidero = options.sidero.clone();
        let (advertise, resolver) = Advertise::new(args.endpoint()?, sidero.api_port);
        let mut edge = Edge::new(advertise, LoaderStore::new(args.share_dir.join(LOADER_DIRECTORY)));
        if sidero.disable_dhcp_proxy {
            edge.sources = Sources::without_dhcp();
        }
        let services = Self {
            authority: PlaneAuthority::new(kubernetes.clone(), &args.plane_dir, sidero.auto_accept_non_empty),
            objects,
            tokens: Tokens::new(kubernetes.clone(), sidero.require_agent_token),
            events: Events::start(kubernetes.clone()),
            machines: Machines::new(options.unknown_machines, args.machines()?),
            neighbours: Neighbours::default(),
            link: SideroLink::default(),
            directories: Directories {
                environments: args.env_dir.clone(),
                agents: args.share_dir.join(AGENT_DIRECTORY),
            },
            siderolink_addr: args.siderolink_addr,
            kubernetes,
            edge,
            sidero,
        };
        Ok((Arc::new(services), resolver))
    }
}
