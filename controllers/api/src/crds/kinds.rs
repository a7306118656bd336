//! Which kinds there are, with their columns, versions and provider.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::further::{self, Further};
use crate::schema::Column;
use crate::{
    environment, metal_cluster, metal_machine, metal_machine_template, plane, server, server_binding,
    server_class, talos_config, talos_config_template, talos_control_plane, talos_control_plane_template,
};

/// A provider of Cluster API, as its definitions are labelled.
#[derive(Clone, Copy)]
pub(super) struct Provider {
    pub(super) name: &'static str,
    /// Version that serves contract v1beta2.
    pub(super) v1beta2: &'static str,
}

/// Its status has the fields of both contracts.
const INFRASTRUCTURE: Option<Provider> = Some(Provider { name: "sidero", v1beta2: "v1alpha3" });
/// `status.conditions` of the two contracts differ, so that a version of its own serves the newer one.
const BOOTSTRAP: Option<Provider> = Some(Provider { name: "bootstrap-talos", v1beta2: "v1beta1" });
/// The same.
const CONTROL_PLANE: Option<Provider> = Some(Provider { name: "control-plane-talos", v1beta2: "v1beta1" });

/// A kind.
pub(super) struct Kind {
    /// What its type says of the stored version.
    pub(super) stored: fn() -> CustomResourceDefinition,
    /// Columns of the stored version.
    pub(super) columns: &'static [Column],
    /// A kind without a provider is one that only Bloomery has: it has one version, and is never moved along.
    pub(super) provider: Option<Provider>,
    /// The further served versions, in the definition's order.
    pub(super) further: &'static [Further],
}

const fn kind(
    stored: fn() -> CustomResourceDefinition,
    columns: &'static [Column],
    provider: Option<Provider>,
    further: &'static [Further],
) -> Kind {
    Kind { stored, columns, provider, further }
}

/// All of them.
pub(super) const KINDS: &[Kind] = &[
    kind(server::Server::crd, &server::COLUMNS, INFRASTRUCTURE, &[further::SERVER]),
    kind(server_class::ServerClass::crd, &server_class::COLUMNS, INFRASTRUCTURE, &[further::SERVER_CLASS]),
    kind(environment::Environment::crd, &environment::COLUMNS, INFRASTRUCTURE, &[further::ENVIRONMENT]),
    kind(server_binding::ServerBinding::crd, &server_binding::COLUMNS, INFRASTRUCTURE, &[]),
    kind(
        metal_cluster::MetalCluster::crd,
        &metal_cluster::COLUMNS,
        INFRASTRUCTURE,
        &[further::METAL_CLUSTER],
    ),
    kind(
        metal_machine::MetalMachine::crd,
        &metal_machine::COLUMNS,
        INFRASTRUCTURE,
        &[further::METAL_MACHINE],
    ),
    kind(
        metal_machine_template::MetalMachineTemplate::crd,
        &metal_machine_template::COLUMNS,
        INFRASTRUCTURE,
        &[further::METAL_MACHINE_TEMPLATE],
    ),
    kind(talos_config::TalosConfig::crd, &[], BOOTSTRAP, &further::TALOS_CONFIG),
    kind(talos_config_template::TalosConfigTemplate::crd, &[], BOOTSTRAP, &further::TALOS_CONFIG_TEMPLATE),
    kind(
        talos_control_plane::TalosControlPlane::crd,
        &talos_control_plane::COLUMNS,
        CONTROL_PLANE,
        &[further::TALOS_CONTROL_PLANE],
    ),
    kind(
        talos_control_plane_template::TalosControlPlaneTemplate::crd,
        &talos_control_plane_template::COLUMNS,
        CONTROL_PLANE,
        &[further::TALOS_CONTROL_PLANE_TEMPLATE],
    ),
    kind(plane::Plane::crd, &plane::COLUMNS, None, &[]),
];
