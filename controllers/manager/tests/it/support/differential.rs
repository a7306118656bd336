//! Two planes with the same objects: in one our controllers act, in the other upstream's providers. Cluster API's core and the
//! made-up infrastructure are the same in both.
//!
//! What differs is compared with a table, which must be exact: every difference has an entry, every entry a difference.

mod certificate;
mod difference;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bloomery_testkit::talos::TalosCluster;
use bloomery_testkit::{Process, free_ports, scaled};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::bench::Bench;
use super::controllers::Controllers;
use super::{cluster_api, example, managers, upstream};

use difference::Difference;
pub(crate) use snapshot::Fresh;
use snapshot::snapshot;

/// Limit of a wait for both planes.
const LIMIT: Duration = Duration::from_mins(4);
/// Differences that stand for so long stay: upstream looks again after 20 s.
const REST: Duration = Duration::from_secs(30);
/// Between two looks at both planes.
const INTERVAL: Duration = Duration::from_secs(1);

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

    async fn of(bench: Bench, providers: Option<&[&str]>) -> Self {
        let [port] = free_ports();
        cluster_api::install_converted(&bench, port).await;
        example::define_kinds(&bench).await;
        let core = managers::start_core(&bench, port).await;
        let (controllers, providers) = if let Some(providers) = providers {
            (None, upstream::start(&bench, providers).await)
        } else {
            bench.apply();
            bench.create_idle_defaults().await;
            (Some(bench.setup.run(&bench.plane).await), Vec::new())
        };
        Self { bench, nodes: None, _controllers: controllers, _providers: providers, _core: core }
    }
}

/// Both planes.
pub(crate) struct Pair {
    pub(crate) ours: Plane,
    pub(crate) upstream: Plane,
}

impl Pair {
    /// With these of upstream's providers.
    pub(crate) async fn start(providers: &[&str]) -> Self {
        let [ours, upstream] = Bench::start_two().await;
        let (ours, upstream) = tokio::join!(Plane::of(ours, None), Plane::of(upstream, Some(providers)));
        Self { ours, upstream }
    }

    pub(crate) fn both(&self) -> [&Plane; 2] {
        [&self.ours, &self.upstream]
    }

    /// Waits until both planes have what `holds` says, and differ in a namespace by nothing but what the table has. What does
    /// not become so is kept in the table, so that one run shows all; returns whether it did.
    pub(crate) async fn compare(
        &self,
        table: &Table,
        (case, namespace): (&str, &str),
        fresh: Fresh,
        holds: impl Fn(&Value) -> bool,
    ) -> bool {
        let started = Instant::now();
        let mut standing = (Vec::new(), Instant::now());
        loop {
            let [ours, upstream] = self.both().map(|plane| plane.look(namespace, fresh));
            let (ours, upstream) = tokio::join!(ours, upstream);
            let missing =
                [("ours", &ours), ("upstream", &upstream)].into_iter().find(|(_, found)| !holds(found));
            let is_there = missing.is_none();
            let judged = match missing {
                None => table.judge(case, &difference::between(&ours, &upstream)),
                Some((who, found)) => Err(vec![format!("{case}: {who} is not there yet: {found:#}")]),
            };
            let Err(unexpected) = judged else { return true };
            if unexpected != standing.0 {
                standing = (unexpected, Instant::now());
            }
            let is_at_rest = is_there && standing.1.elapsed() > scaled(REST);
            if is_at_rest || started.elapsed() > scaled(LIMIT) {
                table.unexpected.lock().extend(standing.0);
                return false;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// How the planes differ at a place.
#[derive(Clone, Copy, Debug)]
enum Is {
    /// Ours has it, upstream not.
    Ours,
    /// Upstream has it, ours not.
    Upstream,
    /// Both have it, ours and upstream's.
    Both(&'static str, &'static str),
    /// Both have the same text; upstream's ends with white space.
    Trimmed,
}

/// A difference that is meant.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The case and the place, parted by ` > `; `*` is any one part, or the rest of one.
    at: &'static str,
    is: Is,
    #[allow(dead_code, reason = "it is for whoever reads the table, and what its entries print")]
    why: &'static str,
}

impl Accepted {
    /// Ours alone has it.
    pub(crate) const fn ours(at: &'static str, why: &'static str) -> Self {
        Self { at, is: Is::Ours, why }
    }

    /// Upstream alone has it.
    pub(crate) const fn upstream(at: &'static str, why: &'static str) -> Self {
        Self { at, is: Is::Upstream, why }
    }

    /// Both have it, with these values; `*` is any.
    pub(crate) const fn both(
        at: &'static str,
        (ours, upstream): (&'static str, &'static str),
        why: &'static str,
    ) -> Self {
        Self { at, is: Is::Both(ours, upstream), why }
    }

    /// Both have the same text; upstream's ends with white space.
    pub(crate) const fn trimmed(at: &'static str, why: &'static str) -> Self {
        Self { at, is: Is::Trimmed, why }
    }

    fn covers(&self, case: &str, difference: &Difference) -> bool {
        let found: Vec<&str> =
            std::iter::once(case).chain(difference.at.iter().map(String::as_str)).collect();
        let wanted: Vec<&str> = self.at.split(" > ").collect();
        let is_there = wanted.len() == found.len()
            && wanted.iter().zip(&found).all(|(wanted, found)| {
                wanted.strip_suffix('*').map_or(wanted == found, |start| found.starts_with(start))
            });
        is_there
            && match (self.is, &difference.ours, &difference.upstream) {
                (Is::Ours, Some(_), None) | (Is::Upstream, None, Some(_)) => true,
                (Is::Both(ours, upstream), Some(our), Some(their)) => {
                    let is = |text: &str, value: &Value| text == "*" || text == shown(value);
                    is(ours, our) && is(upstream, their)
                }
                (Is::Trimmed, Some(Value::String(our)), Some(Value::String(their))) => {
                    our != their && our == their.trim_end()
                }
                (Is::Ours | Is::Upstream | Is::Both(..) | Is::Trimmed, _, _) => false,
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
    unexpected: Mutex<Vec<String>>,
}

impl Table {
    pub(crate) fn of(entries: &'static [Accepted]) -> Self {
        Self { entries, occurred: Mutex::default(), unexpected: Mutex::default() }
    }

    /// Says which differences have no entry.
    fn judge(&self, case: &str, differences: &[Difference]) -> Result<(), Vec<String>> {
        let mut occurred = BTreeSet::new();
        let mut unexpected = Vec::new();
        for difference in differences {
            let covering: Vec<usize> = (0..self.entries.len())
                .filter(|&entry| self.entries[entry].covers(case, difference))
                .collect();
            if covering.is_empty() {
                unexpected.push(format!("{case} > {difference}"));
            }
            occurred.extend(covering);
        }
        if !unexpected.is_empty() {
            return Err(unexpected);
        }
        self.occurred.lock().extend(occurred);
        Ok(())
    }

    /// Every difference has an entry, and every entry occurred.
    pub(crate) fn assert_exact(&self) {
        let unexpected = self.unexpected.lock();
        assert!(
            unexpected.is_empty(),
            "differences without an entry (ours | upstream):\n{}",
            unexpected.join("\n")
        );
        let occurred = self.occurred.lock();
        let idle: Vec<_> = (0..self.entries.len())
            .filter(|entry| !occurred.contains(entry))
            .map(|entry| &self.entries[entry])
            .collect();
        assert!(idle.is_empty(), "differences that did not occur: {idle:#?}");
    }
}
