//! What runs and what does not, for `/readyz`: each part reports itself.
//!
//! A part that is down never makes another part report down.

pub mod serve;

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

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

/// States of all parts.
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
        self.with(|parts| parts.insert(name.clone(), (weight, State::Starting)));
        Part { health: self.clone(), name }
    }

    /// Whether every required part is up.
    pub fn is_ready(&self) -> bool {
        self.with(|parts| {
            parts.values().all(|(weight, state)| *weight == Weight::Shown || *state == State::Up)
        })
    }

    /// One line for each part, in the manner of the Kubernetes `/readyz?verbose`.
    pub fn report(&self) -> String {
        let mut text = String::new();
        self.with(|parts| {
            for (name, (weight, state)) in parts.iter() {
                let mark = if *state == State::Up { '+' } else { '-' };
                let note = if *weight == Weight::Shown { " (not needed for readiness)" } else { "" };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "[{mark}] {name} {state}{note}");
            }
        });
        text
    }

    /// A gauge for each part: 1 up, 0 not.
    pub fn metrics(&self) -> String {
        let mut text =
            "# HELP bootsvc_up Whether a part does its work.\n# TYPE bootsvc_up gauge\n".to_owned();
        self.with(|parts| {
            for (name, (_, state)) in parts.iter() {
                let up = u8::from(*state == State::Up);
                let _ = writeln!(text, "bootsvc_up{{part={name:?}}} {up}");
            }
        });
        text
    }

    /// State of a part, if it is there.
    pub fn state(&self, name: &str) -> Option<State> {
        self.with(|parts| parts.get(name).map(|(_, state)| state.clone()))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Parts) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Part {
    /// The part's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reports the state; returns whether it is news.
    pub fn set(&self, state: State) -> bool {
        self.health.with(|parts| match parts.get_mut(&self.name) {
            Some((_, current)) if *current == state => false,
            Some((_, current)) => {
                *current = state;
                true
            }
            None => false,
        })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.health.with(|parts| parts.remove(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_all_required_parts_are_up() {
        let health = Health::default();
        let tftp = health.register("tftp", Weight::Required);
        let api = health.register("kubernetes", Weight::Shown);
        assert!(!health.is_ready());
        assert!(tftp.set(State::Up));
        assert!(!tftp.set(State::Up));
        assert!(health.is_ready(), "{}", health.report());
        api.set(State::Down("connection refused".to_owned()));
        assert!(health.is_ready());
        insta::assert_snapshot!(health.report(), @r"
        [-] kubernetes down: connection refused (not needed for readiness)
        [+] tftp ok
        ");
        tftp.set(State::Down("port taken".to_owned()));
        assert!(!health.is_ready());
        drop(tftp);
        assert!(health.is_ready());
    }
}
