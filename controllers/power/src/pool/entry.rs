//! What the pool remembers of one BMC.
//!
//! Never locks its state across an await; the turn is the only lock that is held during a command.

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::health::Health;
use crate::endpoint::Origin;
use crate::web::CertificatePin;

/// What a BMC speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Redfish, here.
    Redfish(Origin),
    /// IPMI.
    Ipmi,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// Held during a command: one at a time, first come, first served.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// The part that changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) health: Health,
    /// What it speaks, and until when that is believed.
    protocol: Option<(Protocol, Instant)>,
    used: Instant,
    fingerprint: u64,
    /// The certificate that was trusted at first use, until whoever asks has kept it.
    learnt: Option<CertificatePin>,
    /// Whoever asked last knew the certificate.
    kept: bool,
}

impl State {
    pub(super) fn protocol(&self, now: Instant) -> Option<Protocol> {
        self.protocol.as_ref().filter(|(_, until)| now < *until).map(|(protocol, _)| protocol.clone())
    }

    pub(super) fn remember(&mut self, protocol: Protocol, until: Instant) {
        self.protocol = Some((protocol, until));
    }

    pub(super) const fn learnt(&self) -> Option<CertificatePin> {
        self.learnt
    }

    /// Remembers a certificate that nobody knew.
    pub(super) fn learn(&mut self, pin: CertificatePin) {
        if !self.kept {
            self.learnt = Some(pin);
        }
    }
}

impl Entry {
    pub(super) fn new(now: Instant, fingerprint: u64) -> Self {
        let state = State {
            health: Health::new(now),
            protocol: None,
            used: now,
            fingerprint,
            learnt: None,
            kept: false,
        };
        Self { turn: tokio::sync::Mutex::new(()), state: Mutex::new(state) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// It is in use; with other credentials or another interface than before, nothing that was learnt counts.
    /// A certificate that was kept and is not any more is forgotten: somebody means to trust a new one.
    pub(super) fn touch(&self, now: Instant, fingerprint: u64, pinned: Option<CertificatePin>) {
        let mut state = self.state();
        state.used = now;
        if pinned.is_some() || state.kept {
            state.learnt = None;
        }
        state.kept = pinned.is_some();
        if state.fingerprint != fingerprint {
            state.fingerprint = fingerprint;
            state.protocol = None;
            state.learnt = None;
            state.health.succeeded();
        }
    }

    pub(super) fn used(&self) -> Instant {
        self.state().used
    }
}
