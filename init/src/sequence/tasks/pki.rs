//! Authorities from the state, and everything that is made from them at each boot.
//!
//! Damaged authorities are never made anew: the control plane is not started then.

use crate::audit;
use crate::certificates;
use crate::context::{Context, State};
use crate::encryption::Key;
use crate::files;
use crate::layout::Layout;
use crate::pki::Pki;
use crate::pki::people::{self, Servers};
use crate::sequence::Work;
use crate::services::kube_apiserver;
use crate::services::users::{self, Accounts};
use std::sync::Arc;
use time::OffsetDateTime;

/// There is no state to keep authorities in.
#[derive(Debug, thiserror::Error)]
#[error("failed to open the authorities: the state is damaged")]
struct NoState;

/// Runs the phase.
pub fn run(context: Context) -> Work {
    Box::pin(async move {
        if context.facts().state == State::Damaged {
            return Err(NoState.into());
        }
        let layout = &context.layout;
        for (path, mode, user) in [
            (layout.state(), files::PUBLIC_DIR, None),
            (layout.etcd_data(), files::PRIVATE_DIR, Some(users::ETCD)),
            (layout.env(), files::PUBLIC_DIR, Some(users::CONTROLLERS)),
            (layout.assets(), files::PUBLIC_DIR, Some(users::APPLIANCE)),
            (layout.plane(), files::PUBLIC_DIR, Some(users::CONTROLLERS)),
        ] {
            files::directory(&path, mode, user.and_then(|user| context.accounts().owner(user)))?;
        }
        let owners = context.accounts();
        if let (Some(owner), Some(group)) = (owners.owner(users::CONTROLLERS), owners.owner(users::BOOTSVC)) {
            // The controllers make the plane's key in it, which the boot services read and nobody else.
            files::share(&layout.plane(), owner, group)?;
        }
        let built = OffsetDateTime::from(context.release.built);
        let pki = Arc::new(Pki::open(&layout.pki(), built)?);
        certificates::make_all(&context, &pki)?;
        let key = Key::open(layout)?;
        provide(layout, context.accounts(), &key)?;
        context.console.line(
            "Secrets are encrypted on the disk; the key is on the same disk (no TPM is used): keep disk and backups safe",
        );
        let servers = Servers::new(layout, context.accounts(), context.logs.clone(), &pki);
        let people = people::open(servers, built).await?;
        let mut facts = context.facts();
        facts.encryption_key = Some(key.name());
        facts.pki = Some(pki);
        facts.people = Some(people);
        Ok(())
    })
}

/// Gives the API server the key of Secrets and its audit policy.
///
/// # Errors
/// Writing.
pub fn provide(layout: &Layout, accounts: Accounts, key: &Key) -> Result<(), files::Error> {
    let owner = accounts.owner(users::APISERVER);
    for (file, text) in [
        (kube_apiserver::ENCRYPTION, key.configuration().as_str()),
        (kube_apiserver::AUDIT_POLICY, audit::POLICY),
    ] {
        let path = layout.service_file("kube-apiserver", file);
        files::replace(&path, text.as_bytes(), files::PRIVATE, owner)?;
    }
    Ok(())
}
