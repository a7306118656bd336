//! The phases' work, one file each. Each says in its head what its failure leaves.

pub mod announce;
pub mod clock;
pub mod config;
pub mod hardening;
pub mod hostname;
pub mod kill_processes;
pub mod logs;
pub mod loopback;
pub mod modules;
pub mod mounts;
pub mod network;
pub mod pki;
pub mod services;
pub mod state;
pub mod stop_network;
pub mod stop_services;
pub mod unmount_state;
