//! Makes machines. The names of the next one follow from the number of those that were made, so that whoever was interrupted goes on,
//! and of two programs that make one at once only one does.

use std::fmt::Debug;

use bloomery_api::contract::Machine;
use bloomery_api::controlplane::naming::{MADE_ANNOTATION, generated, machine as machine_name, made, suffix};
use bloomery_api::controlplane::objects::{self, Names, failure_domain, owned_by};
use bloomery_api::controlplane::outdated;
use bloomery_api::controlplane::pass::is_template;
use bloomery_api::controlplane::seen::{Origin, SeenMachine};
use bloomery_api::infrastructure::verdict::Verdict;
use bloomery_api::{TalosConfig, TalosConfigSpec};
use bloomery_platform::chain;
use bloomery_platform::patch::{self, Part};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::info;

use super::reconcile::Scene;
use crate::reconcile::Error;

const INFRASTRUCTURE_FAILED: &str = "InfrastructureTemplateCloningFailed";
const CONFIG_FAILED: &str = "BootstrapTemplateCloningFailed";
const MACHINE_FAILED: &str = "MachineGenerationFailed";

/// What became of a create.
enum Made {
    New,
    /// It was there, and is what would have been made.
    Before,
}

impl Scene<'_> {
    /// The kind of the infrastructure template.
    async fn template_kind(&self) -> Result<ApiResource, Error> {
        let reference = &self.control_plane.spec.infrastructure_template;
        let api_version = reference.api_version.as_deref().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or((api_version, ""));
        let (kind, given) = (reference.kind.as_deref().unwrap_or_default(), Some(version));
        let given = given.filter(|version| !version.is_empty());
        self.shared.kinds.find(&self.shared.frame.urgent, group, kind, given).await
    }

    fn dynamic(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.shared.frame.urgent.clone(), &self.namespace, resource)
    }

    /// Has the Cluster own the template, so that it moves and goes with it. What is wrong with the template is said where machines
    /// are made.
    pub(super) async fn keep_template(&self) -> Result<Verdict, Error> {
        let reference = &self.control_plane.spec.infrastructure_template;
        let name = reference.name.clone().unwrap_or_default();
        let resource = match self.template_kind().await {
            Ok(resource) => resource,
            Err(error) => return Ok(Verdict::fails(INFRASTRUCTURE_FAILED, chain(&error))),
        };
        let api = self.dynamic(&resource);
        let object = format!("{} {}/{name}", resource.kind, self.namespace);
        let Some(template) = api.get_opt(&name).await.map_err(Error::api("get", object.clone()))? else {
            return Ok(Verdict::fails(INFRASTRUCTURE_FAILED, format!("{object} does not exist")));
        };
        if is_template(reference) {
            let cluster = OwnerReference {
                api_version: bloomery_api::contract::Cluster::api_version(&()).into_owned(),
                kind: "Cluster".to_owned(),
                name: self.cluster.name_any(),
                uid: self.cluster.uid().unwrap_or_default(),
                ..OwnerReference::default()
            };
            if let Some(owners) = owned_by(template.owner_references(), &cluster) {
                let change = json!({ "metadata": { "ownerReferences": owners } });
                patch::merge(&api, &template, change, Part::Object, &PatchParams::default())
                    .await
                    .map_err(Error::api("patch", object))?;
            }
        }
        Ok(Verdict::holds("Created"))
    }

    /// Makes the next machine, or says what is in the way.
    pub(super) async fn create(&self, machines: &[SeenMachine]) -> Result<Result<(), Verdict>, Error> {
        let count = made(&self.control_plane);
        let random = suffix(&self.control_plane, count);
        let cluster = self.cluster_name().unwrap_or_default();
        let machine = match machine_name(&self.control_plane, cluster, &random) {
            Ok(machine) => machine,
            Err(error) => return Ok(Err(Verdict::fails(MACHINE_FAILED, error.to_string()))),
        };
        if machines.iter().any(|seen| seen.name() == machine) {
            // It was made, but not counted.
            return self.count(count).await.map(Ok);
        }
        let template_name = self.control_plane.spec.infrastructure_template.name.clone().unwrap_or_default();
        let names = Names { machine, infrastructure: generated(&template_name, &random) };
        let (group, kind) = match self.clone_infrastructure(cluster, &names, &template_name).await? {
            Ok(kind) => kind,
            Err(verdict) => return Ok(Err(verdict)),
        };
        let spec = self.config_of_next(machines);
        let config = objects::config(&self.control_plane, cluster, &names, spec);
        let configs = self.api::<TalosConfig>();
        let is_same = |found: &TalosConfig| found.spec == *spec;
        if let Err(error) = make(&configs, &names.machine, &config, is_same).await {
            return refused(error, CONFIG_FAILED);
        }
        let taken: Vec<&str> =
            machines.iter().map(|seen| seen.machine.spec.failure_domain.as_str()).collect();
        let domain = failure_domain(&self.cluster, &taken);
        let machine = objects::machine(&self.control_plane, cluster, &names, (&group, &kind), domain);
        let resource = ApiResource::erase::<Machine>(&());
        match make(&self.dynamic(&resource), &names.machine, &machine, |_| true).await {
            Ok(Made::New) => {
                info!(control_plane = %self.object(), machine = names.machine, "machine made");
                self.announce("MachineCreated", "Create", format!("Machine {} is made", names.machine));
                self.count(count).await.map(Ok)
            }
            Ok(Made::Before) => self.count(count).await.map(Ok),
            Err(error) => refused(error, MACHINE_FAILED),
        }
    }

    /// One more machine was made.
    async fn count(&self, before: u64) -> Result<(), Error> {
        let made = (before + 1).to_string();
        self.change(json!({ "metadata": { "annotations": { MADE_ANNOTATION: made } } })).await.map(drop)
    }

    /// The first machine may have a configuration of its own; deprecated.
    fn config_of_next(&self, machines: &[SeenMachine]) -> &TalosConfigSpec {
        let configs = &self.control_plane.spec.control_plane_config;
        match &configs.init {
            Some(init) if machines.is_empty() && !init.generate_type.is_empty() => init,
            Some(_) | None => &configs.controlplane,
        }
    }

    /// The infrastructure object; returns its group and kind.
    async fn clone_infrastructure(
        &self,
        cluster: &str,
        names: &Names,
        template_name: &str,
    ) -> Result<Result<(String, String), Verdict>, Error> {
        let fails = |message: String| Ok(Err(Verdict::fails(INFRASTRUCTURE_FAILED, message)));
        let template_kind = match self.template_kind().await {
            Ok(resource) => resource,
            Err(error) => return fails(chain(&error)),
        };
        let object = format!("{} {}/{template_name}", template_kind.kind, self.namespace);
        let found = self.dynamic(&template_kind).get_opt(template_name).await;
        let Some(template) = found.map_err(Error::api("get", object.clone()))? else {
            return fails(format!("{object} does not exist"));
        };
        let mut template = serde_json::to_value(&template).unwrap_or_default();
        template["apiVersion"] = json!(template_kind.api_version);
        template["kind"] = json!(template_kind.kind);
        let made = objects::infrastructure(&self.control_plane, cluster, names, &template);
        let Some(mut made) = made else { return fails(format!("{object} has no spec.template.spec")) };
        let kind = made["kind"].as_str().unwrap_or_default().to_owned();
        let group = template_kind.group.clone();
        let version = Some(template_kind.version.as_str());
        let resource = match self.shared.kinds.find(&self.shared.frame.urgent, &group, &kind, version).await {
            Ok(resource) => resource,
            Err(error) => return fails(chain(&error)),
        };
        made["apiVersion"] = json!(resource.api_version);
        let origin = outdated::template(&self.control_plane);
        let is_same = |found: &DynamicObject| Origin::of(&found.metadata).as_ref() == Some(&origin);
        match make(&self.dynamic(&resource), &names.infrastructure, &made, is_same).await {
            Ok(_) => Ok(Ok((group, kind))),
            Err(error) => refused(error, INFRASTRUCTURE_FAILED),
        }
    }
}

/// Creates an object. What an interrupted try left is taken, or deleted if the spec has changed since.
async fn make<K>(
    api: &Api<K>,
    name: &str,
    object: &impl Serialize,
    is_same: impl Fn(&K) -> bool,
) -> Result<Made, Error>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let described = || name.to_owned();
    let value = serde_json::to_value(object).unwrap_or_default();
    let object: K = serde_json::from_value(value)
        .map_err(|error| Error::Invalid { object: described(), problem: error.to_string() })?;
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => return Ok(Made::New),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(Error::api("create", described())(error)),
    }
    let Some(found) = api.get_opt(name).await.map_err(Error::api("get", described()))? else {
        return Err(Error::Node { object: described(), problem: "it was there and is gone".to_owned() });
    };
    if is_same(&found) && found.meta().deletion_timestamp.is_none() {
        return Ok(Made::Before);
    }
    let operation = Error::api("delete", described());
    api.delete(name, &DeleteParams::default()).await.map_err(operation)?;
    Err(Error::Node { object: described(), problem: "an older one is being deleted".to_owned() })
}

/// What the API server refuses is said in a condition; what it did not answer is tried again.
fn refused<T>(error: Error, reason: &str) -> Result<Result<T, Verdict>, Error> {
    let is_refusal = match &error {
        Error::Api { source, .. } => {
            matches!(source.as_ref(), kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 409)
        }
        Error::Invalid { .. } => true,
        Error::File { .. } | Error::Node { .. } | Error::Talos { .. } => false,
    };
    if is_refusal { Ok(Err(Verdict::fails(reason, chain(&error)))) } else { Err(error) }
}
