//! Carries out [`crate::plan`]: at start, and every minute after.
//!
//! The object is written before the file follows, bound to the version that was read: of two planes one wins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bloomery_api::Plane;
use bloomery_api::plane::{Authority, NAME, PlaneSpec, Seen};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::identity::{self, Record};
use crate::plan::{Plan, plan, takeover};
use crate::{Error, Gate, TAKEOVER_ANNOTATION};

/// How often a person's wish to take over is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks between two notes of how far the state has got.
const NOTE_EVERY: u32 = 12;

/// This plane, with its identity on file.
#[derive(Clone)]
pub struct Established {
    directory: PathBuf,
    record: Record,
    gate: Gate,
}

/// Finds out who this plane is, and makes or mends the Plane object as [`crate::plan`] says.
pub async fn establish(client: &Client, directory: &Path) -> Result<(Established, Gate), Error> {
    let (record, _) = settle(client, directory, Seen::default()).await?;
    let gate = Gate::new(client.clone(), record.id.clone(), record.seen());
    Ok((Established { directory: directory.to_owned(), record, gate: gate.clone() }, gate))
}

/// What was found about the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It went on from where it was.
    Continued,
    /// It is older than it was, or new.
    Replaced,
}

/// Notes down how far the state has got and takes over when a person asks for it, until `stop`. Ends before that when
/// the state was replaced under our feet: what this process remembers and watches is of a state that is no more (a
/// watch goes on silently from a revision that is yet to come), so it has to begin anew.
pub async fn keep(client: &Client, established: Established, stop: CancellationToken) {
    let Established { directory, mut record, gate } = established;
    let mut looks = 0_u32;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        // So that a plane that was fenced says so even when no machine asks for anything.
        let current = gate.current().await;
        looks = looks.wrapping_add(1);
        // Nobody can tell, perhaps because the state was restored under our feet: then it is mended at once.
        let looked = if looks.is_multiple_of(NOTE_EVERY) || current == Authority::Unknown {
            settle(client, &directory, gate.seen().await).await.map(|(settled, state)| {
                record = settled;
                state
            })
        } else {
            take_over(client, &record).await.map(|()| State::Continued)
        };
        match looked {
            Ok(State::Continued) => {}
            Ok(State::Replaced) => return,
            Err(error) => warn!(error = %chain(&error), "plane not kept"),
        }
    }
    if let Err(error) = settle(client, &directory, gate.seen().await).await {
        warn!(error = %chain(&error), "plane not noted at the end");
    }
}

/// `seen` is what this process saw beyond what the file says.
async fn settle(client: &Client, directory: &Path, seen: Seen) -> Result<(Record, State), Error> {
    let planes: Api<Plane> = Api::all(client.clone());
    let file = identity::load(directory).map_err(Error::Identity)?;
    let list = planes.list(&ListParams::default()).await.map_err(Error::api("list"))?;
    let revision = list.metadata.resource_version.unwrap_or_default();
    let revision = revision.parse().map_err(|_| Error::Revision { revision })?;
    let plane = list.items.into_iter().find(|plane| plane.metadata.name.as_deref() == Some(NAME));
    let known = file.clone().map(|file| {
        let Seen { epoch, revision } = file.seen().and(seen);
        Record { epoch, revision, ..file }
    });
    let plan = plan(known.as_ref(), plane.as_ref(), revision, &identity::fresh());
    let store = |record: &Record| identity::store(directory, record).map_err(Error::Identity);
    match plan {
        Plan::Keep(record) => {
            if file.as_ref() != Some(&record) {
                store(&record)?;
            }
            Ok((record, State::Continued))
        }
        Plan::Create(record) => {
            // The identity comes first: an object that names a plane nobody is would fence everybody.
            store(&record)?;
            let spec = PlaneSpec { holder: record.id.clone(), epoch: record.epoch };
            let made = planes.create(&PostParams::default(), &Plane::new(NAME, spec)).await;
            made.map_err(Error::api("create"))?;
            info!(epoch = record.epoch, id = record.id, "plane made");
            Ok((record, State::Replaced))
        }
        Plan::Raise(record) => {
            warn!(
                epoch = record.epoch,
                "the state was restored: no record of disks from before counts, wipes must be confirmed"
            );
            let version = plane.and_then(|plane| plane.metadata.resource_version);
            hold(&planes, version, &record).await?;
            store(&record)?;
            Ok((record, State::Replaced))
        }
    }
}

async fn take_over(client: &Client, own: &Record) -> Result<(), Error> {
    let planes: Api<Plane> = Api::all(client.clone());
    let Some(plane) = planes.get_opt(NAME).await.map_err(Error::api("get"))? else { return Ok(()) };
    let Some(epoch) = takeover(own, &plane) else { return Ok(()) };
    warn!(from = plane.spec.holder, epoch, "taking over as the plane that acts");
    hold(&planes, plane.metadata.resource_version, &Record { epoch, ..own.clone() }).await
}

/// Makes this plane the holder with the record's epoch, if nobody wrote the object since it was read.
async fn hold(planes: &Api<Plane>, version: Option<String>, record: &Record) -> Result<(), Error> {
    let patch = json!({
        "metadata": { "resourceVersion": version, "annotations": { TAKEOVER_ANNOTATION: null } },
        "spec": { "holder": record.id, "epoch": record.epoch },
    });
    let patched = planes.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(Error::api("patch"))
}

/// The error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |&error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
