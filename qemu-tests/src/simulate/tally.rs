//! What happened to the machines, counted: phases, milestones, traffic, errors by kind.
//!
//! It only counts; nothing is decided by it but when a simulation has reached its end.

use super::{config::Until, trouble::Trouble};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::sync::watch;

/// Where a machine stands.
///
/// ```text
///   Off ─power─▶ Firmware ─offer─▶ Loader ─▶ Script ─▶ Kernel ─▶ Registering ─▶ Waiting ─order─▶ Wiping ─▶ Clean
///    ▲                                         └──▶ Node, Disk      ▲ restart ◀──┘                         │
///    └───────────────────────────── power command, from every phase ◀────────────────────────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// Switched off.
    Off,
    /// Asks for a boot file.
    Firmware,
    /// Loads iPXE.
    Loader,
    /// Asks the plane what to boot.
    Script,
    /// Loads kernel and initramfs.
    Kernel,
    /// The agent runs and is not known yet.
    Registering,
    /// Known to the plane, without an order.
    Waiting,
    /// Wipes its disks.
    Wiping,
    /// Wiped, and the plane knows.
    Clean,
    /// Runs the node system of an Environment.
    Node,
    /// Runs what is on its disk.
    Disk,
}

/// All of them, with their names.
const PHASES: [(Phase, &str); 11] = [
    (Phase::Off, "off"),
    (Phase::Firmware, "firmware"),
    (Phase::Loader, "loader"),
    (Phase::Script, "script"),
    (Phase::Kernel, "kernel"),
    (Phase::Registering, "registering"),
    (Phase::Waiting, "waiting"),
    (Phase::Wiping, "wiping"),
    (Phase::Clean, "clean"),
    (Phase::Node, "node"),
    (Phase::Disk, "disk"),
];

/// Numbers that only grow.
#[derive(Debug, Default)]
pub struct Counts {
    /// DHCP requests sent.
    pub discovers: AtomicU64,
    /// Boot offers taken.
    pub offers: AtomicU64,
    /// Octets by TFTP.
    pub tftp_bytes: AtomicU64,
    /// HTTP requests answered.
    pub http_requests: AtomicU64,
    /// Octets by HTTP.
    pub http_bytes: AtomicU64,
    /// Times a machine was told that the plane is starting.
    pub waits: AtomicU64,
    /// Rounds of `CreateServer` and `ReconcileServerAddresses` that succeeded.
    pub rounds: AtomicU64,
    /// `Heartbeat`s that were answered.
    pub heartbeats: AtomicU64,
    /// Power commands obeyed.
    pub power_commands: AtomicU64,
    /// Servers changed at the Kubernetes API.
    pub operated: AtomicU64,
}

/// Adds to one of the [`Counts`].
pub fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// How many machines have come how far, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reached {
    registered: u32,
    clean: u32,
    operated: u32,
}

#[derive(Debug, Default)]
struct Kind {
    count: u64,
    last: String,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Tally {
    machines: u32,
    began: OnceLock<Instant>,
    phases: [AtomicI64; PHASES.len()],
    /// Traffic.
    pub counts: Counts,
    troubles: Mutex<BTreeMap<String, Kind>>,
    reached: watch::Sender<Reached>,
    registered: Mutex<Vec<f64>>,
    clean: Mutex<Vec<f64>>,
}

/// One kind of error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// How often.
    pub count: u64,
    /// The last one.
    pub last: String,
}

/// What is known at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Simulated machines.
    pub machines: u32,
    /// Seconds since the first DHCP request.
    pub seconds: f64,
    /// Machines that the plane knows.
    pub registered: u32,
    /// Machines that have been wiped.
    pub clean: u32,
    /// Machines by phase; phases without machines are left out.
    pub phases: BTreeMap<&'static str, i64>,
    /// Traffic.
    pub counts: BTreeMap<&'static str, u64>,
    /// Errors by kind.
    pub errors: BTreeMap<String, Errors>,
}

/// When machines reached something, seconds since the first DHCP request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Times {
    /// The first one.
    pub first: f64,
    /// The middle one.
    pub median: f64,
    /// 95 of a hundred.
    pub p95: f64,
    /// The last one.
    pub last: f64,
}

impl Times {
    /// Of unsorted moments; none of nothing.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    fn of(mut moments: Vec<f64>) -> Option<Self> {
        moments.sort_by(f64::total_cmp);
        let at = |part: f64| moments.get(((moments.len() - 1) as f64 * part).round() as usize).copied();
        let (first, last) = (*moments.first()?, *moments.last()?);
        Some(Self { first, median: at(0.5)?, p95: at(0.95)?, last })
    }
}

impl Tally {
    /// For `machines` machines, all off.
    pub fn new(machines: u32) -> Self {
        let phases: [AtomicI64; PHASES.len()] = std::array::from_fn(|_| AtomicI64::new(0));
        phases[Phase::Off as usize].store(machines.into(), Ordering::Relaxed);
        Self {
            machines,
            began: OnceLock::new(),
            phases,
            counts: Counts::default(),
            troubles: Mutex::default(),
            reached: watch::Sender::new(Reached::default()),
            registered: Mutex::default(),
            clean: Mutex::default(),
        }
    }

    /// A DHCP request was sent; the first one starts the clock.
    pub fn discover(&self) {
        self.began.get_or_init(Instant::now);
        add(&self.counts.discovers, 1);
    }

    /// A machine went from one phase to another.
    pub fn moved(&self, from: Phase, to: Phase) {
        self.phases[from as usize].fetch_sub(1, Ordering::Relaxed);
        self.phases[to as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A machine was registered for the first time.
    pub fn registered(&self) {
        self.registered.lock().push(self.seconds());
        self.reached.send_modify(|reached| reached.registered += 1);
    }

    /// A machine was clean for the first time.
    pub fn clean(&self) {
        self.clean.lock().push(self.seconds());
        self.reached.send_modify(|reached| reached.clean += 1);
    }

    /// A Server was changed at the Kubernetes API as was asked.
    pub fn operated(&self) {
        add(&self.counts.operated, 1);
        self.reached.send_modify(|reached| reached.operated += 1);
    }

    /// Something went wrong for a machine.
    pub fn trouble(&self, trouble: &Trouble) {
        self.error(trouble.kind(), trouble.to_string());
    }

    /// Something went wrong, of a kind.
    pub fn error(&self, kind: String, last: String) {
        let mut troubles = self.troubles.lock();
        let entry = troubles.entry(kind).or_default();
        entry.count += 1;
        entry.last = last;
    }

    /// Waits until all machines have got there; with `operated` their Servers have been changed, too.
    pub async fn reached(&self, until: Until, operated: bool) {
        let all = self.machines;
        let mut reached = self.reached.subscribe();
        let done = |reached: &Reached| {
            let count = match until {
                Until::Registered => reached.registered,
                Until::Clean => reached.clean,
            };
            count >= all && (!operated || reached.operated >= all)
        };
        // The sender lives as long as we do.
        let _ = reached.wait_for(done).await;
    }

    /// Seconds since the first DHCP request.
    fn seconds(&self) -> f64 {
        self.began.get().map_or(0.0, |began| began.elapsed().as_secs_f64())
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let counted = PHASES.map(|(phase, name)| (name, self.phases[phase as usize].load(Ordering::Relaxed)));
        let reached = *self.reached.borrow();
        let troubles = self.troubles.lock();
        let errors = troubles.iter();
        let errors = errors
            .map(|(kind, Kind { count, last })| (kind.clone(), Errors { count: *count, last: last.clone() }));
        Snapshot {
            machines: self.machines,
            seconds: self.seconds(),
            registered: reached.registered,
            clean: reached.clean,
            phases: counted.into_iter().filter(|(_, count)| *count != 0).collect(),
            counts: self.counts(),
            errors: errors.collect(),
        }
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let Counts {
            discovers,
            offers,
            tftp_bytes,
            http_requests,
            http_bytes,
            waits,
            rounds,
            heartbeats,
            power_commands,
            operated,
        } = &self.counts;
        let counts = [
            ("discovers", discovers),
            ("offers", offers),
            ("tftpBytes", tftp_bytes),
            ("httpRequests", http_requests),
            ("httpBytes", http_bytes),
            ("waits", waits),
            ("rounds", rounds),
            ("heartbeats", heartbeats),
            ("powerCommands", power_commands),
            ("operated", operated),
        ];
        counts.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).collect()
    }

    /// When machines registered, and when they were clean.
    pub fn times(&self) -> (Option<Times>, Option<Times>) {
        (Times::of(self.registered.lock().clone()), Times::of(self.clean.lock().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_sorted_moments() {
        let times = Times::of((1..=100).rev().map(f64::from).collect()).expect("moments");
        assert_eq!(times, Times { first: 1.0, median: 51.0, p95: 95.0, last: 100.0 });
        assert_eq!(Times::of(Vec::new()), None);
    }

    #[tokio::test]
    async fn the_end_is_seen_when_the_last_machine_gets_there() {
        let tally = Tally::new(2);
        tally.moved(Phase::Off, Phase::Firmware);
        tally.registered();
        let mut end = Box::pin(tally.reached(Until::Registered, false));
        assert!(futures_poll(&mut end).await.is_none());
        tally.registered();
        assert!(futures_poll(&mut end).await.is_some());
        let snapshot = tally.snapshot();
        assert_eq!(snapshot.phases, BTreeMap::from([("off", 1), ("firmware", 1)]));
        assert_eq!((snapshot.registered, snapshot.clean), (2, 0));
        assert!(futures_poll(&mut Box::pin(tally.reached(Until::Registered, true))).await.is_none());
    }

    /// One look at a future.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }

    #[test]
    fn errors_are_counted_by_kind_with_the_last_one() {
        let tally = Tally::new(1);
        for tries in [4, 5] {
            tally.trouble(&Trouble::NoOffer { tries });
        }
        let errors = &tally.snapshot().errors["no-offer"];
        assert_eq!(errors.count, 2);
        assert!(errors.last.contains("5 requests"), "{errors:?}");
    }
}
