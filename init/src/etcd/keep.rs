//! Looks at etcd's database for ever, makes room in it, and says so.
//!
//! The supervisor deals with an etcd that does not answer; this module says nothing about it.

use super::client::{Client, Error};
use super::decide::{Look, Past, Step, needs_reserve, step};
use crate::layout::ETCD_CLIENT_PORT;
use crate::plane::Plane;
use crate::services::etcd::QUOTA_BACKEND_BYTES;
use bloomery_base::chain;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between looks: at 5 MB/s, which is what one client can write, the last quarter of the quota lasts five of them.
const INTERVAL: Duration = Duration::from_secs(10);
/// The service whose readiness tells.
const SERVICE: &str = "etcd";
/// The warning about refused writes and full databases.
const SPACE: &str = "etcd-space";
const DAMAGE: &str = "etcd-damage";
/// Octets in a MiB.
const MIB: u64 = 1 << 20;

/// What a person is to be told after one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Nothing(Look),
    /// Room was made: the file's size before and after, in octets.
    MadeRoom {
        before: Look,
        after: Look,
    },
    /// The file was mostly free and is smaller: before and after, in octets.
    Shrunk {
        before: Look,
        after: Look,
    },
    /// Writes are refused, or soon will be, and it is not time to try again.
    Waits(Look),
    Damage,
}

impl Told {
    fn look(&self) -> Option<&Look> {
        match self {
            Self::Nothing(look)
            | Self::MadeRoom { after: look, .. }
            | Self::Shrunk { after: look, .. }
            | Self::Waits(look) => Some(look),
            Self::Damage => None,
        }
    }
}

/// One round: looks, and does what `decide.rs` says.
///
/// # Errors
/// The failed call; what was done until then stays done.
pub async fn keep_room(client: &Client, past: &Past) -> Result<Told, Error> {
    let before = client.look().await?;
    match step(&before, past) {
        Step::LeaveDamage => Ok(Told::Damage),
        Step::Rest if before.no_space || before.is_full() => Ok(Told::Waits(before)),
        Step::Rest => Ok(Told::Nothing(before)),
        Step::Shrink => {
            client.defragment().await?;
            Ok(Told::Shrunk { before, after: client.look().await? })
        }
        Step::MakeRoom => {
            client.compact(before.revision).await?;
            client.defragment().await?;
            let after = client.look().await?;
            // Any room at all lets objects with finalizers be deleted; without any, etcd would refuse again at once.
            if after.no_space && after.size < after.quota {
                client.disarm_no_space().await?;
            }
            Ok(Told::MadeRoom { before, after: client.look().await? })
        }
    }
}

pub async fn watch(plane: Arc<Plane>) {
    let mut client = None;
    let (mut room, mut shrink) = (None, None);
    let mut revision = None;
    loop {
        let since = |at: Option<Instant>| at.map(|at| at.elapsed());
        let past = Past { since_room: since(room), since_shrink: since(shrink), revision };
        match round(&plane, &mut client, &past).await {
            Ok(told) => {
                revision = told.look().map(|look| look.revision);
                match told {
                    Told::MadeRoom { .. } => room = Some(Instant::now()),
                    Told::Shrunk { .. } => shrink = Some(Instant::now()),
                    Told::Nothing(_) | Told::Waits(_) | Told::Damage => {}
                }
                tell(&plane, &told);
                if let Some(look) = told.look() {
                    follow_reserve(&plane, look);
                }
            }
            Err(error) => {
                // A new connection next time: etcd may have been restarted, or our certificate made anew.
                client = None;
                // Perhaps the disk has no room for a smaller copy: etcd is not stopped for another soon.
                shrink = Some(Instant::now());
                tracing::debug!(error = %chain(&error), "no look at etcd's database");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn round(plane: &Plane, client: &mut Option<Client>, past: &Past) -> Result<Told, Error> {
    let known = match client.as_ref() {
        Some(known) => known.clone(),
        None => client.insert(Client::connect(plane.pki(), ETCD_CLIENT_PORT).await?).clone(),
    };
    let outcome = keep_room(&known, past).await;
    if let Err(error) = &outcome
        && let Ok(look) = known.look().await
        && look.no_space
    {
        // Most likely the disk has no room for a copy of the database.
        refuse(plane, &format!("{}: {}", refused(&look), chain(error)));
    }
    outcome
}

/// Shows the outcome on the console, in the status and in the readiness of etcd.
fn tell(plane: &Plane, told: &Told) {
    match told {
        Told::Nothing(look) => accept(plane, look),
        Told::MadeRoom { before, after } | Told::Shrunk { before, after } => {
            plane.context.console.line(format!(
                "etcd: database made smaller: {} MiB before, {} of {} MiB now",
                before.size / MIB,
                after.size / MIB,
                after.quota / MIB
            ));
            tracing::info!(
                before = before.size,
                after = after.size,
                quota = after.quota,
                "etcd made smaller"
            );
            if after.no_space {
                refuse(plane, &refused(after));
            } else if after.is_full() {
                nearly_full(plane, after);
            } else {
                if before.no_space {
                    plane.context.console.line("etcd: takes writes again");
                }
                accept(plane, after);
            }
        }
        Told::Waits(look) if look.no_space => refuse(plane, &refused(look)),
        Told::Waits(look) => nearly_full(plane, look),
        Told::Damage => {
            set_refusing(plane, true);
            plane.context.warn(
                DAMAGE,
                "etcd has found damage in its database, and takes no writes",
                "put a copy of the state partition back, or flash the image anew; nodes go on booting their disks",
            );
        }
    }
}

fn refused(look: &Look) -> String {
    format!(
        "etcd takes no writes: its database has {} of {} MiB, {} in use",
        look.size / MIB,
        look.quota / MIB,
        look.in_use / MIB
    )
}

fn refuse(plane: &Plane, text: &str) {
    set_refusing(plane, true);
    plane.context.warn(SPACE, text, "it is compacted and tried again; delete objects that are not needed");
}

fn nearly_full(plane: &Plane, look: &Look) {
    set_refusing(plane, false);
    let text = format!(
        "etcd's database is nearly full: {} of {} MiB are in use",
        look.in_use / MIB,
        look.quota / MIB
    );
    plane.context.warn(
        SPACE,
        &text,
        "delete objects that are not needed (unaccepted Servers, Environments, Events)",
    );
}

/// Gives etcd its reserve or takes it back; either restarts it.
fn follow_reserve(plane: &Plane, look: &Look) {
    let has = plane.etcd_reserve();
    let needs = needs_reserve(look, has, QUOTA_BACKEND_BYTES);
    if needs != has {
        plane.context.console.line(if needs {
            "etcd: its content reaches the quota; a reserve is opened, so that objects can be deleted"
        } else {
            "etcd: half of the quota is free again; the reserve is closed"
        });
        plane.set_etcd_reserve(needs);
    }
}

fn accept(plane: &Plane, look: &Look) {
    if plane.etcd_reserve() {
        return nearly_full(plane, look);
    }
    set_refusing(plane, false);
    plane.context.clear_warning(SPACE, "etcd's database has room again");
    plane.context.clear_warning(DAMAGE, "etcd does not report damage any more");
}

fn set_refusing(plane: &Plane, refusing: bool) {
    plane.supervisor.set_impaired(SERVICE, refusing);
}
