//! The kernel's own file systems, and the run-time directory.
//!
//! A missing one leaves the others; most of them are there already when the initramfs hands over.

use crate::context::Context;
use crate::files;
use crate::network::RESOLV_CONF;
use crate::sequence::Work;
use bloomery_base::chain;
use bloomery_sys::mount;
use std::path::Path;

/// Some of the kernel's file systems are missing.
#[derive(Debug, thiserror::Error)]
#[error("failed to mount {0}")]
struct Missing(String);

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let missing: Vec<String> = mount::mount_api_file_systems(context.container)
            .into_iter()
            .filter_map(|mount| Some(format!("{} ({})", mount.target.display(), chain(&mount.error?))))
            // Without control groups services are ended by process group.
            .filter(|missing| !(context.container && missing.starts_with("/sys")))
            .collect();
        files::directory(&context.layout.run, files::PUBLIC_DIR, None)?;
        // Before the services: what is not there when they start, they cannot keep.
        if let Some(directory) = Path::new(RESOLV_CONF).parent() {
            files::directory(directory, files::PUBLIC_DIR, None)?;
        }
        tokio::spawn(context.status.clone().publish(context.layout.status()));
        if missing.is_empty() { Ok(()) } else { Err(Missing(missing.join(", ")).into()) }
    })
}
