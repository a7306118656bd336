//! Carries out [`crate::plan`]: at start, and every minute after.
//!
//! The object is written before the file follows, bound to the version that was read: of two planes one wins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bloomery_api::Plane;
use bloomery_api::plane::{NAME, PlaneSpec};
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
    let record = settle(client, directory).await?;
    let gate = Gate::new(client.clone(), record.id.clone());
    Ok((Established { directory: directory.to_owned(), record, gate: gate.clone() }, gate))
}

/// Notes down how far the state has got and takes over when a person asks for it, until `stop`.
pub async fn keep(client: &Client, established: Established, stop: CancellationToken) {
    let Established { directory, mut record, gate } = established;
    let mut looks = 0_u32;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        // So that a plane that was fenced says so even when no machine asks for anything.
        gate.current().await;
        looks = looks.wrapping_add(1);
        let looked = if looks.is_multiple_of(NOTE_EVERY) {
            settle(client, &directory).await.map(|settled| record = settled)
        } else {
            take_over(client, &record).await
        };
        if let Err(error) = looked {
            warn!(error = %chain(&error), "plane not kept");
        }
    }
    if let Err(error) = settle(client, &directory).await {
        warn!(error = %chain(&error), "plane not noted at the end");
    }
}

async fn settle(client: &Client, directory: &Path) -> Result<Record, Error> {
    let planes: Api<Plane> = Api::all(client.clone());
    let file = identity::load(directory).map_err(Error::Identity)?;
    let list = planes.list(&ListParams::default()).await.map_err(Error::api("list"))?;
    let revision = list.metadata.resource_version.unwrap_or_default();
    let revision = revision.parse().map_err(|_| Error::Revision { revision })?;
    let plane = list.items.into_iter().find(|plane| plane.metadata.name.as_deref() == Some(NAME));
    let plan = plan(file.as_ref(), plane.as_ref(), revision, &identity::fresh());
    let store = |record: &Record| identity::store(directory, record).map_err(Error::Identity);
    match plan {
        Plan::Keep(record) => {
            if file.as_ref() != Some(&record) {
                store(&record)?;
            }
            Ok(record)
        }
        Plan::Create(record) => {
            // The identity comes first: an object that names a plane nobody is would fence everybody.
            store(&record)?;
            let spec = PlaneSpec { holder: record.id.clone(), epoch: record.epoch };
            let made = planes.create(&PostParams::default(), &Plane::new(NAME, spec)).await;
            made.map_err(Error::api("create"))?;
            info!(epoch = record.epoch, id = record.id, "plane made");
            Ok(record)
        }
        Plan::Raise(record) => {
            warn!(
                epoch = record.epoch,
                "the state was restored: no record of disks from before counts, wipes must be confirmed"
            );
            let version = plane.and_then(|plane| plane.metadata.resource_version);
            hold(&planes, version, &record).await?;
            store(&record)?;
            Ok(record)
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
