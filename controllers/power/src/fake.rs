//! The power control of a machine that has none: always on, and every command succeeds.
//!
//! Never touches a network.

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use crate::bmc::{Action, Bmc, Kind, Power};
use crate::error::PowerError;
use crate::precondition::{Precondition, ask};

/// Nobody controls this machine's power.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fake;

impl Bmc for Fake {
    fn power_state(&self) -> BoxFuture<'_, Result<Power, PowerError>> {
        ready(Ok(Power::On)).boxed()
    }

    fn command<'a>(
        &'a self,
        _: Action,
        wanted: &'a dyn Precondition,
    ) -> BoxFuture<'a, Result<(), PowerError>> {
        ask(wanted).boxed()
    }

    fn kind(&self) -> Kind {
        Kind::Fake
    }

    fn peer(&self) -> &'static str {
        "no BMC"
    }
}
