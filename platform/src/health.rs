//! What runs and what does not, for `/healthz` and `/readyz`: each part reports itself.
//!
//! A part that is down never makes another part report down.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// State of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not tried yet.
    Starting,
    /// Does its work.
    Up,
    /// Does not, and why.
    Down(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Up => f.write_str("ok"),
            Self::Down(why) => write!(f, "down: {why}"),
        }
    }
}

/// Whether a part counts for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The process is not ready without it.
    Required,
    /// Shown only.
    Shown,
}

type Parts = BTreeMap<String, (Weight, State)>;

/// States of all parts. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Parts>>);

/// One part's handle on its state; the part is forgotten when the handle is dropped.
#[derive(Debug)]
pub struct Part {
    health: Health,
    name: String,
}

impl Health {
    /// Adds a part that is starting.
    pub fn register(&self, name: impl Into<String>, weight: Weight) -> Part {
        let name = name.into();
        self.0.lock().insert(name.clone(), (weight, State::Starting));
        Part { health: self.clone(), name }
    }

    /// Names required parts that register later: until then the process is not ready.
    pub fn expect(&self, names: impl IntoIterator<Item = &'static str>) {
        let starting = |name: &str| (name.to_owned(), (Weight::Required, State::Starting));
        self.0.lock().extend(names.into_iter().map(starting));
    }

    /// Whether every required part is up.
    pub fn is_ready(&self) -> bool {
        let parts = self.0.lock();
        parts.values().all(|(weight, state)| *weight == Weight::Shown || *state == State::Up)
    }

    /// One line for each part, in the manner of the Kubernetes `/readyz?verbose`.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (name, (weight, state)) in self.0.lock().iter() {
            let mark = if *state == State::Up { '+' } else { '-' };
            let note = if *weight == Weight::Shown { " (not needed for readiness)" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "[{mark}] {name} {state}{note}");
        }
        text
    }

    /// A gauge of `program` for each part: 1 up, 0 not.
    pub fn metrics(&self, program: &str) -> String {
        let name = format!("{program}_up");
        let mut text = format!("# HELP {name} Whether a part does its work.\n# TYPE {name} gauge\n");
        for (part, (_, state)) in self.0.lock().iter() {
            let up = u8::from(*state == State::Up);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}{{part={part:?}}} {up}");
        }
        text
    }

    /// State of a part, if it is there.
    pub fn state(&self, name: &str) -> Option<State> {
        self.0.lock().get(name).map(|(_, state)| state.clone())
    }
}

impl Part {
    /// The part's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reports the state; returns whether it is news.
    pub fn set(&self, state: State) -> bool {
        match self.health.0.lock().get_mut(&self.name) {
            Some((_, current)) if *current != state => {
                *current = state;
                true
            }
            Some(_) | None => false,
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.health.0.lock().remove(&self.name);
    }
}

/// Serves `/healthz`, `/readyz` and the `others` until `stop`.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    others: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || readyz(&health)))
        .merge(others);
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

fn readyz(health: &Health) -> (StatusCode, String) {
    let (status, line) = if health.is_ready() {
        (StatusCode::OK, "readyz check passed\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "readyz check failed\n")
    };
    (status, health.report() + line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_all_required_parts_are_up() {
        let health = Health::default();
        health.expect(["tftp"]);
        assert!(!health.is_ready(), "it is not even registered");
        let tftp = health.register("tftp", Weight::Required);
        let api = health.register("kubernetes", Weight::Shown);
        assert!(!health.is_ready());
        assert!(tftp.set(State::Up));
        assert!(!tftp.set(State::Up));
        assert!(health.is_ready(), "{}", health.report());
        api.set(State::Down("connection refused".to_owned()));
        assert!(health.is_ready());
        assert_eq!(
            health.report(),
            "[-] kubernetes down: connection refused (not needed for readiness)\n[+] tftp ok\n"
        );
        assert!(health.metrics("x").ends_with("x_up{part=\"kubernetes\"} 0\nx_up{part=\"tftp\"} 1\n"));
        tftp.set(State::Down("port taken".to_owned()));
        assert!(!health.is_ready());
        assert_eq!(readyz(&health).0, StatusCode::SERVICE_UNAVAILABLE);
        drop(tftp);
        assert!(health.is_ready());
    }
}
