//! The admin as a part of a request.
//!
//! Never lets a request through whose connection showed no verified certificate of the admin.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::refusal::Refusal;
use crate::identity::Caller;

/// The caller, who is the admin. Asked for before a body, so that a stranger's costs no memory.
pub(super) struct Admin(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let caller = parts.extensions.get::<Caller>().copied();
        caller.filter(|caller| caller.admin).map(Self).ok_or_else(Refusal::admin_certificate_required)
    }
}
