//! The last question before a command is sent: does its reason still stand?
//!
//! A command may wait for its turn, for a place, for a BMC that is slow to open a session; by the time it could be
//! sent, its reason may have gone. Drivers ask once for each command, when nothing is left but to send it.
//! Never asked for what changes nothing, and never in the middle of a command: one that has begun is finished.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tokio::time::timeout;

use crate::error::PowerError;

/// The reason of a command.
pub trait Precondition: Send + Sync {
    /// Whether it still stands; false also when nobody can tell.
    fn holds(&self) -> BoxFuture<'_, bool>;
}

/// A command that stands whatever happens meanwhile: for tests and tools, not for a plane.
#[derive(Debug, Clone, Copy, Default)]
pub struct Always;

impl Precondition for Always {
    fn holds(&self) -> BoxFuture<'_, bool> {
        ready(true).boxed()
    }
}

/// A precondition check that times out counts as failed.
pub(crate) struct Within<'a> {
    pub(crate) wanted: &'a dyn Precondition,
    pub(crate) limit: Duration,
}

impl Precondition for Within<'_> {
    fn holds(&self) -> BoxFuture<'_, bool> {
        async { timeout(self.limit, self.wanted.holds()).await.unwrap_or(false) }.boxed()
    }
}

/// For drivers: goes on only while the precondition holds.
pub(crate) async fn ask(wanted: &dyn Precondition) -> Result<(), PowerError> {
    if wanted.holds().await { Ok(()) } else { Err(PowerError::Unwanted) }
}
