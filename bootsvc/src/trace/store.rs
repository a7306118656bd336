//! Which steps belong to which machine. A machine is known by MAC, by system UUID and by the
//! address it has at the moment; as more of them become known together, records are joined.
//!
//! At most [`MAX_MACHINES`] are kept; the one not seen for longest makes room.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use bloomery_hostnet::MacAddr;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::step::{Recorded, Step};
use super::verdict::{State, verdict};

/// Machines remembered.
pub const MAX_MACHINES: usize = 10_000;
/// Steps of each; a whole boot takes about fifteen.
pub const MAX_STEPS: usize = 64;
/// Network cards and addresses of each.
const MAX_NAMES: usize = 8;

/// A system UUID, in the order of its text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SystemUuid(u128);

/// What is known of the machine that took a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity {
    pub mac: Option<MacAddr>,
    /// From its firmware.
    pub uuid: Option<SystemUuid>,
    /// Where it spoke from.
    pub address: Option<IpAddr>,
}

impl Identity {
    /// Somebody at this address.
    pub fn at(address: IpAddr) -> Self {
        Self { address: Some(address.to_canonical()), ..Self::default() }
    }
}

impl SystemUuid {
    /// From 16 octets in the order of the text. None for the values of boards without one: all
    /// zeros and all ones.
    pub fn new(octets: [u8; 16]) -> Option<Self> {
        let value = u128::from_be_bytes(octets);
        (value != 0 && value != u128::MAX).then_some(Self(value))
    }

    /// From its text, with or without hyphens.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; 16];
        let mut digits = text.chars().filter(|c| *c != '-');
        for octet in &mut octets {
            let (high, low) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
            *octet = u8::try_from(high << 4 | low).ok()?;
        }
        if digits.next().is_some() { None } else { Self::new(octets) }
    }
}

impl fmt::Display for SystemUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[derive(Debug, Default)]
struct Machine {
    macs: Vec<MacAddr>,
    uuid: Option<SystemUuid>,
    addresses: Vec<IpAddr>,
    steps: VecDeque<Recorded>,
    /// Its place in `Store::order`.
    used: u64,
}

#[derive(Debug, Default)]
pub struct Store {
    machines: HashMap<u64, Machine>,
    by_mac: HashMap<MacAddr, u64>,
    by_uuid: HashMap<SystemUuid, u64>,
    by_address: HashMap<IpAddr, u64>,
    order: BTreeMap<u64, u64>,
    clock: u64,
}

impl Store {
    pub fn add(&mut self, who: &Identity, step: Step, detail: Cow<'static, str>, now: Instant) {
        let id = self.join(who, now);
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if let Some(last) = machine.steps.back_mut()
            && last.step == step
            && last.detail == detail
        {
            last.last = now;
            last.count = last.count.saturating_add(1);
            return;
        }
        if repeats_pair(&mut machine.steps, step, &detail, now) {
            return;
        }
        if machine.steps.len() >= MAX_STEPS {
            machine.steps.pop_front();
        }
        machine.steps.push_back(Recorded { first: now, last: now, step, detail, count: 1 });
    }

    /// Finds or makes the machine, joining what now turns out to be one.
    pub fn join(&mut self, who: &Identity, _now: Instant) -> u64 {
        let by_uuid = who.uuid.and_then(|uuid| self.by_uuid.get(&uuid).copied());
        let by_mac = who.mac.and_then(|mac| self.by_mac.get(&mac).copied());
        let named = who.uuid.is_some() || who.mac.is_some();
        let by_address = who.address.and_then(|address| self.by_address.get(&address).copied());
        let id = match (by_uuid, by_mac, by_address) {
            (Some(uuid), Some(mac), _) if uuid != mac => {
                self.merge(uuid, mac);
                uuid
            }
            (Some(id), _, _) | (None, Some(id), _) => id,
            // An address without a name of its own is a guess; one that has a name belongs to
            // somebody else by now, unless this is the first name that it gets.
            (None, None, Some(id)) if !named || self.is_nameless(id) => id,
            _ => self.create(),
        };
        if let Some(other) = by_address.filter(|&other| other != id && self.is_nameless(other)) {
            self.merge(id, other);
        }
        self.name(id, who);
        self.touch(id);
        id
    }

    fn is_nameless(&self, id: u64) -> bool {
        self.machines.get(&id).is_some_and(|machine| machine.macs.is_empty() && machine.uuid.is_none())
    }

    fn create(&mut self) -> u64 {
        while self.machines.len() >= MAX_MACHINES {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.forget(oldest);
        }
        self.clock += 1;
        let id = self.clock;
        self.machines.insert(id, Machine { used: id, ..Machine::default() });
        self.order.insert(id, id);
        id
    }

    fn touch(&mut self, id: u64) {
        self.clock += 1;
        if let Some(machine) = self.machines.get_mut(&id) {
            self.order.remove(&machine.used);
            machine.used = self.clock;
            self.order.insert(self.clock, id);
        }
    }

    fn forget(&mut self, id: u64) -> Option<Machine> {
        let machine = self.machines.remove(&id)?;
        self.order.remove(&machine.used);
        for mac in &machine.macs {
            self.by_mac.remove(mac);
        }
        if let Some(uuid) = &machine.uuid {
            self.by_uuid.remove(uuid);
        }
        for address in &machine.addresses {
            self.by_address.remove(address);
        }
        Some(machine)
    }

    fn name(&mut self, id: u64, who: &Identity) {
        let Some(machine) = self.machines.get_mut(&id) else { return };
        if let Some(mac) = who.mac
            && !machine.macs.contains(&mac)
        {
            push_bounded(&mut machine.macs, mac, |old| {
                self.by_mac.remove(old);
            });
            self.by_mac.insert(mac, id);
        }
        if let Some(uuid) = who.uuid
            && machine.uuid.is_none()
        {
            machine.uuid = Some(uuid);
            self.by_uuid.insert(uuid, id);
        }
        let Some(address) = who.address else { return };
        if !machine.addresses.contains(&address) {
            push_bounded(&mut machine.addresses, address, |old| {
                self.by_address.remove(old);
            });
        }
        let before = self.by_address.insert(address, id);
        if let Some(before) = before.filter(|&before| before != id)
            && let Some(former) = self.machines.get_mut(&before)
        {
            former.addresses.retain(|known| *known != address);
        }
    }

    fn merge(&mut self, into: u64, from: u64) {
        let Some(gone) = self.forget(from) else { return };
        for mac in gone.macs {
            self.name(into, &Identity { mac: Some(mac), ..Identity::default() });
        }
        for address in gone.addresses {
            self.name(into, &Identity { address: Some(address), ..Identity::default() });
        }
        if gone.uuid.is_some() {
            self.name(into, &Identity { uuid: gone.uuid, ..Identity::default() });
        }
        if let Some(machine) = self.machines.get_mut(&into) {
            let mut steps: Vec<Recorded> = machine.steps.drain(..).chain(gone.steps).collect();
            steps.sort_by_key(|recorded| recorded.last);
            let skip = steps.len().saturating_sub(MAX_STEPS);
            machine.steps.extend(steps.into_iter().skip(skip));
        }
    }

    /// All machines as JSON, the one seen last first.
    pub fn report(&mut self, now: Instant, wall: Timestamp) -> Value {
        let at = |then: Instant| {
            let ago = SignedDuration::try_from(now.saturating_duration_since(then)).unwrap_or_default();
            // Milliseconds are enough, and more would not be true.
            let moment = wall.checked_sub(ago).unwrap_or(wall);
            format!("{moment:.3}")
        };
        let ids: Vec<u64> = self.order.values().rev().copied().collect();
        let mut machines = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(machine) = self.machines.get_mut(&id) else { continue };
            let named = machine.uuid.is_some() || !machine.macs.is_empty();
            let steps = machine.steps.make_contiguous();
            let found = verdict(steps, named, now);
            let state = match found.state {
                State::Booting => "booting",
                State::Done => "done",
                State::Failed => "failed",
            };
            let steps: Vec<Value> = steps
                .iter()
                .map(|recorded| {
                    json!({
                        "at": at(recorded.first),
                        "last": at(recorded.last),
                        "step": recorded.step.name(),
                        "detail": recorded.detail,
                        "count": recorded.count,
                    })
                })
                .collect();
            machines.push(json!({
                "uuid": machine.uuid.map(|uuid| uuid.to_string()),
                "macs": machine.macs.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "addresses": machine.addresses,
                "verdict": {
                    "state": state,
                    "what": found.what,
                    "advice": found.advice,
                    "step": machine.steps.back().map(|recorded| recorded.step.name()),
                },
                "steps": steps,
            }));
        }
        json!({ "machines": machines })
    }
}

/// DISCOVER and OFFER alternate while a machine is not satisfied; each counts up instead of
/// filling the list.
fn repeats_pair(steps: &mut VecDeque<Recorded>, step: Step, detail: &str, now: Instant) -> bool {
    let Some(at) = steps.len().checked_sub(2) else { return false };
    let pair = matches!(step, Step::Discover | Step::Offer(_) | Step::Silent)
        && matches!(steps[at + 1].step, Step::Discover | Step::Offer(_) | Step::Silent);
    if !pair || steps[at].step != step || steps[at].detail != detail {
        return false;
    }
    steps[at].count = steps[at].count.saturating_add(1);
    steps[at].last = now;
    true
}

fn push_bounded<T>(list: &mut Vec<T>, item: T, dropped: impl FnOnce(&T)) {
    if list.len() >= MAX_NAMES {
        let old = list.remove(0);
        dropped(&old);
    }
    list.push(item);
}
