//! Metrics of the reconciles, in the Prometheus text format.
//!
//! Never labelled by object: the number of series must not grow with the number of machines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bloomery_power::{Kind as BmcKind, Observer, Operation};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::table::Key;

/// Content type of the Prometheus text format that `prometheus-client` writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names and values.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// All metrics of this process. A `result` or `outcome` is `success`, or one word for what went wrong.
#[derive(Debug)]
pub struct Metrics {
    reconciles: Family<Labels<2>, Counter>,
    reconcile_durations: Family<Labels<1>, Histogram>,
    conversions: Family<Labels<1>, Counter>,
    reviews: Family<Labels<1>, Counter>,
    downloads: Family<Labels<1>, Counter>,
    downloaded_bytes: Counter,
    power_calls: Family<Labels<3>, Counter>,
    power_durations: Family<Labels<1>, Histogram>,
    standings: Family<Labels<1>, Gauge>,
    /// Where each Server stood last, so that the gauges can follow.
    stood: Mutex<HashMap<Key, &'static str>>,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("controllers");
        let all = &mut registry;
        // 1 ms to 4 s: from a no-op to a slow API server.
        let reconciles: fn() -> _ = || Histogram::new(exponential_buckets(0.001, 2.0, 13));
        // 10 ms to 80 s: from an API on the same machine to the limit of a whole command.
        let calls: fn() -> _ = || Histogram::new(exponential_buckets(0.01, 2.0, 14));
        let durations = Family::new_with_constructor;
        Self {
            reconciles: add(all, "reconciles", "Reconciles by kind and result", None),
            reconcile_durations: add_metric(
                all,
                durations(reconciles),
                "reconcile_duration",
                "Duration of reconciles",
                Some(Unit::Seconds),
            ),
            conversions: add(all, "conversions", "Conversion reviews by result", None),
            reviews: add(all, "admission_reviews", "Admission reviews by result", None),
            downloads: add(all, "downloads", "Tries to fetch an asset, by result", None),
            downloaded_bytes: add(all, "downloaded", "Bytes of assets that were fetched", Some(Unit::Bytes)),
            power_calls: add(all, "power_calls", "Calls of management controllers by outcome", None),
            power_durations: add_metric(
                all,
                durations(calls),
                "power_call_duration",
                "Duration of calls of management controllers",
                Some(Unit::Seconds),
            ),
            standings: add(all, "servers", "Servers by where they stand", None),
            stood: Mutex::default(),
            registry,
        }
    }
}

fn add<M: Metric + Clone + Default>(all: &mut Registry, name: &str, help: &str, unit: Option<Unit>) -> M {
    add_metric(all, M::default(), name, help, unit)
}

fn add_metric<M: Metric + Clone>(
    all: &mut Registry,
    metric: M,
    name: &str,
    help: &str,
    unit: Option<Unit>,
) -> M {
    match unit {
        Some(unit) => all.register_with_unit(name, help, unit, metric.clone()),
        None => all.register(name, help, metric.clone()),
    }
    metric
}

impl Metrics {
    /// Counts one reconcile; `result` is `success` or an error's category.
    pub fn reconciled(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&[("kind", kind), ("result", result)]).inc();
        self.reconcile_durations.get_or_create(&[("kind", kind)]).observe(took.as_secs_f64());
    }

    pub fn converted(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.conversions.get_or_create(&[("result", result)]).inc();
    }

    /// Counts one admission review: `allowed`, `denied` or `malformed`.
    pub fn reviewed(&self, result: &'static str) {
        self.reviews.get_or_create(&[("result", result)]).inc();
    }

    /// Counts one try to fetch an asset; `result` is `success` or an error's category.
    pub fn downloaded(&self, result: &'static str, bytes: u64) {
        self.downloads.get_or_create(&[("result", result)]).inc();
        self.downloaded_bytes.inc_by(bytes);
    }

    /// Notes where a Server stands; `None` when it is gone.
    pub fn stands(&self, server: &Key, standing: Option<&'static str>) {
        let mut stood = self.stood.lock();
        let before = match standing {
            Some(standing) => stood.insert(server.clone(), standing),
            None => stood.remove(server),
        };
        let gauge = |standing| self.standings.get_or_create_owned(&[("standing", standing)]);
        if before != standing {
            before.map(|before| gauge(before).dec());
            standing.map(|standing| gauge(standing).inc());
        }
    }

    /// `/metrics`.
    pub fn routes(self: &Arc<Self>) -> Router {
        let metrics = Arc::clone(self);
        let answer = async move || match metrics.render() {
            Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        };
        Router::new().route("/metrics", get(answer))
    }

    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts the calls of management controllers.
pub struct PowerCalls(pub Arc<Metrics>);

impl Observer for PowerCalls {
    fn observe(&self, kind: BmcKind, operation: Operation, outcome: &'static str, took: Duration) {
        let kind = kind.as_str();
        let call = [("kind", kind), ("operation", operation.as_str()), ("outcome", outcome)];
        self.0.power_calls.get_or_create(&call).inc();
        self.0.power_durations.get_or_create(&[("kind", kind)]).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_kind_and_result() {
        let metrics = Metrics::default();
        metrics.reconciled("Server", "success", Duration::from_millis(3));
        metrics.reconciled("Server", "conflict", Duration::from_millis(3));
        metrics.reconciled("Server", "success", Duration::from_millis(3));
        metrics.converted(true);
        let text = metrics.render().unwrap();
        assert!(text.contains(r#"controllers_reconciles_total{kind="Server",result="success"} 2"#), "{text}");
        assert!(text.contains(r#"controllers_reconcile_duration_seconds_count{kind="Server"} 3"#), "{text}");
        assert!(text.contains(r#"controllers_conversions_total{result="success"} 1"#), "{text}");
    }
}
