//! Talos machine configurations, secrets and client credentials by Talos's own library.
//!
//! The library runs as `talosconfig`, an applet of the control plane's program: a child without network, capabilities and
//! files (`bloomery_sys::launcher`), which reads one JSON request per line and writes one answer per line. Nothing here
//! generates, merges or judges a configuration. What the child says is bounded and checked; a child that is silent too
//! long, ends, or says what is no answer is replaced, and the request at hand alone fails.
//!
//! A program that confines itself starts the launcher first:
//!
//! ```no_run
//! use bloomery_talosconfig::{Client, Generate, Launcher, Limits, Patch, SecretsBundle};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // In `main`, before there are threads: the subcommand comes to `bloomery_talosconfig::serve_launcher`.
//! let mut command = std::process::Command::new("/proc/self/exe");
//! command.args(["talosconfig-launcher", "/usr/bin/talosconfig"]);
//! let launcher = Launcher::start(command)?;
//!
//! let client = Client::new(launcher, Limits::default());
//! let bundle = SecretsBundle::from(client.new_secrets("v1.13").await?);
//! let config = client
//!     .generate(&Generate {
//!         patches: vec![Patch::strategic("machine: {install: {disk: /dev/sda}}")],
//!         ..Generate::new("controlplane", "c1", bloomery_talosconfig::endpoint("10.0.0.1", 6443), bundle)
//!     })
//!     .await?;
//! # drop(config); Ok(()) }
//! ```
//!
//! Texts that hold secrets are [`Secret`]s: they are wiped when dropped, and never shown by `Debug`.

mod answer;
mod client;
mod error;
mod process;
mod program;
mod request;
mod secret;

pub use answer::{ClientCertificate, Inspected, KeyPair, SecretsCas, Validation, Version};
pub use bloomery_sys::launcher::{Error as LauncherError, Launcher};
pub use client::{Client, Limits};
pub use error::{Code, Error, Refusal};
pub use program::serve_launcher;
pub use request::{Generate, Install, Level, Patch, SecretsBundle, endpoint};
pub use secret::Secret;
