//! The kernel's host name: without one (`(none)`) the API server never gets ready.
//!
//! In a container whose host keeps the name for itself, that one stays.

use crate::context::Context;
use crate::sequence::Work;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let wanted = context.config().hostname.clone();
        let set = bloomery_sys::host::set_name(&wanted);
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        context.status.update(|status| status.hostname = name);
        match set {
            Err(error) if !context.container => Err(error.into()),
            Err(error) => {
                tracing::info!(%error, "the container's host name stays");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    })
}
