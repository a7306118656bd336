//! What the pool needs to reach a machine's management controller, its credentials read from Secrets now.
//!
//! Never logs or keeps one.

use bloomery_api::Server;
use bloomery_api::server::{Bmc, CredentialSource};
use bloomery_power::{BmcTarget, DEFAULT_PORT, Target};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

/// Why there is no management client (spec/sidero.md §6 gives the texts).
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    /// A source without a reference.
    #[error("missing secretKeyRef")]
    MissingReference,
    /// The Secret cannot be read.
    #[error("error getting secret \"{name}\": {source}")]
    Secret {
        /// Its name.
        name: String,
        /// The cause.
        source: Box<kube::Error>,
    },
    /// The Secret has no such key.
    #[error("secret key \"{key}\" is missing in secret \"{name}\"")]
    MissingKey {
        /// The key.
        key: String,
        /// The Secret.
        name: String,
    },
    /// The key holds no text.
    #[error("secret key \"{key}\" in secret \"{name}\" is not UTF-8 text")]
    NotText {
        /// The key.
        key: String,
        /// The Secret.
        name: String,
    },
}

/// Resolves what `server` says of its power control.
pub(super) async fn target(client: &Client, server: &Server) -> Result<Target, CredentialError> {
    let bmc = match &server.spec.bmc {
        Some(bmc) => Some(bmc_target(client, bmc).await?),
        None => None,
    };
    let management_api = server.spec.management_api.as_ref().map(|api| api.endpoint.clone());
    Ok(Target { server: server.name_any(), bmc, management_api })
}

async fn bmc_target(client: &Client, bmc: &Bmc) -> Result<BmcTarget, CredentialError> {
    let user = credential(client, &bmc.user, bmc.user_from.as_ref()).await?;
    let pass = credential(client, &bmc.pass, bmc.pass_from.as_ref()).await?;
    let port = u16::try_from(bmc.port).ok().filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    Ok(BmcTarget {
        endpoint: bmc.endpoint.clone(),
        port,
        user: user.into(),
        pass: pass.into(),
        interface: bmc.interface.clone(),
    })
}

/// The literal wins, as upstream has it.
async fn credential(
    client: &Client,
    literal: &str,
    from: Option<&CredentialSource>,
) -> Result<String, CredentialError> {
    let from = match from {
        Some(from) if literal.is_empty() => from,
        Some(_) | None => return Ok(literal.to_owned()),
    };
    let reference = from.secret_key_ref.as_ref().ok_or(CredentialError::MissingReference)?;
    let (name, key) = (reference.name.clone(), reference.key.clone());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &reference.namespace);
    let secret = secrets
        .get(&name)
        .await
        .map_err(|source| CredentialError::Secret { name: name.clone(), source: Box::new(source) })?;
    match secret.data.unwrap_or_default().remove(&key) {
        None => Err(CredentialError::MissingKey { key, name }),
        Some(value) => String::from_utf8(value.0).map_err(|_| CredentialError::NotText { key, name }),
    }
}
