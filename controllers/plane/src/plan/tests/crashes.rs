//! A plane whose power goes after any number of steps, as often as one likes, and whose state is restored in between.
//!
//! The state's revision never tells here: whoever restores puts it up.

use std::collections::HashSet;

use super::super::*;
use super::{fresh, plane};

/// Runs in a row that are looked at.
const RUNS: usize = 4;
/// Steps of the longest plan.
const LONGEST: usize = 3;

/// The Plane object as etcd holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Object {
    epoch: i64,
    witness: String,
    marked: bool,
}

/// What lasts.
#[derive(Clone, Debug, Default)]
struct World {
    file: Option<Record>,
    object: Option<Object>,
    /// Starts so far, each with digits of its own.
    starts: usize,
}

impl World {
    fn plan(&self) -> (Plan, String) {
        let digits = format!("w{}", self.starts);
        let found = self.object.as_ref().map(|object| plane("new", object.epoch, &object.witness));
        let plan = plan(self.file.as_ref(), Seen::default(), found.as_ref(), 100, &fresh(&digits));
        (plan, digits)
    }

    /// Starts, takes this many steps, and loses its power. `lost` says whether the step in the middle of which that
    /// happened reached etcd all the same.
    fn run(&self, steps_taken: usize, reached: bool) -> Self {
        let (plan, digits) = self.plan();
        let mut world = Self { starts: self.starts + 1, ..self.clone() };
        let all = steps(&plan, Some(&digits));
        for step in all.iter().take(steps_taken) {
            world.take(step);
        }
        if let Some(step) = all.get(steps_taken).filter(|_| reached) {
            world.take(step);
        }
        world
    }

    fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::Store(record) => self.file = Some(record),
            Step::Create { epoch, witness, mark, fenced: _ } => {
                assert!(self.object.is_none());
                self.object = Some(Object { epoch, witness, marked: mark.is_some() });
            }
            Step::Raise { epoch, witness, mark: _, fenced: _ } => {
                self.object = Some(Object { epoch, witness, marked: true });
            }
            Step::Witness(witness) => {
                let object = self.object.as_mut().unwrap();
                object.witness = witness;
            }
        }
    }

    fn is_known(&self) -> bool {
        match (&self.file, &self.object) {
            (Some(file), Some(object)) => object.epoch > file.epoch || file.witness.knows(&object.witness),
            _ => true,
        }
    }
}

/// Every world after up to `runs` runs that end anywhere.
fn worlds(start: &World, runs: usize) -> Vec<Vec<World>> {
    let mut histories = vec![vec![start.clone()]];
    let mut all = histories.clone();
    for _ in 0..runs {
        let mut next = Vec::new();
        for history in &histories {
            for taken in 0..=LONGEST {
                for reached in [false, true] {
                    let mut longer = history.clone();
                    longer.push(history.last().unwrap().run(taken, reached));
                    next.push(longer);
                }
            }
        }
        all.extend(next.iter().cloned());
        histories = next;
    }
    all
}

fn whole(world: &World) -> World {
    world.run(LONGEST, false)
}

fn old_release() -> World {
    let file =
        Record { id: "new".to_owned(), epoch: 1, revision: 50, fenced: None, witness: Witness::default() };
    let object = Object { epoch: 1, witness: String::new(), marked: false };
    World { file: Some(file), object: Some(object), starts: 0 }
}

#[test]
fn a_power_cut_at_any_instant_is_no_alarm() {
    for start in [World::default(), whole(&World::default()), old_release()] {
        for history in worlds(&start, RUNS) {
            let world = history.last().unwrap();
            assert!(world.is_known(), "{history:?}");
            assert!(!world.object.as_ref().is_some_and(|object| object.marked), "{history:?}");
            let (plan, _) = world.plan();
            assert!(!matches!(plan, Plan::Raise(..) | Plan::Create(_, Some(_))), "{history:?}");
        }
    }
}

#[test]
fn a_state_from_before_the_last_digits_that_were_seen_is_noticed() {
    let start = whole(&World::default());
    let mut noticed = 0;
    for history in worlds(&start, RUNS) {
        let now = history.last().unwrap();
        let file = now.file.as_ref().unwrap();
        for snapshot in history.iter().filter_map(|world| world.object.clone()) {
            let restored = World { object: Some(snapshot.clone()), ..now.clone() };
            let is_older = !file.witness.knows(&snapshot.witness);
            // All that gets by: what the file names, because nobody can tell it from a write that did not get through.
            let named = [file.witness.held(), file.witness.next()];
            assert_eq!(is_older, !named.contains(&&*snapshot.witness), "{history:?}");
            let (plan, _) = restored.plan();
            assert_eq!(matches!(plan, Plan::Raise(_, FOREIGN)), is_older, "{history:?} {snapshot:?}");
            assert_eq!(restored.is_known(), !is_older, "the gate says so too");
            noticed += usize::from(is_older);
        }
    }
    assert!(noticed > 100, "{noticed}");
}

#[test]
fn a_restore_is_noticed_however_often_the_power_goes_meanwhile_and_marked_once_it_is() {
    let before = whole(&World::default());
    let after = whole(&whole(&before));
    for (object, why) in [(before.object.clone(), "older"), (None, "lost")] {
        let restored = World { object, ..after.clone() };
        let old = restored.object.clone();
        let mut seen = HashSet::new();
        for history in worlds(&restored, 3) {
            let world = history.last().unwrap();
            if world.object == old {
                // Nothing was written: it is still noticed, and nobody acts.
                let (plan, _) = world.plan();
                assert!(matches!(plan, Plan::Raise(..) | Plan::Create(_, Some(_))), "{why}: {history:?}");
                assert!(why == "lost" || !world.is_known(), "{history:?}");
            } else {
                let object = world.object.clone().unwrap();
                assert!(object.marked && object.epoch > 1, "{why}: {history:?}");
                assert!(world.is_known(), "{why}: {history:?}");
                let settled = whole(world);
                assert_eq!(settled.file.as_ref().unwrap().epoch, object.epoch, "{why}: noticed once");
                seen.insert(object.epoch);
            }
        }
        assert!(!seen.is_empty());
    }
}
