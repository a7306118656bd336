//! Authorities from the state, and everything that is made from them at each boot.
//!
//! Damaged authorities are never made anew: the control plane is not started then.

use crate::certificates;
use crate::context::{Context, State};
use crate::files;
use crate::pki::Pki;
use crate::pki::people::{self, Servers};
use crate::sequence::Work;
use crate::services::users;
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
        let built = OffsetDateTime::from(context.release.built);
        let pki = Arc::new(Pki::open(&layout.pki(), built)?);
        certificates::make_all(&context, &pki)?;
        let servers = Servers::new(layout, context.accounts(), context.logs.clone(), &pki);
        let people = people::open(servers, built).await?;
        people::listen(&people, layout, context.accounts())?;
        let mut facts = context.facts();
        facts.pki = Some(pki);
        facts.people = Some(people);
        Ok(())
    })
}
