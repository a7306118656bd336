//! Refusals: a reason for programs and words for people.

use std::error::Error;

use super::registry::RegistryError;
use super::sign::SignError;
use super::store::StoreError;
use crate::SecretFileError;
use crate::local::{Refused, Rights};

/// A refusal: why, for programs and for people.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub(super) why: Refused,
    pub(super) message: String,
}

impl Refusal {
    /// With these words.
    pub fn new(why: Refused, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }

    pub(super) fn internal(what: &str, error: &dyn Error) -> Self {
        let chain: Vec<String> =
            std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
        Self::new(Refused::Internal, format!("failed to {what}: {}", chain.join(": ")))
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        let why = match &error {
            RegistryError::Full => Refused::Full,
            RegistryError::Unknown { .. } => Refused::NotFound,
            RegistryError::Ended { .. } | RegistryError::OtherKey => Refused::Forbidden,
        };
        Self::new(why, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::internal("keep the list of pairings", &error)
    }
}

impl From<SignError> for Refusal {
    fn from(error: SignError) -> Self {
        match &error {
            SignError::Request(_) | SignError::Algorithm => Self::new(Refused::BadRequest, error.to_string()),
            SignError::Make { .. } => Self::internal("sign", &error),
        }
    }
}

impl From<SecretFileError> for Refusal {
    fn from(error: SecretFileError) -> Self {
        Self::internal("make a new pairing code", &error)
    }
}

/// Why a pairing that was asked for rightly has to wait.
pub(super) fn not_yet(rights: Rights) -> Refusal {
    match rights {
        Rights::Full | Rights::Less => Refusal::new(
            Refused::NotReady,
            "the Kubernetes API does not give administrators their rights yet; after the first boot that takes some \
             seconds. If it lasts, the ClusterRoleBinding bloomery:admins was taken away",
        ),
        Rights::UnknownAuthority | Rights::Unreachable => without_rights(rights),
    }
}

/// Why a caller may not.
pub(super) fn without_rights(rights: Rights) -> Refusal {
    match rights {
        Rights::Full | Rights::Less => Refusal::new(
            Refused::Forbidden,
            "the Kubernetes API gives this certificate no administrator's rights: its pairing has ended, the \
             ClusterRoleBinding bloomery:admins was taken away, or (after the first boot) it is not there yet",
        ),
        Rights::UnknownAuthority => Refusal::new(
            Refused::NotReady,
            "the Kubernetes API does not know the new certificate yet; try again in some seconds",
        ),
        Rights::Unreachable => Refusal::new(
            Refused::NotReady,
            "the Kubernetes API does not answer yet; try again in some seconds",
        ),
    }
}
