//! What becomes of this plane's identity and of the Plane object: a pure function of both and of etcd's revision.
//!
//! Never makes this plane the holder of objects that another plane holds: that takes a person ([`takeover`]).
//! Never takes a state for a restored one because the power went between two steps.

use bloomery_api::Plane;
use bloomery_api::plane::{Doubt, Seen};

use crate::identity::Record;
use crate::witness::Witness;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing but to note down how far the state has got.
    Keep { record: Record, holds: bool },
    /// There is no object: make one, marked with the reason if there should have been one.
    Create(Record, Option<&'static str>),
    /// The object is ours but not what this plane has seen: what it and all others say was restored. With the reason
    /// for its mark.
    Raise(Record, &'static str),
}

impl Plan {
    pub(crate) const fn record(&self) -> &Record {
        match self {
            Self::Keep { record, .. } | Self::Create(record, _) | Self::Raise(record, _) => record,
        }
    }
}

/// One step; they are taken in order, and each is done for good before the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The file says this.
    Store(Record),
    /// The object is made.
    Create { epoch: i64, witness: String, mark: Option<&'static str>, fenced: Option<String> },
    /// The object gets a higher epoch and a mark.
    Raise { epoch: i64, witness: String, mark: &'static str, fenced: Option<String> },
    /// The object gets other digits. May fail: it is tried again some minutes later.
    Witness(String),
}

/// Marks: what a person reads on the object until the machines were looked at.
pub(crate) const LOST: &str = "the Plane object is gone: the state was lost";
pub(crate) const OLDER: &str = "the state is older than what this plane has seen: it was restored";
pub(crate) const LEAPT: &str = "etcd's revision leapt: it was restored";
pub(crate) const FOREIGN: &str = "the state lacks what this plane wrote last: it was restored";
pub(crate) const TAKEN_OVER: &str = "taken over from another plane: the state may be older than the last";

/// What nobody has used before.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    /// Identity of a plane that has none.
    pub(crate) id: String,
    pub(crate) witness: String,
}

/// Decides from the file, what this process has `seen` beyond it, the object, and etcd's revision.
pub(crate) fn plan(
    file: Option<&Record>,
    seen: Seen,
    plane: Option<&Plane>,
    revision: u64,
    fresh: &Fresh,
) -> Plan {
    let new = |epoch, witness| Record { id: fresh.id.clone(), epoch, revision, fenced: None, witness };
    let (file, plane) = match (file, plane) {
        (None, None) => return Plan::Create(new(1, Witness::of_new(&fresh.witness)), None),
        // The objects came from another plane.
        (None, Some(_)) => return Plan::Keep { record: new(0, Witness::default()), holds: false },
        (Some(file), None) => {
            let epoch = file.seen().and(seen).epoch.saturating_add(1);
            // One that never got as far as to make its object lost nothing.
            let mark = (!file.witness.was_never_made()).then_some(LOST);
            let witness = file.witness.begun_anew(&fresh.witness);
            return Plan::Create(Record { epoch, revision, witness, ..file.clone() }, mark);
        }
        (Some(file), Some(plane)) => (file, plane),
    };
    if plane.spec.holder != file.id {
        return Plan::Keep { record: Record { revision, ..file.clone() }, holds: false };
    }
    let epoch = plane.spec.epoch;
    let before = file.seen().and(seen);
    let foreign = || (epoch == file.epoch && !file.witness.knows(plane.witness())).then_some(FOREIGN);
    let why = match before.doubt(epoch, revision) {
        Some(Doubt::Older) => Some(OLDER),
        Some(Doubt::Leapt) => Some(LEAPT),
        None => foreign(),
    };
    if let Some(why) = why {
        let epoch = before.epoch.max(epoch).saturating_add(1);
        let witness = Witness::of_held(&fresh.witness);
        // A restore brings back an object from before the plane stopped itself: it stays stopped.
        let fenced = file.fenced.clone().or_else(|| plane.fenced().map(str::to_owned));
        return Plan::Raise(Record { epoch, revision, fenced, witness, id: file.id.clone() }, why);
    }
    let witness = if epoch == file.epoch {
        file.witness.after(plane.witness())
    } else {
        // Raised or taken over since: what it holds now is where it begins.
        Witness::of_held(plane.witness())
    };
    // The object went on from where it was: a mark that is gone was removed by a person.
    let fenced = plane.fenced().map(str::to_owned);
    Plan::Keep { record: Record { epoch, revision, fenced, witness, id: file.id.clone() }, holds: true }
}

/// The steps of a plan; with `digits` the object of a holder gets new ones.
pub(crate) fn steps(plan: &Plan, digits: Option<&str>) -> Vec<Step> {
    match plan {
        Plan::Keep { record, holds } => match digits.filter(|_| *holds) {
            None => vec![Step::Store(record.clone())],
            Some(digits) => {
                let begun = Record { witness: record.witness.begun(digits), ..record.clone() };
                let next = begun.witness.next().to_owned();
                let done = Record { witness: Witness::of_held(&next), ..record.clone() };
                vec![Step::Store(begun), Step::Witness(next), Step::Store(done)]
            }
        },
        // The identity comes first: an object that names a plane nobody is would fence everybody.
        Plan::Create(record, mark) => {
            let witness = record.witness.next().to_owned();
            let done = Record { witness: Witness::of_held(&witness), ..record.clone() };
            let fenced = record.fenced.clone();
            let create = Step::Create { epoch: record.epoch, witness, mark: *mark, fenced };
            vec![Step::Store(record.clone()), create, Step::Store(done)]
        }
        // The object comes first: its higher epoch tells that the file did not follow.
        Plan::Raise(record, mark) => {
            let witness = record.witness.held().to_owned();
            let raise = Step::Raise { epoch: record.epoch, witness, mark, fenced: record.fenced.clone() };
            vec![raise, Step::Store(record.clone())]
        }
    }
}

/// True when the file is to follow an epoch that somebody else's object was raised to: this plane took over, and waits
/// until the one that acted before is known to have stopped ([`crate::gate::QUIET`]).
pub(crate) fn is_taken_over(file: Option<&Record>, plan: &Plan) -> bool {
    match plan {
        Plan::Keep { record, holds: true } => file.is_none_or(|file| file.epoch < record.epoch),
        Plan::Keep { holds: false, .. } | Plan::Create(..) | Plan::Raise(..) => false,
    }
}

/// The identities whose Servers this plane looks after once it has taken over: the former holder's, and those that the
/// former holder had adopted.
pub(crate) fn adopted(plane: &Plane, own: &str) -> String {
    let mut all: Vec<&str> =
        plane.adopts().chain([plane.spec.holder.as_str()]).filter(|id| *id != own).collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// The epoch that this plane takes over with, when a person asked for it on the object.
pub(crate) fn takeover(own: &Record, plane: &Plane) -> Option<i64> {
    let asked = plane.metadata.annotations.as_ref()?.get(crate::TAKEOVER_ANNOTATION)?;
    let ours = *asked == own.id && plane.spec.holder != own.id;
    ours.then(|| own.epoch.max(plane.spec.epoch).saturating_add(1))
}

#[cfg(test)]
mod tests;
