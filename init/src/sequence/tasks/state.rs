//! The state: a partition that the initramfs has found, checked and mounted, or memory, or what a container's host gives.
//!
//! Memory is said loudly. Damaged state is left as it is, and no control plane is started on top of it.

use crate::context::{Context, State};
use crate::disk_state;
use crate::sequence::Work;

/// The state cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to use the state: {0}")]
struct Damaged(String);

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        let found = disk_state::find(&context);
        let state = match &found {
            disk_state::Found::Kept => State::Kept,
            disk_state::Found::Volatile(_) => State::Volatile,
            disk_state::Found::Damaged(_) => State::Damaged,
        };
        context.facts().state = state;
        context.status.update(|status| status.volatile = state == State::Volatile);
        match found {
            disk_state::Found::Kept => Ok(()),
            disk_state::Found::Volatile(why) => {
                context.warn(
                    "volatile",
                    &format!("the state is in memory and WILL BE LOST at the next restart: {why}"),
                    "give the machine a disk of 1 GiB or more with the image on it, and restart",
                );
                Ok(())
            }
            disk_state::Found::Damaged(why) => Err(Damaged(why).into()),
        }
    })
}
