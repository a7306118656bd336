//! The power control of a machine that has none: always on, and every command succeeds.
//!
//! Never touches a network.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::bmc::{Action, Driver, Kind, Power};
use crate::error::Cause;
use crate::wanted::{Wanted, ask};

/// Nobody controls this machine's power.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fake;

impl Driver for Fake {
    fn read(&self) -> BoxFuture<'_, Result<Power, Cause>> {
        ready(Ok(Power::On)).boxed()
    }

    fn act<'a>(&'a self, _: Action, wanted: &'a dyn Wanted) -> BoxFuture<'a, Result<(), Cause>> {
        ask(wanted).boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Fake
    }

    fn peer(&self) -> &'static str {
        "no BMC"
    }
}
