//! How long a connection may go on: it has a request that is being answered and a time for that, or it is idle.
//!
//! It must never end a connection by itself: [`Pulse::expired`] tells its owner to.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::tapped::tapped;

/// A connection without a request for this long is closed. An agent at work reports every 30 s.
pub const IDLE: Duration = Duration::from_mins(2);

#[derive(Debug)]
pub struct Pulse {
    state: Mutex<State>,
    changed: Notify,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// Requests that are being answered, and until when each may be.
    running: Vec<(u64, Instant)>,
    next: u64,
    idle_since: Instant,
    has_shown_token: bool,
}

/// A request that is being answered; it ends with the value.
#[derive(Debug)]
pub struct Running {
    pulse: Arc<Pulse>,
    id: u64,
}

impl Default for Pulse {
    fn default() -> Self {
        let state =
            State { running: Vec::new(), next: 0, idle_since: Instant::now(), has_shown_token: false };
        Self { state: Mutex::new(state), changed: Notify::new(), turn: tokio::sync::Mutex::default() }
    }
}

impl Pulse {
    /// A request has come, and may take `limit`.
    pub fn begin(self: &Arc<Self>, limit: Duration) -> Running {
        let id = {
            let mut state = self.state.lock();
            let id = state.next;
            state.next += 1;
            state.running.push((id, Instant::now() + limit));
            id
        };
        self.changed.notify_one();
        Running { pulse: self.clone(), id }
    }

    /// Since when no request is being answered; none while one is.
    pub fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.running.is_empty().then_some(state.idle_since)
    }

    /// A valid boot token was shown on this connection.
    pub fn show_token(&self) {
        self.state.lock().has_shown_token = true;
    }

    /// Whether a valid boot token was shown on this connection.
    pub fn has_shown_token(&self) -> bool {
        self.state.lock().has_shown_token
    }

    /// Waits until no other request of this connection has the turn.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Waits until a request has run for too long, or none has come for too long.
    pub async fn expired(&self) {
        loop {
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// When it has run or waited for too long.
    fn deadline(&self) -> Instant {
        let state = self.state.lock();
        state.running.iter().map(|(_, until)| *until).min().unwrap_or(state.idle_since + IDLE)
    }
}

impl Running {
    /// From now on it may take this long.
    pub fn allow(&self, limit: Duration) {
        let running = &mut self.pulse.state.lock().running;
        if let Some((_, until)) = running.iter_mut().find(|(id, _)| *id == self.id) {
            *until = Instant::now() + limit;
        }
        self.pulse.changed.notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.pulse.state.lock();
        state.running.retain(|(id, _)| *id != self.id);
        state.idle_since = Instant::now();
        drop(state);
        self.pulse.changed.notify_one();
    }
}

/// A response's body: its request is being answered until the client has taken it.
pub fn held(body: Body, running: Running) -> Body {
    tapped(body, move |_, polled| {
        // Kept for its end alone.
        let _ = &running;
        polled
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the connection would be ended in so many seconds, and not a little earlier.
    fn ends_in(pulse: &Pulse, seconds: u64) -> bool {
        let left = pulse.deadline() - Instant::now();
        left <= Duration::from_secs(seconds) && left > Duration::from_secs(seconds - 10)
    }

    #[tokio::test]
    async fn ends_idle_connections_and_requests_that_take_too_long() {
        let pulse = Arc::new(Pulse::default());
        assert!(ends_in(&pulse, IDLE.as_secs()) && pulse.idle_since().is_some());
        let (one, two) = (pulse.begin(Duration::from_secs(20)), pulse.begin(Duration::from_mins(1)));
        assert_eq!(pulse.idle_since(), None);
        assert!(ends_in(&pulse, 20));
        one.allow(Duration::from_secs(100));
        assert!(ends_in(&pulse, 60), "the second request");
        drop(two);
        assert!(ends_in(&pulse, 100));
        drop(one);
        assert!(ends_in(&pulse, IDLE.as_secs()));
        // Its owner is told, also when the time becomes shorter while it waits.
        let running = pulse.begin(Duration::from_mins(1));
        let waits = {
            let pulse = pulse.clone();
            tokio::spawn(async move { pulse.expired().await })
        };
        running.allow(Duration::ZERO);
        waits.await.unwrap();
    }
}
