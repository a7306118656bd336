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
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::table::Key;

/// Content type of the Prometheus text format that `prometheus-client` writes.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels of an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    /// Kind reconciled.
    kind: &'static str,
    /// `success`, or the category of the error.
    result: &'static str,
}

/// Labels of a duration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    /// Kind reconciled.
    kind: &'static str,
}

/// Labels of a call of a management controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PowerCall {
    /// `ipmi`, `redfish`, `http` or `unknown`.
    kind: &'static str,
    /// What was asked for.
    operation: &'static str,
    /// `success`, or one word for what went wrong.
    outcome: &'static str,
}

/// Labels of how long such calls take.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PowerKind {
    /// `ipmi`, `redfish`, `http` or `unknown`.
    kind: &'static str,
}

/// Labels of machines.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    /// Where they stand, as in the condition `Ready`.
    standing: &'static str,
}

/// All metrics of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    outcomes: Family<Outcome, Counter>,
    durations: Family<Kind, Histogram>,
    conversions: Family<ResultOnly, Counter>,
    reviews: Family<ResultOnly, Counter>,
    downloads: Family<ResultOnly, Counter>,
    downloaded_bytes: Counter,
    power_calls: Family<PowerCall, Counter>,
    power_durations: Family<PowerKind, Histogram>,
    standings: Family<Standing, Gauge>,
    /// Where each Server stood last, so that the gauges can follow.
    stood: Mutex<HashMap<Key, &'static str>>,
}

/// Labels of what has a result only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultOnly {
    /// `success`, or one word for what went wrong.
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        // 1 ms to 4 s: from a no-op to a slow API server.
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 13));
        let outcomes = Family::default();
        let durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        let conversions = Family::default();
        let mut registry = Registry::with_prefix("controllers");
        registry.register("reconciles", "Reconciles by kind and result", outcomes.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Duration of reconciles",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("conversions", "Conversion reviews by result", conversions.clone());
        let (reviews, downloads, downloaded_bytes) =
            (Family::default(), Family::default(), Counter::default());
        registry.register("admission_reviews", "Admission reviews by result", reviews.clone());
        registry.register("downloads", "Tries to fetch an asset, by result", downloads.clone());
        registry.register_with_unit(
            "downloaded",
            "Bytes of assets that were fetched",
            Unit::Bytes,
            downloaded_bytes.clone(),
        );
        let (power_calls, standings) = (Family::default(), Family::default());
        // 10 ms to 80 s: from an API on the same machine to the limit of a whole command.
        let histogram = || Histogram::new(exponential_buckets(0.01, 2.0, 14));
        let power_durations = Family::new_with_constructor(histogram as fn() -> Histogram);
        registry.register("power_calls", "Calls of management controllers by outcome", power_calls.clone());
        registry.register_with_unit(
            "power_call_duration",
            "Duration of calls of management controllers",
            Unit::Seconds,
            power_durations.clone(),
        );
        registry.register("servers", "Servers by where they stand", standings.clone());
        Self {
            registry,
            outcomes,
            durations,
            conversions,
            reviews,
            downloads,
            downloaded_bytes,
            power_calls,
            power_durations,
            standings,
            stood: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts one reconcile; `result` is `success` or an error's category.
    pub fn reconciled(&self, kind: &'static str, result: &'static str, took: Duration) {
        self.outcomes.get_or_create(&Outcome { kind, result }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// Counts one conversion review.
    pub fn converted(&self, success: bool) {
        let result = if success { "success" } else { "failure" };
        self.conversions.get_or_create(&ResultOnly { result }).inc();
    }

    /// Counts one admission review: `allowed`, `denied` or `malformed`.
    pub fn reviewed(&self, result: &'static str) {
        self.reviews.get_or_create(&ResultOnly { result }).inc();
    }

    /// Counts one try to fetch an asset; `result` is `success` or an error's category.
    pub fn downloaded(&self, result: &'static str, bytes: u64) {
        self.downloads.get_or_create(&ResultOnly { result }).inc();
        self.downloaded_bytes.inc_by(bytes);
    }

    /// Notes where a Server stands; `None` when it is gone.
    pub fn stands(&self, server: &Key, standing: Option<&'static str>) {
        let mut stood = self.stood.lock();
        let before = match standing {
            Some(standing) => stood.insert(server.clone(), standing),
            None => stood.remove(server),
        };
        let gauge = |standing| self.standings.get_or_create_owned(&Standing { standing });
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

    /// The text to serve.
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
        let call = PowerCall { kind, operation: operation.as_str(), outcome };
        self.0.power_calls.get_or_create(&call).inc();
        self.0.power_durations.get_or_create(&PowerKind { kind }).observe(took.as_secs_f64());
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
