//! Turns what was read into what can be worked with.
//!
//! Never judges an asset: one that cannot be used must not keep the other from its status.

use bloomery_api::Environment;
use kube::ResourceExt;
use kube::core::DeserializeGuard;

use crate::reconcile::Error;

/// Fails on an object that is not what its kind should be.
pub(super) fn validate(guarded: DeserializeGuard<Environment>) -> Result<Environment, Error> {
    let object = format!("Environment {}", guarded.name_any());
    guarded.0.map_err(|invalid| Error::Invalid { object, problem: invalid.error })
}
