//! The power control of a machine that has none: always on, and every command succeeds.
//!
//! Never touches a network.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::bmc::{Action, Driver, Kind, Power};
use crate::error::Cause;

/// Nobody controls this machine's power.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fake;

impl Driver for Fake {
    fn read(&self) -> BoxFuture<'_, Result<Power, Cause>> {
        ready(Ok(Power::On)).boxed()
    }

    fn act(&self, _: Action) -> BoxFuture<'_, Result<(), Cause>> {
        ready(Ok(())).boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Fake
    }

    fn peer(&self) -> &'static str {
        "no BMC"
    }
}
