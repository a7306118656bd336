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

/// All of them.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        stored: server::Server::crd,
        columns: &server::COLUMNS,
        provider: INFRASTRUCTURE,
        further: &[further::SERVER],
    },
    Kind {
        stored: server_class::ServerClass::crd,
        columns: &server_class::COLUMNS,
        provider: INFRASTRUCTURE,
        further: &[further::SERVER_CLASS],
    },
    Kind {
        stored: environment::Environment::crd,
        columns: &environment::COLUMNS,
        provider: INFRASTRUCTURE,
        further: &[further::ENVIRONMENT],
    },
    Kind {
        stored: server_binding::ServerBinding::crd,
        columns: &server_binding::COLUMNS,
        provider: INFRASTRUCTURE,
        further: &[],
    },
    Kind {
        stored: metal_cluster::MetalCluster::crd,
        columns: &[],
        provider: INFRASTRUCTURE,
        further: &[further::METAL_CLUSTER],
    },
    Kind {
        stored: metal_machine::MetalMachine::crd,
        columns: &[],
        provider: INFRASTRUCTURE,
        further: &[further::METAL_MACHINE],
    },
    Kind {
        stored: metal_machine_template::MetalMachineTemplate::crd,
        columns: &[],
        provider: INFRASTRUCTURE,
        further: &[further::METAL_MACHINE_TEMPLATE],
    },
    Kind {
        stored: talos_config::TalosConfig::crd,
        columns: &[],
        provider: BOOTSTRAP,
        further: &further::TALOS_CONFIG,
    },
    Kind {
        stored: talos_config_template::TalosConfigTemplate::crd,
        columns: &[],
        provider: BOOTSTRAP,
        further: &further::TALOS_CONFIG_TEMPLATE,
    },
    Kind {
        stored: talos_control_plane::TalosControlPlane::crd,
        columns: &[],
        provider: CONTROL_PLANE,
        further: &[further::TALOS_CONTROL_PLANE],
    },
    Kind {
        stored: talos_control_plane_template::TalosControlPlaneTemplate::crd,
        columns: &talos_control_plane_template::COLUMNS,
        provider: CONTROL_PLANE,
        further: &[further::TALOS_CONTROL_PLANE_TEMPLATE],
    },
    Kind { stored: plane::Plane::crd, columns: &plane::COLUMNS, provider: None, further: &[] },
];
