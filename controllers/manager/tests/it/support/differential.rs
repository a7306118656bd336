//! Two planes with the same objects: in one our controllers act, in the other upstream's providers. Cluster API's core and the
//! made-up infrastructure are the same in both.
//!
//! What differs is compared with a table, which must be exact: every difference has an entry, every entry a difference.

mod certificate;
mod difference;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bloomery_testkit::talos::TalosCluster;
use bloomery_testkit::{Process, free_ports, within};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::bench::Bench;
use super::controllers::Controllers;
use super::{cluster_api, example, managers, upstream};

use difference::Difference;
pub(crate) use snapshot::Fresh;
use snapshot::snapshot;

/// Limit of a wait for both planes: upstream looks again after 20 s.
const LIMIT: Duration = Duration::from_mins(4);

/// One of the planes.
pub(crate) struct Plane {
    pub(crate) bench: Bench,
    nodes: Option<Nodes>,
    _controllers: Option<Controllers>,
    _providers: Vec<Process>,
    _core: Process,
}

/// The nodes of a control plane.
struct Nodes {
    talos: TalosCluster,
    _machines: AbortOnDropHandle<()>,
}

impl Plane {
    /// Has machines boot, whose nodes are of this authority.
    pub(crate) fn provide(&mut self, talos: TalosCluster) {
        let machines = example::provide(&self.bench, &talos);
        self.nodes = Some(Nodes { talos, _machines: machines });
    }

    /// What is in a namespace, and what the nodes were told.
    async fn look(&self, namespace: &str, fresh: Fresh) -> Value {
        let mut found = snapshot(&self.bench, namespace, fresh).await;
        if let Some(Nodes { talos, .. }) = &self.nodes {
            let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
            for call in talos.calls() {
                *calls.entry(call.name).or_default() += 1;
            }
            let voters = talos.members().iter().filter(|one| !one.is_learner).count();
            found["Nodes"] = json!({ "calls": calls, "members": talos.members().len(), "voters": voters,
                "faults": talos.faults() });
        }
        found
    }

    async fn of(bench: Bench, is_ours: bool) -> Self {
        let [port] = free_ports();
        cluster_api::install_converted(&bench, port).await;
        example::define_kinds(&bench).await;
        if is_ours {
            bench.apply();
            bench.create_idle_defaults().await;
            let core = managers::start_core(&bench, port).await;
            let controllers = bench.setup.run(&bench.plane).await;
            return Self { bench, nodes: None, _controllers: Some(controllers), _providers: Vec::new(), _core: core };
        }
        let core = managers::start_core(&bench, port).await;
        let providers = upstream::start(&bench).await;
        Self { bench, nodes: None, _controllers: None, _providers: providers, _core: core }
    }
}

/// Both planes.
pub(crate) struct Pair {
    pub(crate) ours: Plane,
    pub(crate) upstream: Plane,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let [ours, upstream] = Bench::start_two().await;
        let (ours, upstream) = tokio::join!(Plane::of(ours, true), Plane::of(upstream, false));
        Self { ours, upstream }
    }

    pub(crate) fn both(&self) -> [&Plane; 2] {
        [&self.ours, &self.upstream]
    }

    /// Waits until both planes have what `holds` says, and differ in a namespace by nothing but what the table has.
    pub(crate) async fn compare(
        &self,
        table: &Table,
        (case, namespace): (&str, &str),
        fresh: Fresh,
        holds: impl Fn(&Value) -> bool,
    ) {
        within(LIMIT, &format!("{case}: both planes have the same"), async || {
            let [ours, upstream] = self.both().map(|plane| plane.look(namespace, fresh));
            let (ours, upstream) = tokio::join!(ours, upstream);
            for (who, found) in [("ours", &ours), ("upstream", &upstream)] {
                if !holds(found) {
                    return Err(format!("{who} is not there yet: {found:#}"));
                }
            }
            table.judge(case, &difference::between(&ours, &upstream))
        })
        .await;
    }
}

/// How the planes differ at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Is {
    /// Ours has it, upstream not.
    Ours,
    /// Upstream has it, ours not.
    Upstream,
    /// Both have it, ours and upstream's.
    Both(&'static str, &'static str),
}

/// A difference that is meant.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The case and the place, parted by ` > `; `*` is any one part.
    pub(crate) at: &'static str,
    pub(crate) is: Is,
    /// Why it is meant.
    pub(crate) why: &'static str,
}

impl Accepted {
    fn covers(&self, case: &str, difference: &Difference) -> bool {
        let found: Vec<&str> = std::iter::once(case).chain(difference.at.iter().map(String::as_str)).collect();
        let wanted: Vec<&str> = self.at.split(" > ").collect();
        let is_there = wanted.len() == found.len()
            && wanted.iter().zip(&found).all(|(wanted, found)| *wanted == "*" || wanted == found);
        is_there
            && match (self.is, &difference.ours, &difference.upstream) {
                (Is::Ours, Some(_), None) | (Is::Upstream, None, Some(_)) => true,
                (Is::Both(ours, upstream), Some(our), Some(their)) => {
                    let is = |text: &str, value: &Value| text == "*" || text == shown(value);
                    is(ours, our) && is(upstream, their)
                }
                (Is::Ours | Is::Upstream | Is::Both(..), _, _) => false,
            }
    }
}

/// A text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// All differences that are meant, and which of them occurred.
pub(crate) struct Table {
    entries: &'static [Accepted],
    occurred: Mutex<BTreeSet<usize>>,
}

impl Table {
    pub(crate) fn of(entries: &'static [Accepted]) -> Self {
        Self { entries, occurred: Mutex::default() }
    }

    /// Says which differences have no entry.
    fn judge(&self, case: &str, differences: &[Difference]) -> Result<(), String> {
        let mut occurred = BTreeSet::new();
        let mut unexpected = Vec::new();
        for difference in differences {
            let covering: Vec<usize> =
                (0..self.entries.len()).filter(|&entry| self.entries[entry].covers(case, difference)).collect();
            if covering.is_empty() {
                unexpected.push(format!("{case} > {difference}"));
            }
            occurred.extend(covering);
        }
        if !unexpected.is_empty() {
            return Err(format!("differences without an entry:\n{}", unexpected.join("\n")));
        }
        self.occurred.lock().extend(occurred);
        Ok(())
    }

    /// Every entry occurred.
    pub(crate) fn assert_exact(&self) {
        let occurred = self.occurred.lock();
        let idle: Vec<_> =
            (0..self.entries.len()).filter(|entry| !occurred.contains(entry)).map(|entry| &self.entries[entry]).collect();
        assert!(idle.is_empty(), "differences that did not occur: {idle:#?}");
    }
}
