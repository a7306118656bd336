//! Carries out [`bloomery_api::plane::fence`]: writes the mark by which this plane stops itself.
//!
//! Never removes the mark: a person does.

use bloomery_api::Plane;
use bloomery_api::ledger::{Fate, Tombstone};
use bloomery_api::plane::fence::{Fence, Observed, fence};
use bloomery_api::plane::{FENCED_ANNOTATION, NAME};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tracing::error;

use crate::{Error, Ledger, marked};

/// Stops this plane. Clones share the ledger.
#[derive(Clone)]
pub struct Fencer {
    planes: Api<Plane>,
    ledger: Option<Ledger>,
}

impl Fencer {
    pub(crate) fn new(client: &Client, ledger: Option<Ledger>) -> Self {
        Self { planes: Api::all(client.clone()), ledger }
    }

    /// Looks at what was observed and writes the mark if it counts; true if it does. The file follows at the keeper's
    /// next look, at most seconds later; the mark alone stops the plane.
    pub async fn look(&self, observed: &Observed) -> Result<bool, Error> {
        let ledger = self.ledger.as_ref().map(Ledger::tombstones);
        let Some(seen) = fence(observed, &ledger.clone().unwrap_or_default()) else {
            return Ok(false);
        };
        self.mark(&seen).await?;
        let Fence { why: _, vanished } = seen;
        // Only once the mark is there: from now on they do not set it again.
        let now = Time(Timestamp::now());
        for server in vanished {
            let entry = ledger.as_ref().and_then(|noted| noted.with_fate(&server, Fate::Vanished, &now));
            if let (Some(entry), Some(ledger)) = (entry, &self.ledger) {
                append(ledger.clone(), entry).await?;
            }
        }
        Ok(true)
    }

    /// Writes the mark, or adds what is new to the one that is there.
    async fn mark(&self, seen: &Fence) -> Result<(), Error> {
        let plane = self.planes.get_opt(NAME).await.map_err(Error::api("get"))?;
        let Some(plane) = plane else { return Ok(()) };
        let text = match plane.fenced() {
            None => marked(&seen.why),
            Some(mark) => match seen.added_to(mark) {
                None => return Ok(()),
                Some(text) => text,
            },
        };
        error!(why = seen.why, "this plane stops acting until a person has looked");
        // Of the version that was read: a mark that a person takes away at this moment is not put back by its text.
        let version = plane.metadata.resource_version;
        let annotations = json!({ FENCED_ANNOTATION: text });
        let change = json!({ "metadata": { "resourceVersion": version, "annotations": annotations } });
        let patched = self.planes.patch(NAME, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.map(drop).map_err(Error::api("patch"))
    }
}

async fn append(ledger: Ledger, entry: Tombstone) -> Result<(), Error> {
    let noted = tokio::task::spawn_blocking(move || ledger.note(entry)).await;
    match noted {
        Ok(noted) => noted.map(drop).map_err(Error::Ledger),
        // The task was aborted with the process.
        Err(_) => Ok(()),
    }
}
