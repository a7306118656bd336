//! Writes everything to the disk and lets go of the state partition.
//!
//! In a container the mount is the host's; there the data is only written.

use crate::context::Context;
use crate::sequence::Work;
use bloomery_sys::mount::{self, Flags, UmountFlags};

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let var = context.layout.var.clone();
        let container = context.container;
        tokio::task::spawn_blocking(move || {
            rustix::fs::sync();
            if container || !mount::is_mount_point(&var) {
                return Ok(());
            }
            // Busy: read-only is as good, and there is nobody left who could write.
            mount::unmount(&var, UmountFlags::empty()).or_else(|_| mount::remount(&var, Flags::MS_RDONLY))
        })
        .await??;
        Ok(())
    })
}
