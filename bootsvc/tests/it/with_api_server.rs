//! Against a real etcd and kube-apiserver (see `bloomery-testkit`): `make test-apiserver` names these by this module.

mod machines;
mod network;
