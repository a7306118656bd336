//! Nodes that speak the Talos machine API by mutual TLS, and the one etcd that they share: a table of members.
//!
//! Nothing of Talos runs. What a provider would do wrong on real nodes is refused or recorded here: a second etcd, a quorum
//! lost by a removal.

mod pki;
mod service;
mod table;

use std::sync::Arc;

use bloomery_machineapi::proto::machine::machine_service_server::MachineServiceServer;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

pub use table::{Call, Etcd, EtcdMember};

use pki::Pki;
use service::Service;
use table::Table;

/// The nodes of one cluster. Clones share them.
#[derive(Clone)]
pub struct TalosCluster {
    pki: Arc<Pki>,
    table: Arc<Mutex<Table>>,
}

/// A running node. Dropping it turns it off.
pub struct TalosNode {
    /// Its name.
    pub hostname: String,
    /// `127.0.0.1:<port>`.
    pub address: String,
    table: Arc<Mutex<Table>>,
    _server: AbortOnDropHandle<()>,
}

impl Default for TalosCluster {
    fn default() -> Self {
        Self { pki: Arc::new(Pki::new()), table: Arc::default() }
    }
}

impl TalosCluster {
    /// With the authority of a cluster's secrets, PEM: clients by its talosconfig are let in.
    pub fn of(authority: &str, key: &str) -> Self {
        Self { pki: Arc::new(Pki::of(authority, key)), table: Arc::default() }
    }

    /// A talosconfig of an administrator, with keys labelled as Talos labels them.
    pub fn talosconfig(&self, cluster: &str) -> String {
        self.pki.talosconfig(cluster)
    }

    /// Turns a node on.
    pub async fn boot(&self, hostname: &str) -> TalosNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (certificate, key) = self.pki.server();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(tonic::transport::Certificate::from_pem(self.pki.authority()));
        self.table.lock().boot(hostname);
        let service = Service { table: Arc::clone(&self.table), hostname: hostname.to_owned() };
        let serving = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(MachineServiceServer::new(service))
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        TalosNode {
            hostname: hostname.to_owned(),
            address,
            table: Arc::clone(&self.table),
            _server: AbortOnDropHandle::new(server),
        }
    }

    /// Lets every node that may do so go one step on its way into etcd: learner without a name, learner, voter.
    pub fn settle(&self) {
        self.table.lock().settle();
    }

    /// The members of etcd, in the order in which these joined.
    pub fn members(&self) -> Vec<EtcdMember> {
        self.table.lock().members()
    }

    /// Adds a member that no node has, as one that was lost leaves it. Returns its number.
    pub fn add_stray_member(&self, hostname: &str) -> u64 {
        self.table.lock().add_stray(hostname)
    }

    /// Writes the names of all members in upper case from now on.
    pub fn shout(&self) {
        self.table.lock().shout();
    }

    /// All calls so far that change something.
    pub fn calls(&self) -> Vec<Call> {
        self.table.lock().calls()
    }

    /// What must never happen and did.
    pub fn faults(&self) -> Vec<String> {
        self.table.lock().faults()
    }
}

impl TalosNode {
    /// Answers every bootstrap with this code from now on; `None`: does it.
    pub fn refuse_bootstrap(&self, code: Option<Code>) {
        self.table.lock().node(&self.hostname).refused_bootstrap = code;
    }

    /// Answers every request to leave etcd with an error from now on, or no more.
    pub fn refuse_leave(&self, refused: bool) {
        self.table.lock().node(&self.hostname).refuses_leave = refused;
    }

    /// Says that etcd on this node is unhealthy from now on, or no more.
    pub fn sicken(&self, sick: bool) {
        self.table.lock().node(&self.hostname).is_sick = sick;
    }

    /// Is inside of its boot sequence from now on, or no more.
    pub fn set_booting(&self, booting: bool) {
        self.table.lock().node(&self.hostname).is_booting = booting;
    }

    /// Whether etcd runs on it, with a vote.
    pub fn votes(&self) -> bool {
        let table = self.table.lock();
        table.votes(&self.hostname)
    }
}

impl Drop for TalosNode {
    fn drop(&mut self) {
        self.table.lock().turn_off(&self.hostname);
    }
}
