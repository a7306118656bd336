//! File systems of the running system: the kernel's own and the run-time directory at boot, the state at shutdown.

use crate::context::Context;
use crate::files;
use crate::network::RESOLV_CONF;
use crate::outcome::Outcome;
use bloomery_base::chain;
use bloomery_sys::mount::{self, Flags, UmountFlags};
use std::path::Path;

/// Some of the kernel's file systems are missing.
#[derive(Debug, thiserror::Error)]
#[error("failed to mount {0}")]
struct Missing(String);

/// The phase. A missing file system leaves the others; most are there already when the initramfs hands over.
pub fn mount_all(context: &Context) -> Outcome {
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
}

/// The phase: writes everything to the disk and lets go of the state partition. In a container the mount is the
/// host's; there the data is only written.
pub async fn unmount_state(context: Context) -> Outcome {
    let Context { layout, container, .. } = context;
    tokio::task::spawn_blocking(move || {
        rustix::fs::sync();
        if container || !mount::is_mount_point(&layout.var) {
            return Ok(());
        }
        // Busy: read-only is as good, and there is nobody left who could write.
        mount::unmount(&layout.var, UmountFlags::empty())
            .or_else(|_| mount::remount(&layout.var, Flags::MS_RDONLY))
    })
    .await??;
    Ok(())
}
