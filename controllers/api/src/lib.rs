//! The Kubernetes API of the machines: kinds, their schemas and conversions, and the pure decisions on them.
//!
//! Duty: types of the groups `metal.sidero.dev` and `infrastructure.cluster.x-k8s.io` to the field, the
//! CRDs generated from them, conversion between served versions, class membership, and the one decision
//! function that the controllers and the boot server share.
//! Never: talk to a cluster, a disk or a clock. Everything here is a function of its arguments.

// Comments become the schemas' descriptions, where kinds stand without backticks.
#![allow(clippy::doc_markdown)]
// Tables of cases: closures over objects, and objects written where they are used.
#![cfg_attr(
    test,
    allow(
        clippy::needless_for_each,
        clippy::needless_pass_by_value,
        clippy::semicolon_if_nothing_returned,
        clippy::similar_names,
        clippy::type_complexity
    )
)]

pub mod arch;
pub mod boot_method;
pub mod bootstrap;
pub mod condition;
pub mod contents;
pub mod contract;
pub mod controlplane;
pub mod conversion;
pub mod crds;
pub mod decision;
pub mod environment;
pub mod evidence;
pub mod exempt;
pub mod hardware;
pub mod infrastructure;
pub mod ledger;
pub mod lookup;
pub mod marks;
pub mod metadata;
pub mod metal_cluster;
pub mod metal_machine;
pub mod metal_machine_template;
pub mod patch;
pub mod placeholder;
pub mod plane;
pub mod readiness;
pub mod server;
pub mod server_binding;
pub mod server_class;
pub mod siderolink;
pub mod talos_config;
pub mod talos_config_template;
pub mod talos_control_plane;
pub mod talos_control_plane_template;
pub mod trust;

mod schema;
mod zero;

pub use condition::{Condition, ConditionStatus, Severity};
pub use environment::{Environment, EnvironmentSpec, EnvironmentStatus};
pub use hardware::HardwareInformation;
pub use metal_cluster::{MetalCluster, MetalClusterSpec, MetalClusterStatus};
pub use metal_machine::{MetalMachine, MetalMachineSpec, MetalMachineStatus};
pub use metal_machine_template::{
    MetalMachineTemplate, MetalMachineTemplateSpec, MetalMachineTemplateStatus,
};
pub use plane::Plane;
pub use server::{Server, ServerSpec, ServerStatus};
pub use server_binding::{ServerBinding, ServerBindingSpec, ServerBindingStatus};
pub use server_class::{ServerClass, ServerClassSpec, ServerClassStatus};
pub use talos_config::{TalosConfig, TalosConfigSpec, TalosConfigStatus};
pub use talos_config_template::{TalosConfigTemplate, TalosConfigTemplateSpec};
pub use talos_control_plane::{TalosControlPlane, TalosControlPlaneSpec, TalosControlPlaneStatus};
pub use talos_control_plane_template::{TalosControlPlaneTemplate, TalosControlPlaneTemplateSpec};

/// API group of Server, ServerClass and Environment.
pub const METAL_GROUP: &str = "metal.sidero.dev";
/// API group of the Cluster API infrastructure kinds.
pub const INFRASTRUCTURE_GROUP: &str = "infrastructure.cluster.x-k8s.io";
/// API group of TalosConfig and its template.
pub const BOOTSTRAP_GROUP: &str = "bootstrap.cluster.x-k8s.io";
/// API group of TalosControlPlane and its template.
pub const CONTROL_PLANE_GROUP: &str = "controlplane.cluster.x-k8s.io";
