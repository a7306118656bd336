//! The last question before a command is sent: is it still wanted?
//!
//! A command may wait for its turn, for a place, for a BMC that is slow to open a session; by the time it could be
//! sent, its reason may have gone. Drivers ask once for each command, when nothing is left but to send it.
//! Never asked for what changes nothing, and never in the middle of a command: one that has begun is finished.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::time::timeout;

use crate::error::Cause;

/// Who ordered a command is asked whether it still stands.
pub trait Wanted: Send + Sync {
    /// False when it does not, or when nobody can tell.
    fn is_still_wanted(&self) -> BoxFuture<'_, bool>;
}

/// A command that stands whatever happens meanwhile: for tests and tools, not for a plane.
#[derive(Debug, Clone, Copy, Default)]
pub struct Always;

impl Wanted for Always {
    fn is_still_wanted(&self) -> BoxFuture<'_, bool> {
        ready(true).boxed()
    }
}

/// One who takes too long to say yes has not said it.
pub(crate) struct Within<'a> {
    pub(crate) wanted: &'a dyn Wanted,
    pub(crate) limit: Duration,
}

impl Wanted for Within<'_> {
    fn is_still_wanted(&self) -> BoxFuture<'_, bool> {
        async { timeout(self.limit, self.wanted.is_still_wanted()).await.unwrap_or(false) }.boxed()
    }
}

/// For drivers: goes on only with a command that is still wanted.
pub(crate) async fn ask(wanted: &dyn Wanted) -> Result<(), Cause> {
    if wanted.is_still_wanted().await { Ok(()) } else { Err(Cause::Unwanted) }
}
