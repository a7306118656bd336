//! The administrator as a part of a request.
//!
//! Never lets a request through whose connection did not prove the key of a certificate that is good.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;
use bloomery_pairing::local::{self, Question, Rights};
use rustls_pki_types::UnixTime;

use super::App;
use super::refusal::Refusal;
use crate::identity::{self, Caller, Holder};

/// The holder of a certificate that is good. For the paths whose questions PID 1 decides.
pub(super) struct Certified {
    pub(super) caller: Caller,
    pub(super) holder: Holder,
}

impl FromRequestParts<Arc<App>> for Certified {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let caller = parts.extensions.get::<Caller>().cloned().ok_or_else(Refusal::certificate_required)?;
        let certificate = caller.certificate.as_deref();
        let holder = identity::identify(certificate, &app.files.client_ca, UnixTime::now())
            .map_err(|error| Refusal::certificate(&error))?;
        Ok(Self { caller, holder })
    }
}

/// A certified caller with an administrator's rights on the Kubernetes API. While that API does not answer, what is
/// known of the pairing is enough to read, and nothing is enough to change anything.
pub(super) struct Admin(pub(super) Certified);

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let reads = parts.method == Method::GET || parts.method == Method::HEAD;
        let certified = Certified::from_request_parts(parts, app).await?;
        let rights = match &certified.holder {
            Holder::Pairing(id) => app.rights.of(id.as_str(), &app.files.authority).await,
            Holder::Shared if reads => Rights::Full,
            Holder::Shared => return Err(Refusal::shared_certificate()),
        };
        match rights {
            Rights::Full => Ok(Self(certified)),
            Rights::Less => Err(Refusal::no_rights()),
            Rights::UnknownAuthority | Rights::Unreachable if reads => Ok(Self(certified)),
            Rights::UnknownAuthority | Rights::Unreachable => Err(Refusal::rights_unknown()),
        }
    }
}

impl Certified {
    /// Has PID 1 write a line of the audit log about what was done here.
    pub(super) async fn note(&self, app: &App, action: String, result: String) {
        let (caller, address) = (self.holder.id().to_owned(), self.caller.address.to_string());
        let question = Question::Note { caller, action, result, address };
        if let Err(error) = local::ask(&app.files.authority, &question).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "failed to write the audit log");
        }
    }
}
