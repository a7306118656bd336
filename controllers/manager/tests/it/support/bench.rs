//! A control plane to try the product on, one at a time.

use std::path::PathBuf;

use bloomery_api::{Environment, EnvironmentSpec, Server};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::controllers::{Controllers, Setup};
use bloomery_testkit::ControlPlane;

/// Two control planes at a time: each needs a third of a gigabyte, and mostly waits.
static AT_A_TIME: Semaphore = Semaphore::const_new(2);

/// A control plane with manifests to apply; the permit is let go last.
pub(crate) struct Bench {
    /// Manifests and programs.
    pub(crate) setup: Setup,
    /// The API server.
    pub(crate) plane: ControlPlane,
    /// An administrator.
    pub(crate) client: Client,
    _permit: SemaphorePermit<'static>,
}

impl Bench {
    /// With nothing applied.
    pub(crate) async fn start() -> Self {
        Self::under(AT_A_TIME.acquire().await.unwrap()).await
    }

    /// Two side by side. Both permits are taken at once, so that no two tests wait for each other's.
    pub(crate) async fn start_two() -> [Self; 2] {
        let mut first = AT_A_TIME.acquire_many(2).await.unwrap();
        let second = first.split(1).unwrap();
        tokio::join!(Self::under(first), Self::under(second)).into()
    }

    async fn under(permit: SemaphorePermit<'static>) -> Self {
        let plane = ControlPlane::start().await;
        let setup = Setup::new(&plane);
        let client = plane.client("admin", &["system:masters"]).await;
        Self { setup, plane, client, _permit: permit }
    }

    /// With everything applied and the controllers running.
    pub(crate) async fn with_controllers() -> (Self, Controllers) {
        let bench = Self::start().await;
        bench.apply();
        bench.create_idle_defaults().await;
        let controllers = bench.setup.run(&bench.plane).await;
        (bench, controllers)
    }

    /// With everything applied and the controllers running with further flags.
    pub(crate) async fn with_controllers_and(flags: &[&str]) -> (Self, Controllers) {
        let bench = Self::start().await;
        bench.apply();
        bench.create_idle_defaults().await;
        let controllers = bench.setup.run_with(&bench.plane, flags).await;
        (bench, controllers)
    }

    /// Makes the reserved Environments without URLs: no test fetches a release from the Internet.
    pub(crate) async fn create_idle_defaults(&self) {
        let environments: Api<Environment> = self.all();
        for name in ["default", "default-arm64"] {
            let idle = Environment::new(name, EnvironmentSpec::default());
            environments.create(&PostParams::default(), &idle).await.unwrap();
        }
    }

    /// Applies the manifests.
    pub(crate) fn apply(&self) {
        let applied = self.setup.apply(&self.plane);
        assert!(applied.success, "{}", applied.output);
    }

    /// A directory with the certificate of a webhook server, under a name of its own.
    pub(crate) fn webhook_certificates(&self, name: &str) -> PathBuf {
        let directory = self.plane.directory().join(name);
        std::fs::create_dir(&directory).unwrap();
        let identity = self.plane.authority.issue(name, &[]);
        std::fs::copy(identity.certificate_file, directory.join("tls.crt")).unwrap();
        std::fs::copy(identity.key_file, directory.join("tls.key")).unwrap();
        directory
    }

    /// All objects of a kind.
    pub(crate) fn all<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>,
    {
        Api::all(self.client.clone())
    }

    /// Merges a patch into an object.
    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        self.all::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
    }
}

/// A Server as the boot services register it: its one disk was read and is blank.
pub(crate) fn registered(name: &str) -> Server {
    serde_json::from_value(json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": name },
        "spec": { "accepted": false, "hostname": "host-1", "hardware": {
            "system": { "uuid": name, "manufacturer": "QEMU" },
            "memory": { "totalSize": "2 GB", "moduleCount": 1 },
            "storage": { "devices": [{ "deviceName": "/dev/sda", "size": 8_000_000_000_u64, "contents": { "found": [] } }] },
        } },
    }))
    .unwrap()
}
