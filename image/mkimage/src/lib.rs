//! Builder of the appliance's disk image from locked Debian packages, the files under
//! `image/rootfs/` and our own programs. It must never need root, a mount or a loop device, and
//! never let the time, the place or the order of a build reach the bits.

#![allow(missing_docs, reason = "a program: nothing is built on it")]

pub mod advisories;
pub mod apt;
pub mod build;
pub mod cli;
pub mod cluster_api;
pub mod clusterctl;
pub mod components;
pub mod disk;
pub mod initramfs;
pub mod kernel;
pub mod lock;
pub mod packages;
pub mod reproducible;
pub mod rootfs;
pub mod settings;
pub mod squashfs;
pub mod stage;
pub mod tool;
pub mod tree;
pub mod yaml;
