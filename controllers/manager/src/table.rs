//! The table of controllers, and what each does right now: shown at `/controllers` of the health address.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use kube::runtime::reflector::{Lookup, ObjectRef};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// Every object is looked at again after this time, whatever happened in between.
const RESYNC: Duration = Duration::from_mins(5);

/// An object of any kind and namespace.
pub type Key = ObjectRef<DynamicObject>;

pub fn key<K: Lookup<DynamicType = ()>>(object: &K) -> Key {
    ObjectRef::from_obj(object).erase()
}

#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name, as in `/readyz`.
    pub name: &'static str,
    /// What it reconciles, for metrics and logs.
    pub kind: &'static str,
    /// Reconciles at once; 0 means no limit.
    pub workers: u16,
    /// Until an object is looked at again that did not change.
    pub resync: Duration,
}

/// No limit: a reconcile waits for the machine's BMC, and a thousand dead ones must not delay the others. What is
/// dear is bounded elsewhere: requests by the client ([`crate::LIMITS`]), BMC sessions by the pool.
pub const SERVERS: Definition = Definition { name: "servers", kind: "Server", workers: 0, resync: RESYNC };
/// It takes two reads, and only for bindings on their way out, whose Server may go first: no event of that comes here.
pub const BINDINGS: Definition = Definition {
    name: "serverbindings",
    kind: "ServerBinding",
    workers: 10,
    resync: Duration::from_secs(20),
};
/// As many workers as upstream has.
pub const CLASSES: Definition =
    Definition { name: "serverclasses", kind: "ServerClass", workers: 10, resync: RESYNC };
/// Few: each may read files of a hundred megabytes. Files have no watch; looking at two sizes and times is cheap.
pub const ENVIRONMENTS: Definition =
    Definition { name: "environments", kind: "Environment", workers: 4, resync: Duration::from_secs(20) };

/// What is known of each controller. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Table(Arc<Mutex<BTreeMap<&'static str, Arc<Row>>>>);

#[derive(Debug)]
pub struct Row {
    pub definition: &'static Definition,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    reconciles: u64,
    last_run: Option<Run>,
    last_error: Option<Failed>,
    /// Failures in a row.
    failing: HashMap<Key, u32>,
    under_way: HashMap<Key, Instant>,
    waits_for: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    object: String,
    at: Timestamp,
    milliseconds: u128,
    result: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Failed {
    object: String,
    at: Timestamp,
    error: String,
}

/// A row as it is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: &'static str,
    kind: &'static str,
    workers: u16,
    resync_seconds: u64,
    reconciles: u64,
    /// Objects whose last reconcile failed.
    failing: usize,
    under_way: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_under_way: Option<UnderWay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<Failed>,
}

#[derive(Debug, Serialize)]
struct UnderWay {
    object: String,
    seconds: u64,
}

impl Table {
    pub fn add(&self, definition: &'static Definition) -> Arc<Row> {
        let row = Arc::new(Row { definition, state: Mutex::default() });
        self.0.lock().insert(definition.name, Arc::clone(&row));
        row
    }

    /// `/controllers`.
    pub fn routes(&self) -> Router {
        let table = self.clone();
        Router::new().route("/controllers", get(async move || Json(table.show(Instant::now()))))
    }

    fn show(&self, now: Instant) -> Vec<Shown> {
        self.0.lock().values().map(|row| row.show(now)).collect()
    }
}

impl Row {
    /// Says what keeps all reconciles from their work; `None` when nothing does.
    pub fn waits_for(&self, what: Option<&'static str>) {
        self.state.lock().waits_for = what;
    }

    /// A reconcile begins; it ends when the answer is dropped.
    pub fn begin(&self, object: &Key, now: Instant) -> Begun<'_> {
        let mut state = self.state.lock();
        state.waits_for = None;
        state.under_way.insert(object.clone(), now);
        Begun { row: self, object: object.clone() }
    }

    /// A reconcile ended; `result` is `success` or the category of its error.
    pub fn ended(&self, object: &Key, result: &'static str, took: Duration) {
        let mut state = self.state.lock();
        state.reconciles += 1;
        if result == "success" {
            state.failing.remove(object);
        }
        let (object, milliseconds) = (text(object), took.as_millis());
        state.last_run = Some(Run { object, at: Timestamp::now(), milliseconds, result });
    }

    /// A reconcile failed; how many times in a row.
    pub fn failed(&self, object: &Key, error: String) -> u32 {
        let mut state = self.state.lock();
        state.last_error = Some(Failed { object: text(object), at: Timestamp::now(), error });
        let count = state.failing.entry(object.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    pub fn forget(&self, object: &Key) {
        self.state.lock().failing.remove(object);
    }

    fn show(&self, now: Instant) -> Shown {
        let Definition { name, kind, workers, resync } = *self.definition;
        let state = self.state.lock();
        let longest = state.under_way.iter().min_by_key(|(_, since)| **since);
        Shown {
            name,
            kind,
            workers,
            resync_seconds: resync.as_secs(),
            reconciles: state.reconciles,
            failing: state.failing.len(),
            under_way: state.under_way.len(),
            longest_under_way: longest.map(|(object, since)| UnderWay {
                object: text(object),
                seconds: now.saturating_duration_since(*since).as_secs(),
            }),
            waits_for: state.waits_for,
            last_run: state.last_run.clone(),
            last_error: state.last_error.clone(),
        }
    }
}

pub struct Begun<'a> {
    row: &'a Row,
    object: Key,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.row.state.lock().under_way.remove(&self.object);
    }
}

fn text(object: &Key) -> String {
    match &object.namespace {
        Some(namespace) => format!("{namespace}/{}", object.name),
        None => object.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(namespace: &str, name: &str) -> Key {
        ObjectRef::<ConfigMap>::new(name).within(namespace).erase()
    }

    #[test]
    fn objects_of_one_name_in_two_namespaces_fail_apart() {
        let row = Table::default().add(&CLASSES);
        let (one, two) = (object("one", "a"), object("two", "a"));
        assert_eq!((row.failed(&one, String::new()), row.failed(&one, String::new())), (1, 2));
        assert_eq!(row.failed(&two, String::new()), 1);
        row.ended(&one, "success", Duration::ZERO);
        assert_eq!((row.failed(&one, String::new()), row.failed(&two, String::new())), (1, 2));
        row.forget(&two);
        assert_eq!(row.failed(&two, String::new()), 1);
    }

    #[test]
    fn the_table_shows_the_last_run_the_last_error_and_what_is_waited_for() {
        let (table, start) = (Table::default(), Instant::now());
        let row = table.add(&SERVERS);
        let shown = || serde_json::to_value(table.show(start + Duration::from_secs(7))).unwrap()[0].clone();
        let first = shown();
        assert_eq!((&first["name"], &first["resyncSeconds"]), (&"servers".into(), &300.into()));
        assert!(first.get("lastRun").is_none() && first.get("lastError").is_none());
        row.waits_for(Some("another plane"));
        assert_eq!(shown()["waitsFor"], "another plane");
        let (a, b) = (object("n", "a"), object("n", "b"));
        let begun = row.begin(&a, start);
        let _other = row.begin(&b, start + Duration::from_secs(1));
        let during = shown();
        assert_eq!(during["underWay"], 2);
        assert_eq!(during["longestUnderWay"], serde_json::json!({ "object": "n/a", "seconds": 7 }));
        assert!(during.get("waitsFor").is_none());
        row.ended(&a, "api", Duration::from_millis(12));
        row.failed(&a, "no answer".to_owned());
        drop(begun);
        let after = shown();
        assert_eq!((&after["underWay"], &after["failing"]), (&1.into(), &1.into()));
        assert_eq!(
            (&after["lastRun"]["result"], &after["lastRun"]["milliseconds"]),
            (&"api".into(), &12.into())
        );
        assert_eq!(
            (&after["lastError"]["object"], &after["lastError"]["error"]),
            (&"n/a".into(), &"no answer".into())
        );
    }
}
