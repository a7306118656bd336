//! The last look before a command is sent, and what becomes of its claim when it is not.
//!
//! Between a decision and its command lie the reading of the power state, a queue and a slow management controller: a
//! cluster may have taken the machine by then, its agent may have begun to report, or another plane may act.
//! Never says yes to what it could not read, and never takes back a claim that is not the one it was given.

use std::collections::HashMap;

use bloomery_api::decision::{Machine, Standing};
use bloomery_api::plane::Authority;
use bloomery_api::{Server, ServerBinding};
use bloomery_platform::chain;
use bloomery_power::Precondition;
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::Shared;
use super::objects::{Objects, read};
use super::status::{self, cycle};
use crate::fleet::Judgement;
use crate::reconcile::{self, Error};
use crate::table::{Key, key};

/// Times a claim is taken back from an object that others write.
const ATTEMPTS: u32 = 4;

/// What a command was decided on.
#[derive(Clone, Copy)]
pub(super) struct Snapshot<'a> {
    /// The Server, with the claim for this command if it needs one.
    pub(super) server: &'a Server,
    pub(super) binding: Option<&'a ServerBinding>,
    pub(super) authority: &'a Authority,
    pub(super) judged: &'a Judgement,
}

impl Snapshot<'_> {
    fn standing(&self) -> Standing {
        let Self { server, binding, authority, judged } = *self;
        Machine { server, binding, authority, conflict: judged.conflict.as_ref() }.standing()
    }
}

/// Asks whether what was decided on is still so.
pub(super) struct Recheck<'a> {
    pub(super) shared: &'a Shared,
    pub(super) decided: Snapshot<'a>,
}

impl Precondition for Recheck<'_> {
    fn holds(&self) -> BoxFuture<'_, bool> {
        async {
            let server = self.decided.server.name_any();
            match self.look().await {
                Ok(true) => true,
                Ok(false) => {
                    info!(server, "command not sent: what it was decided on has changed");
                    false
                }
                Err(error) => {
                    warn!(
                        server,
                        error = chain(&error),
                        "command not sent: not known whether it is still wanted"
                    );
                    false
                }
            }
        }
        .boxed()
    }
}

impl Recheck<'_> {
    async fn look(&self) -> Result<bool, Error> {
        let authority = self.shared.options.gate.current().await;
        let name = self.decided.server.name_any();
        let Some(Objects { server, binding }) = read(&self.shared.context.urgent, &name, None, false).await?
        else {
            return Ok(false);
        };
        let Some(judged) = self.shared.fleet.judge(&server, &authority) else { return Ok(false) };
        let now =
            Snapshot { server: &server, binding: binding.as_ref(), authority: &authority, judged: &judged };
        Ok(still_so(&self.decided, &now))
    }
}

/// Whether a decision on `now` would be the one on `then`: all that power is decided by is the same, the claim
/// included, which a heartbeat or another controller would have replaced.
fn still_so(then: &Snapshot<'_>, now: &Snapshot<'_>) -> bool {
    let server = |decided: &Snapshot<'_>| {
        let meta = &decided.server.metadata;
        (meta.uid.clone(), meta.deletion_timestamp.clone(), cycle(decided.server).cloned())
    };
    let binding = |decided: &Snapshot<'_>| {
        decided
            .binding
            .map(|binding| (binding.metadata.uid.clone(), binding.metadata.deletion_timestamp.clone()))
    };
    now.authority.acts()
        && now.authority == then.authority
        && server(now) == server(then)
        && now.server.spec == then.server.spec
        && binding(now) == binding(then)
        && now.judged == then.judged
        && now.standing() == then.standing()
}

/// Claims that were to be taken back while this plane did not act: they would hold up the next command for a reboot
/// timeout once a person lets it go on.
#[derive(Debug, Default)]
pub(super) struct Withheld(Mutex<HashMap<Key, Box<(Server, Server)>>>);

impl Withheld {
    fn put(&self, claimed: &Server, before: &Server) {
        let pair = Box::new((claimed.clone(), before.clone()));
        self.0.lock().insert(key(claimed), pair);
    }

    fn take(&self, object: &Key) -> Option<Box<(Server, Server)>> {
        self.0.lock().remove(object)
    }

    pub(super) fn forget(&self, object: &Key) {
        self.take(object);
    }
}

/// Takes back what is left of a time when this plane did not act; true if there was anything, which the cache does not
/// show yet.
pub(super) async fn catch_up(shared: &Shared, object: &Key) -> bool {
    let Some(pair) = shared.withheld.take(object) else { return false };
    let (claimed, before) = *pair;
    withdraw(shared, &claimed, &before).await;
    true
}

/// Takes the claim of `claimed` back to what it was `before`, wherever the object has got since: it stood for a
/// command that was not sent, and would hold up the next one for a reboot timeout.
pub(super) async fn withdraw(shared: &Shared, claimed: &Server, before: &Server) {
    let name = claimed.name_any();
    if cycle(claimed) == cycle(before) {
        return;
    }
    for _ in 0..ATTEMPTS {
        // A plane that does not act writes nothing. When it acts again, the claim is still not of any command.
        if !shared.options.gate.current().await.acts() {
            shared.withheld.put(claimed, before);
            return;
        }
        let written = async {
            let servers = Api::all(shared.context.urgent.clone());
            let Some(server) = reconcile::read::<Server>(&servers, &name).await? else { return Ok(()) };
            if server.metadata.uid != claimed.metadata.uid || cycle(&server) != cycle(claimed) {
                return Ok(());
            }
            status::unclaim(&shared.context, &server, before).await
        };
        match written.await {
            Ok(()) => return,
            Err(error) if error.is_conflict() => {}
            Err(error) => {
                warn!(server = name, error = chain(&error), "claim of a command that was not sent stays");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
