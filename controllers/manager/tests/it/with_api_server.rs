//! Against a real etcd and kube-apiserver (see `bloomery-testkit`): `make test-apiserver` names these by this module.

mod admission;
mod apply_once;
mod bmcs;
mod clusterctl;
mod control_planes;
mod configurations;
mod environments;
mod fence;
mod identity;
mod manifests;
mod metal_machines;
mod policies;
mod secrets_at_rest;
mod servers;
mod servers_stale;
mod talos_configs;
mod talos_configs_golden;
mod siderolink_secret;
