//! A hostile host on the machines' network that knows their UUIDs, cards and serial numbers: what it tries, and what it
//! gets.
//!
//! Its load is bounded: each attack has its own pace, and all of them end by themselves. It must never leave the network
//! namespace of a lab, which has no way out.

pub mod claims;
pub mod datagrams;
pub mod held;
pub mod host;
pub mod questions;
pub mod registrations;
pub mod wire;

use crate::{
    contract::BOOT_PORT,
    simulate::{config::Firmware, inventory::Identity},
};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use wire::Way;

/// Gains that are told one by one; more of them say nothing new.
const TOLD: usize = 40;

/// A machine whose marks are known to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// Its number, from which everything of it follows.
    pub index: u32,
    /// Its firmware.
    pub firmware: Firmware,
}

impl Victim {
    /// What it is known by.
    pub fn identity(self) -> Identity {
        // Its address is of no use to anybody else.
        Identity::new(self.index, Ipv4Addr::UNSPECIFIED, self.firmware)
    }
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The plane.
    pub plane: Ipv4Addr,
    /// The plane's address of the link.
    pub plane_v6: Ipv6Addr,
    /// Its own addresses.
    pub sources: Vec<Ipv4Addr>,
    /// More of its own addresses, for connections that are held: each address may have a few only.
    pub holders: Vec<Ipv4Addr>,
    /// Its own addresses of the link.
    pub sources_v6: Vec<Ipv6Addr>,
    /// An address that never speaks TCP: whom TFTP's answers hit.
    pub reflected: Ipv4Addr,
    /// Its own card, in colon form.
    pub mac: String,
    /// The machines that it knows.
    pub victims: Vec<Victim>,
    /// Boot tokens of boots that are over, by the number of the machine.
    pub stale: BTreeMap<u32, String>,
    /// A text of the node system's kernel arguments that only its machine may be told.
    pub secret: String,
    /// How long it goes on.
    pub duration: Duration,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was done and answered, by kind.
    pub counts: BTreeMap<String, u64>,
    /// What it must not have got; the first ones.
    pub gains: Vec<String>,
}

/// What the attacks share.
#[derive(Debug)]
pub struct Stage {
    /// What was asked for.
    pub order: Order,
    /// Scope of the link.
    scope: u32,
    end: Instant,
    report: Mutex<Report>,
}

impl Stage {
    /// Counts something.
    pub fn count(&self, kind: impl Into<String>, more: u64) {
        let mut report = self.report.lock();
        *report.counts.entry(kind.into()).or_default() += more;
    }

    /// Notes something that it must not have got.
    pub fn gain(&self, what: String) {
        self.count("gains", 1);
        let mut report = self.report.lock();
        if report.gains.len() < TOLD {
            report.gains.push(what);
        }
    }

    /// All ways to the plane's HTTP port, by both families.
    pub fn ways(&self) -> Vec<Way> {
        let v4 = self.order.sources.iter().map(|from| self.way_from(*from));
        let port = BOOT_PORT;
        let on_link = |address, port| SocketAddr::V6(SocketAddrV6::new(address, port, 0, self.scope));
        let v6 = self
            .order
            .sources_v6
            .iter()
            .map(|from| Way { from: on_link(*from, 0), plane: on_link(self.order.plane_v6, port) });
        v4.chain(v6).collect()
    }

    /// The way from one of its addresses.
    fn way_from(&self, from: Ipv4Addr) -> Way {
        Way { from: (from, 0).into(), plane: (self.order.plane, BOOT_PORT).into() }
    }

    /// What is left of the time.
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// Does something again and again, at most once in each `every`, until the time is over.
    pub async fn repeat<F: Future<Output = ()>>(&self, every: Duration, mut act: impl FnMut(u64) -> F) {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 0.. {
            tick.tick().await;
            if self.left().is_zero() {
                return;
            }
            // An answer that does not come ends with the time, too.
            let _ = tokio::time::timeout(self.left(), act(round)).await;
        }
    }
}

/// Tries everything at once until the time is over.
///
/// # Errors
/// The card or the limit of open files is not as it should be: this is not the host's own namespace.
pub async fn run(order: Order) -> Result<Report> {
    let scope = wire::scope(host::CARD).context("failed to find the host's card")?;
    wire::raise_file_limit();
    let end = Instant::now() + order.duration;
    let stage = Arc::new(Stage { order, scope, end, report: Mutex::default() });
    let mut tasks = JoinSet::new();
    questions::spawn(&stage, &mut tasks);
    registrations::spawn(&stage, &mut tasks);
    claims::spawn(&stage, &mut tasks);
    held::spawn(&stage, &mut tasks);
    datagrams::spawn(&stage, &mut tasks);
    while tasks.join_next().await.is_some() {}
    let report = stage.report.lock().clone();
    Ok(report)
}
