//! Authorities from the state, and the certificates that are made from them at each boot.
//!
//! Damaged authorities are never made anew: the control plane is not started then.

use crate::accounts::{self, Accounts};
use crate::audit;
use crate::context::Context;
use crate::disk_state::State;
use crate::encryption::Key;
use crate::files;
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::pki::people::{self, People, Servers};
use crate::pki::provision::{Names, Provisioner};
use crate::pki::{self, Pki};
use crate::services::kube_apiserver;
use bloomery_config::Config;
use std::sync::Arc;
use time::OffsetDateTime;

#[derive(Debug, Clone)]
pub struct Credentials {
    pub pki: Arc<Pki>,
    /// The pairings, and what signs for them.
    pub people: Arc<People>,
    /// The name of the key that Secrets are encrypted with.
    pub encryption_key: String,
    /// What the plane is called, without addresses.
    pub names: Names,
}

/// There is no state to keep authorities in.
#[derive(Debug, thiserror::Error)]
#[error("failed to open the authorities: the state is damaged")]
struct NoState;

/// What the plane is called before it has an address.
pub fn names(hostname: Option<String>, config: &Config) -> Names {
    Names {
        hostname: hostname.unwrap_or_default(),
        addresses: Vec::new(),
        endpoint: config.advertised_endpoint.clone(),
    }
}

/// The phase: directories of the services, authorities, certificates, the key of Secrets and the list of pairings.
pub async fn establish(context: Context, state: State, names: Names) -> Outcome<Credentials> {
    if state == State::Damaged {
        return Err(NoState.into());
    }
    let (layout, owners) = (&context.layout, context.accounts());
    for (path, mode, user) in [
        (layout.state(), files::PUBLIC_DIR, None),
        (layout.etcd_data(), files::PRIVATE_DIR, Some(accounts::ETCD)),
        (layout.env(), files::PUBLIC_DIR, Some(accounts::CONTROLLERS)),
        (layout.assets(), files::PUBLIC_DIR, Some(accounts::APPLIANCE)),
        (layout.plane(), files::PUBLIC_DIR, Some(accounts::CONTROLLERS)),
        (layout.machine_logs(), files::PRIVATE_DIR, Some(accounts::SIDEROLINK)),
    ] {
        files::directory(&path, mode, user.and_then(|user| owners.owner(user)))?;
    }
    if let (Some(owner), Some(group)) = (owners.owner(accounts::CONTROLLERS), owners.owner(accounts::BOOTSVC))
    {
        // The controllers make the plane's key in it, which the boot services read and nobody else.
        files::share(&layout.plane(), owner, group)?;
    }
    let built = OffsetDateTime::from(context.release.built);
    let pki = Arc::new(Pki::open(&layout.pki(), built)?);
    make_all(&context, &pki, &names)?;
    let key = Key::open(layout)?;
    provide(layout, owners, &key)?;
    context.console.line(
        "Secrets are encrypted on the disk; the key is on the same disk (no TPM is used): keep disk and backups safe",
    );
    let people = people::open(Servers::new(layout, owners, context.logs.clone(), &pki), built).await?;
    Ok(Credentials { pki, people, encryption_key: key.name(), names })
}

pub(crate) fn provisioner<'a>(context: &'a Context, pki: &'a Pki) -> Provisioner<'a> {
    Provisioner { pki, layout: &context.layout, accounts: context.accounts(), now: OffsetDateTime::now_utc() }
}

/// All certificates, for every service.
pub(crate) fn make_all(context: &Context, pki: &Pki, names: &Names) -> Result<(), pki::Error> {
    provisioner(context, pki).everything(names)
}

/// Gives the API server the key of Secrets and its audit policy.
pub fn provide(layout: &Layout, accounts: Accounts, key: &Key) -> Result<(), files::Error> {
    let owner = accounts.owner(accounts::APISERVER);
    for (file, text) in [
        (kube_apiserver::ENCRYPTION, key.configuration().as_str()),
        (kube_apiserver::AUDIT_POLICY, audit::POLICY),
    ] {
        let path = layout.service_file("kube-apiserver", file);
        files::replace(&path, text.as_bytes(), files::PRIVATE, owner)?;
    }
    Ok(())
}
