//! The client's protocol without sockets and clocks: packets and time in, packets and events out.
//!
//! ```text
//!   INIT ──> SELECTING ──offer──> REQUESTING ──ack──> BOUND ──T1──> RENEWING ──T2──> REBINDING
//!    ^  ^                             │                 ^              │ack             │ack  │end, nak
//!    │  └──────── nak, no answer ─────┘                 └──────────────┴────────────────┘     │
//!    └────────────────────────────────────── lost ────────────────────────────────────────────┘
//!
//!   BOUND, RENEWING, REBINDING ──carrier back──> REBOOTING ──ack, no answer──> BOUND; ──end, nak──> INIT
//! ```
//! It must never panic or stop, whatever comes in and however time jumps forward.

use std::net::Ipv4Addr;
use std::time::Instant;

use dhcproto::v4::MessageType;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::message::{Request, encode};
use super::{Event, Lease, LossReason, Reply, ReplyKind};
use crate::MacAddr;

mod timing;

use timing::Exchange;
pub use timing::Timing;

/// The client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Hardware address; also the client identifier, with type 1 before it.
    pub mac: MacAddr,
    /// Host name told to the server.
    pub hostname: Option<String>,
}

/// What the client is trying now (RFC 2131 figure 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting before starting over.
    Init,
    /// Asking everyone for offers.
    Selecting,
    /// Asking one server for what it offered.
    Requesting,
    /// Nothing to do until T1.
    Bound,
    /// Asking the server of the lease to extend it.
    Renewing,
    /// Asking any server to extend it.
    Rebinding,
    /// Asking whether the address is right on the network that was just plugged in (INIT-REBOOT's question).
    Rebooting,
}

/// Where a packet goes. Always to UDP port 67, from port 68.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendTo {
    /// To 255.255.255.255.
    Broadcast,
    /// To the server.
    Server(Ipv4Addr),
}

/// What the driver has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a packet. If it cannot be sent, do nothing: it is repeated in time.
    Send {
        /// UDP payload.
        payload: Vec<u8>,
        /// Destination.
        to: SendTo,
    },
    /// Change the link accordingly and tell the owner.
    Event(Event),
}

/// A lease and when it began (at the sending of the request, so never later than the server thinks).
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    /// T1, T2 and the end; none for ever.
    marks: Option<Marks>,
}

#[derive(Debug, Clone, Copy)]
struct Marks {
    renew: Instant,
    rebind: Instant,
    expire: Instant,
}

#[derive(Debug)]
enum State {
    Init { resume: Instant },
    Selecting { exchange: Exchange },
    Requesting { exchange: Exchange, offer: Lease },
    Bound { held: Held },
    Renewing { held: Held, exchange: Exchange },
    Rebinding { held: Held, exchange: Exchange },
    Rebooting { held: Held, exchange: Exchange },
}

/// One link's client.
#[derive(Debug)]
pub struct Machine {
    identity: Identity,
    timing: Timing,
    random: StdRng,
    state: State,
    /// Since when requests have gone unanswered.
    silent_since: Instant,
    /// Whether the cable is plugged in, as far as we were told.
    carrier: bool,
    /// NAKs in a row, so that a confused server is not asked in a tight loop.
    refusals: u32,
}

impl Machine {
    /// A client in INIT that starts at the first [`Machine::poll`]. `seed` feeds transaction ids and jitter.
    pub fn new(identity: Identity, timing: Timing, seed: u64, now: Instant) -> Self {
        Self {
            identity,
            timing,
            random: StdRng::seed_from_u64(seed),
            state: State::Init { resume: now },
            silent_since: now,
            carrier: true,
            refusals: 0,
        }
    }

    /// What the client is trying.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Init { .. } => Phase::Init,
            State::Selecting { .. } => Phase::Selecting,
            State::Requesting { .. } => Phase::Requesting,
            State::Bound { .. } => Phase::Bound,
            State::Renewing { .. } => Phase::Renewing,
            State::Rebinding { .. } => Phase::Rebinding,
            State::Rebooting { .. } => Phase::Rebooting,
        }
    }

    /// The lease that is in force.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound { held }
            | State::Renewing { held, .. }
            | State::Rebinding { held, .. }
            | State::Rebooting { held, .. } => Some(&held.lease),
            State::Init { .. } | State::Selecting { .. } | State::Requesting { .. } => None,
        }
    }

    /// When [`Machine::poll`] wants to be called next; none: only a packet can change anything.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Init { resume } => Some(*resume),
            State::Selecting { exchange } | State::Requesting { exchange, .. } => Some(exchange.next),
            State::Bound { held } => held.marks.map(|marks| marks.renew),
            State::Renewing { held, exchange } => {
                Some(held.marks.map_or(exchange.next, |marks| exchange.next.min(marks.rebind)))
            }
            State::Rebinding { held, exchange } | State::Rebooting { held, exchange } => {
                Some(held.marks.map_or(exchange.next, |marks| exchange.next.min(marks.expire)))
            }
        }
    }

    /// Does what is due at `now`.
    pub fn poll(&mut self, now: Instant) -> Vec<Output> {
        let mut outputs = Vec::new();
        // Every step moves the deadline beyond `now` or goes one state further, so this ends.
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.step(now, &mut outputs);
        }
        outputs
    }

    fn step(&mut self, now: Instant, outputs: &mut Vec<Output>) {
        let idle = State::Init { resume: now };
        self.state = match std::mem::replace(&mut self.state, idle) {
            State::Init { .. } => {
                let exchange = Exchange::start(now, &mut self.random);
                State::Selecting { exchange: self.transmit(exchange, &Intent::Discover, now, outputs) }
            }
            State::Selecting { exchange } => {
                let exchange = self.transmit(exchange, &Intent::Discover, now, outputs);
                State::Selecting { exchange }
            }
            State::Requesting { exchange, .. } if exchange.sent >= self.timing.request_tries => {
                // The server that offered is gone; another one may be there.
                self.notice(Phase::Requesting, now, outputs);
                State::Init { resume: now }
            }
            State::Requesting { exchange, offer } => {
                let intent = Intent::Request { address: offer.address.addr(), server: offer.server };
                let exchange = self.transmit(exchange, &intent, now, outputs);
                State::Requesting { exchange, offer }
            }
            State::Bound { held } => {
                self.silent_since = now;
                let exchange = Exchange::start(now, &mut self.random);
                State::Renewing { held, exchange }
            }
            State::Renewing { held, .. } if held.marks.is_some_and(|marks| marks.rebind <= now) => {
                let exchange = Exchange::start(now, &mut self.random);
                State::Rebinding { held, exchange }
            }
            State::Renewing { held, exchange } => {
                let intent =
                    Intent::Extend { address: held.lease.address.addr(), server: Some(held.lease.server) };
                let end = held.marks.map(|marks| marks.rebind);
                let exchange = self.transmit_extension(exchange, &intent, end, now, outputs);
                State::Renewing { held, exchange }
            }
            State::Rebinding { held, .. } | State::Rebooting { held, .. }
                if held.marks.is_some_and(|marks| marks.expire <= now) =>
            {
                self.lose(held.lease, LossReason::Expired, now, outputs)
            }
            State::Rebinding { held, exchange } => {
                let intent = Intent::Extend { address: held.lease.address.addr(), server: None };
                let end = held.marks.map(|marks| marks.expire);
                let exchange = self.transmit_extension(exchange, &intent, end, now, outputs);
                State::Rebinding { held, exchange }
            }
            State::Rebooting { held, exchange } if exchange.sent >= self.timing.request_tries => {
                // No server objected: the lease is good until its end (RFC 2131 §3.2.4), and renewed in time.
                State::Bound { held }
            }
            State::Rebooting { held, exchange } => {
                let intent = Intent::Confirm { address: held.lease.address.addr() };
                let exchange = self.transmit(exchange, &intent, now, outputs);
                State::Rebooting { held, exchange }
            }
        };
    }

    /// Takes a packet that came to UDP port 68. Anything that is not an answer to our last question is ignored.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Vec<Output> {
        let mut outputs = Vec::new();
        let reply = match Reply::read(bytes, self.identity.mac) {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(error = %bloomery_base::chain(&error), "dhcp packet ignored");
                return outputs;
            }
        };
        if self.exchange().is_none_or(|exchange| exchange.xid != reply.xid) {
            return outputs;
        }
        let lease = Lease::from_reply(&reply);
        if let (ReplyKind::Offer | ReplyKind::Ack, Err(error)) = (reply.kind, &lease) {
            tracing::debug!(server = %reply.server, %error, "dhcp answer ignored");
            return outputs;
        }
        let idle = State::Init { resume: now };
        self.state = match (std::mem::replace(&mut self.state, idle), reply.kind, lease) {
            (State::Selecting { exchange }, ReplyKind::Offer, Ok(offer)) => {
                // Same transaction as the offer (RFC 2131 §4.4.1), a new count of tries.
                let exchange = Exchange { sent: 0, next: now, ..exchange };
                State::Requesting { exchange, offer }
            }
            (State::Requesting { exchange, offer }, ReplyKind::Ack, Ok(lease))
                if offer.server == lease.server =>
            {
                outputs.push(Output::Event(Event::Bound(lease.clone())));
                self.bind(lease, exchange.last_sent, now)
            }
            (State::Requesting { offer, .. }, ReplyKind::Nak, _) if offer.server == reply.server => {
                self.refusals = self.refusals.saturating_add(1);
                State::Init { resume: now + self.timing.after_refusals(self.refusals) }
            }
            (
                State::Renewing { exchange, .. }
                | State::Rebinding { exchange, .. }
                | State::Rebooting { exchange, .. },
                ReplyKind::Ack,
                Ok(lease),
            ) => {
                outputs.push(Output::Event(Event::Renewed(lease.clone())));
                self.bind(lease, exchange.last_sent, now)
            }
            (
                State::Renewing { held, .. } | State::Rebinding { held, .. } | State::Rebooting { held, .. },
                ReplyKind::Nak,
                _,
            ) => self.lose(held.lease, LossReason::Refused, now, &mut outputs),
            (state, _, _) => state,
        };
        outputs.extend(self.poll(now));
        outputs
    }

    /// The cable was pulled or plugged. When it comes back the network may be another one: the client asks all
    /// servers there at once to give or to confirm an address.
    pub fn carrier_changed(&mut self, now: Instant, carrier: bool) -> Vec<Output> {
        let restored = carrier && !self.carrier;
        self.carrier = carrier;
        if !restored {
            return Vec::new();
        }
        let idle = State::Init { resume: now };
        self.state = match std::mem::replace(&mut self.state, idle) {
            State::Init { .. } | State::Selecting { .. } | State::Requesting { .. } => {
                State::Init { resume: now }
            }
            State::Bound { held }
            | State::Renewing { held, .. }
            | State::Rebinding { held, .. }
            | State::Rebooting { held, .. } => {
                State::Rebooting { held, exchange: Exchange::start(now, &mut self.random) }
            }
        };
        self.silent_since = now;
        self.poll(now)
    }

    fn exchange(&self) -> Option<&Exchange> {
        match &self.state {
            State::Init { .. } | State::Bound { .. } => None,
            State::Selecting { exchange }
            | State::Requesting { exchange, .. }
            | State::Renewing { exchange, .. }
            | State::Rebinding { exchange, .. }
            | State::Rebooting { exchange, .. } => Some(exchange),
        }
    }

    /// A lease runs from the moment its request was sent (RFC 2131 §4.4.1).
    fn bind(&mut self, lease: Lease, since: Instant, now: Instant) -> State {
        self.refusals = 0;
        self.silent_since = now;
        let marks = lease.times.map(|times| Marks {
            // Earlier by up to a twentieth, so that machines started together do not renew together.
            renew: since + times.renew.mul_f64(self.random.random_range(0.95..=1.0)),
            rebind: since + times.rebind,
            expire: since + times.expire,
        });
        State::Bound { held: Held { lease, marks } }
    }

    fn lose(&mut self, lease: Lease, reason: LossReason, now: Instant, outputs: &mut Vec<Output>) -> State {
        self.silent_since = now;
        outputs.push(Output::Event(Event::Lost { lease, reason }));
        State::Init { resume: now }
    }

    /// Sends in SELECTING and REQUESTING: the wait doubles (RFC 2131 §4.1).
    fn transmit(
        &mut self,
        exchange: Exchange,
        intent: &Intent,
        now: Instant,
        outputs: &mut Vec<Output>,
    ) -> Exchange {
        let wait = self.timing.backoff(exchange.sent, &mut self.random);
        self.send(exchange, intent, now + wait, now, outputs)
    }

    /// Sends in RENEWING and REBINDING: half of what remains until `end`, at least a minute (§4.4.5).
    fn transmit_extension(
        &mut self,
        exchange: Exchange,
        intent: &Intent,
        end: Option<Instant>,
        now: Instant,
        outputs: &mut Vec<Output>,
    ) -> Exchange {
        let remaining = end.map(|end| end.saturating_duration_since(now));
        let wait = self.timing.until_next_extension(remaining);
        self.send(exchange, intent, now + wait, now, outputs)
    }

    fn send(
        &mut self,
        exchange: Exchange,
        intent: &Intent,
        next: Instant,
        now: Instant,
        outputs: &mut Vec<Output>,
    ) -> Exchange {
        if exchange.sent > 0 {
            self.notice(intent.phase(), now, outputs);
        }
        let mut request = intent.request();
        request.mac = self.identity.mac;
        request.hostname = self.identity.hostname.as_deref();
        request.xid = exchange.xid;
        request.secs = exchange.elapsed_seconds(now);
        match encode(&request) {
            Ok(payload) => outputs.push(Output::Send { payload, to: intent.destination() }),
            Err(error) => {
                let error = bloomery_base::chain(&error);
                outputs.push(Output::Event(Event::Failed { error }));
            }
        }
        Exchange { sent: exchange.sent.saturating_add(1), last_sent: now, next, ..exchange }
    }

    fn notice(&self, phase: Phase, now: Instant, outputs: &mut Vec<Output>) {
        let silent = now.saturating_duration_since(self.silent_since);
        if silent >= self.timing.notice {
            outputs.push(Output::Event(Event::NoAnswer { phase, silent, carrier: self.carrier }));
        }
    }
}

/// What a packet is for; decides its fields (RFC 2131 table 4) and where it goes.
#[derive(Debug, Clone, Copy)]
enum Intent {
    Discover,
    Request { address: Ipv4Addr, server: Ipv4Addr },
    Extend { address: Ipv4Addr, server: Option<Ipv4Addr> },
    Confirm { address: Ipv4Addr },
}

impl Intent {
    fn request(self) -> Request<'static> {
        let blank = Request {
            kind: MessageType::Discover,
            mac: MacAddr([0; 6]),
            hostname: None,
            xid: 0,
            secs: 0,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
        };
        match self {
            Self::Discover => blank,
            Self::Request { address, server } => Request {
                kind: MessageType::Request,
                requested: Some(address),
                server: Some(server),
                ..blank
            },
            Self::Confirm { address } => {
                Request { kind: MessageType::Request, requested: Some(address), ..blank }
            }
            Self::Extend { address, .. } => Request { kind: MessageType::Request, ciaddr: address, ..blank },
        }
    }

    fn destination(self) -> SendTo {
        match self {
            Self::Extend { server: Some(server), .. } => SendTo::Server(server),
            Self::Discover
            | Self::Request { .. }
            | Self::Confirm { .. }
            | Self::Extend { server: None, .. } => SendTo::Broadcast,
        }
    }

    fn phase(self) -> Phase {
        match self {
            Self::Discover => Phase::Selecting,
            Self::Request { .. } => Phase::Requesting,
            Self::Extend { server: Some(_), .. } => Phase::Renewing,
            Self::Extend { server: None, .. } => Phase::Rebinding,
            Self::Confirm { .. } => Phase::Rebooting,
        }
    }
}

#[cfg(test)]
mod tests;
