//! Carries out [`crate::plan`]: at start, and every minute after.
//!
//! The object is written before or after the file as the steps say, bound to the version that was read: of two planes
//! one wins.

use bloomery_base::chain;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bloomery_api::Plane;
use bloomery_api::plane::{
    ADOPTS_ANNOTATION, Authority, FENCED_ANNOTATION, NAME, PlaneSpec, RESTORED_ANNOTATION, Seen,
    WITNESS_ANNOTATION,
};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::gate::QUIET;
use crate::identity::{self, Record};
use crate::plan::{Fresh, Plan, Step, TAKEN_OVER, adopted, is_taken_over, plan, steps, takeover};
use crate::{Error, Fencer, Gate, Ledger, TAKEOVER_ANNOTATION, key, marked};

/// How often a person's wish to take over is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Looks between two notes of how far the state has got: a minute.
const NOTE_EVERY: u32 = 12;
/// Looks between two changes of the digits on the object: five minutes.
const WITNESS_EVERY: u32 = 60;
/// What a person is asked to do about a mark.
const LOOK: &str = "machines that register and are not known wait for a person until the mark is removed: kubectl \
                    annotate plane plane bloomery.dev/restored-";

/// This plane, with its identity on file.
#[derive(Clone)]
pub struct Established {
    client: Client,
    directory: PathBuf,
    record: Record,
    gate: Gate,
    ledger: Option<Ledger>,
}

impl Established {
    /// The ledger, to be appended to; none while its file is damaged: then nothing is wiped.
    pub fn ledger(&self) -> Option<Ledger> {
        self.ledger.clone()
    }

    /// Stops this plane when its machines seem to be another's.
    pub fn fencer(&self) -> Fencer {
        Fencer::new(&self.client, self.ledger.clone())
    }
}

/// Finds out who this plane is, and makes or mends the Plane object as [`crate::plan`] says.
pub async fn establish(client: &Client, directory: &Path) -> Result<(Established, Gate), Error> {
    key::establish(directory).map_err(Error::Identity)?;
    let ledger = Ledger::open(directory)
        .inspect_err(|error| error!(error = %chain(error), "ledger of no use: nothing is wiped"))
        .ok();
    let seen = ledger.as_ref().map(|ledger| Seen::from(ledger.tombstones().seen())).unwrap_or_default();
    let (record, _) = settle(client, directory, seen, true, &CancellationToken::new()).await?;
    let api = client.clone();
    let gate = Gate::new(move || Some(api.clone()), directory);
    let directory = directory.to_owned();
    Ok((Established { client: client.clone(), directory, record, gate: gate.clone(), ledger }, gate))
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
    let Established { client: _, directory, mut record, gate, ledger: _ } = established;
    let mut looks = 0_u32;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        // So that a plane that was fenced says so even when no machine asks for anything.
        let current = gate.current().await;
        looks = looks.wrapping_add(1);
        // Nobody can tell, perhaps because the state was restored under our feet: then it is mended at once. That a
        // person let a stopped plane go on is noted at once too.
        let is_doubtful = matches!(current, Authority::Unknown | Authority::Stopped { .. });
        let looked = if looks.is_multiple_of(NOTE_EVERY) || is_doubtful {
            let witness = looks.is_multiple_of(WITNESS_EVERY);
            settle(client, &directory, gate.seen().await, witness, &stop).await.map(|(settled, state)| {
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
    if let Err(error) = settle(client, &directory, gate.seen().await, false, &stop).await {
        warn!(error = %chain(&error), "plane not noted at the end");
    }
}

/// `seen` is what this process saw beyond what the file says; with `witness` the object gets other digits.
async fn settle(
    client: &Client,
    directory: &Path,
    seen: Seen,
    witness: bool,
    stop: &CancellationToken,
) -> Result<(Record, State), Error> {
    let planes: Api<Plane> = Api::all(client.clone());
    let file = identity::load(directory).map_err(Error::Identity)?;
    let list = planes.list(&ListParams::default()).await.map_err(Error::api("list"))?;
    let revision = list.metadata.resource_version.unwrap_or_default();
    let revision = revision.parse().map_err(|_| Error::Revision { revision })?;
    let plane = list.items.into_iter().find(|plane| plane.metadata.name.as_deref() == Some(NAME));
    let fresh = Fresh { id: identity::fresh(), witness: identity::digits() };
    let plan = plan(file.as_ref(), seen, plane.as_ref(), revision, &fresh);
    let state = match &plan {
        Plan::Keep { .. } => State::Continued,
        Plan::Create(..) | Plan::Raise(..) => State::Replaced,
    };
    if is_taken_over(file.as_ref(), &plan) {
        info!(seconds = QUIET.as_secs(), "waiting until the plane that acted before has noticed");
        if stop.run_until_cancelled(tokio::time::sleep(QUIET)).await.is_none() {
            // The next start waits again.
            return Ok((file.unwrap_or_else(|| plan.record().clone()), State::Continued));
        }
    }
    let mut run = Run { directory, planes, plane, id: plan.record().id.clone(), file };
    for step in steps(&plan, witness.then_some(&*fresh.witness)) {
        let attempt = matches!(step, Step::Witness(_));
        match run.take(step).await {
            Ok(()) => {}
            Err(error) if attempt => {
                warn!(error = %chain(&error), "witness not written; it is tried again later");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((run.file.unwrap_or_else(|| plan.record().clone()), state))
}

struct Run<'a> {
    directory: &'a Path,
    planes: Api<Plane>,
    plane: Option<Plane>,
    id: String,
    /// What the file says.
    file: Option<Record>,
}

impl Run<'_> {
    async fn take(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Store(record) => {
                if self.file.as_ref() != Some(&record) {
                    identity::store(self.directory, &record).map_err(Error::Identity)?;
                    self.file = Some(record);
                }
                Ok(())
            }
            Step::Create { epoch, witness, mark, fenced } => self.create(epoch, witness, mark, fenced).await,
            Step::Raise { epoch, witness, mark, fenced } => {
                warn!(
                    epoch,
                    why = mark,
                    "no record of disks from before counts, wipes must be confirmed; {LOOK}"
                );
                let mut annotations =
                    json!({ RESTORED_ANNOTATION: marked(mark), WITNESS_ANNOTATION: witness });
                if let Some(why) = fenced {
                    annotations[FENCED_ANNOTATION] = json!(why);
                }
                let version = self.version();
                hold(&self.planes, version.as_deref(), &self.id, epoch, annotations).await
            }
            Step::Witness(digits) => {
                let annotations = json!({ WITNESS_ANNOTATION: digits });
                let metadata = json!({ "resourceVersion": self.version(), "annotations": annotations });
                patch(&self.planes, json!({ "metadata": metadata })).await
            }
        }
    }

    fn version(&self) -> Option<String> {
        self.plane.as_ref().and_then(|plane| plane.metadata.resource_version.clone())
    }

    async fn create(
        &self,
        epoch: i64,
        witness: String,
        mark: Option<&str>,
        fenced: Option<String>,
    ) -> Result<(), Error> {
        let mut plane = Plane::new(NAME, PlaneSpec { holder: self.id.clone(), epoch });
        let annotations = plane.metadata.annotations.get_or_insert_default();
        annotations.insert(WITNESS_ANNOTATION.to_owned(), witness);
        if let Some(why) = fenced {
            annotations.insert(FENCED_ANNOTATION.to_owned(), why);
        }
        if let Some(why) = mark {
            warn!(why, "{LOOK}");
            annotations.insert(RESTORED_ANNOTATION.to_owned(), marked(why));
        }
        let made = self.planes.create(&PostParams::default(), &plane).await;
        made.map_err(Error::api("create"))?;
        info!(epoch, id = self.id, "plane made");
        Ok(())
    }
}

async fn take_over(client: &Client, own: &Record) -> Result<(), Error> {
    let planes: Api<Plane> = Api::all(client.clone());
    let Some(plane) = planes.get_opt(NAME).await.map_err(Error::api("get"))? else { return Ok(()) };
    let Some(epoch) = takeover(own, &plane) else { return Ok(()) };
    warn!(from = plane.spec.holder, epoch, "taking over as the plane that acts; {LOOK}");
    let version = plane.metadata.resource_version.as_deref();
    let adopted = adopted(&plane, &own.id);
    let annotations = json!({ RESTORED_ANNOTATION: marked(TAKEN_OVER), ADOPTS_ANNOTATION: adopted });
    hold(&planes, version, &own.id, epoch, annotations).await
}

/// Makes this plane the holder in `epoch` and annotates the object, all in one write, if nobody wrote it since it was
/// read.
async fn hold(
    planes: &Api<Plane>,
    version: Option<&str>,
    id: &str,
    epoch: i64,
    mut annotations: Value,
) -> Result<(), Error> {
    annotations[TAKEOVER_ANNOTATION] = Value::Null;
    let metadata = json!({ "resourceVersion": version, "annotations": annotations });
    patch(planes, json!({ "metadata": metadata, "spec": { "holder": id, "epoch": epoch } })).await
}

async fn patch(planes: &Api<Plane>, change: Value) -> Result<(), Error> {
    let patched = planes.patch(NAME, &PatchParams::default(), &Patch::Merge(change)).await;
    patched.map(drop).map_err(Error::api("patch"))
}
