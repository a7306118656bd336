//! Who this plane is and whether it may act (promise S3).
//!
//! Duty: this plane's identity in a file beside its state, the one [`bloomery_api::Plane`] object in the API, and the
//! [`Gate`] that every decision about power, boot or wiping asks. Of two planes that hold the same objects one acts;
//! a state that was restored or came from elsewhere is noticed, and what it says of disks is no evidence any more.
//! Never answers from a cache older than a second, and never takes what it could not read as leave to act.

mod establish;
mod fencer;
mod gate;
mod identity;
mod key;
mod ledger;
mod plan;
mod witness;

pub use establish::{Established, establish, keep};
pub use fencer::Fencer;
pub use gate::{Gate, Look};
pub use identity::{FILE, IdentityError, Record, digits};
pub use key::FILE as KEY_FILE;
pub use ledger::{FILE as LEDGER_FILE, Ledger, LedgerError};
pub use witness::Witness;

use bloomery_api::plane;
use k8s_openapi::jiff::Timestamp;

/// Annotation on the Plane object by which a person hands it to another plane: that plane's identity.
pub const TAKEOVER_ANNOTATION: &str = "bloomery.dev/takeover";

/// The text of a mark on the Plane object: since when and why.
fn marked(why: &str) -> String {
    format!("{} {why}", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ"))
}

/// Why this plane is not established.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to keep this plane's identity")]
    Identity(#[source] IdentityError),
    #[error("failed to keep this plane's ledger")]
    Ledger(#[source] LedgerError),
    #[error("failed to {verb} Plane {}", plane::NAME)]
    Api { verb: &'static str, source: Box<kube::Error> },
    #[error("failed to read the revision {revision:?} of the API server's answer")]
    Revision { revision: String },
}

impl Error {
    fn api(verb: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { verb, source: Box::new(source) }
    }
}
