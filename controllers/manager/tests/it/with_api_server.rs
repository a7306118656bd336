//! Against a real etcd and kube-apiserver (see `bloomery-testkit`): `make test-apiserver` names these by this module.

mod admission;
mod allocation_requests;
mod apply_once;
mod bmcs;
mod clusterctl;
mod configurations;
mod control_planes;
mod environments;
mod fence;
mod identity;
mod manifests;
mod metal_machines;
mod policies;
mod provider_ids;
mod secrets_at_rest;
mod servers;
mod servers_stale;
mod siderolink_secret;
mod talos_configs;
mod talos_configs_golden;
mod talos_configs_secrets;
