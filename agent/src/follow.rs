//! Doing what the plane orders, one order at a time: wipe, set up the BMC, restart.
//!
//! It must never write to a disk without an order of this boot, never let a plane that is away stop a wipe, and never
//! report a machine as wiped that is not.

use std::sync::Arc;
use std::time::Duration;

use bloomery_agent_api::{DiskProgress, StorageDevice};
use bloomery_base::chain;
use bloomery_sys::power::Action;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::bmc;
use crate::console::{self, Screen};
use crate::contents::Survey;
use crate::inventory::Inventory;
use crate::orders::{self, Memory, Orders, Step, WipeOrder};
use crate::plane::{self, Plane};
use crate::register::{Act, After};
use crate::wipe::{self, Board, Erased};

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Devices still come up shortly after boot; a wipe starts when none did for this long,
    pub quiet: Duration,
    /// or after this.
    pub settle: Duration,
    /// Between two attempts at disks that could not be wiped, or at the BMC.
    pub again: Duration,
    /// Seconds of warning before a restart.
    pub countdown: u32,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(5),
            settle: Duration::from_mins(1),
            again: Duration::from_mins(5),
            countdown: 5,
        }
    }
}

/// Who follows the orders of one plane.
#[derive(Debug)]
pub struct Follower {
    plane: Plane,
    screen: Screen,
    devices: watch::Receiver<u64>,
    survey: Survey,
    waits: Waits,
    memory: Memory,
    erased: Erased,
}

impl Act for Follower {
    async fn act(&mut self, inventory: Inventory, orders: Orders) -> After {
        let uuid = inventory.uuid().unwrap_or_default().to_owned();
        let (setup_bmc, key) = (orders.answer.setup_bmc, orders.sealing_key.clone());
        let message = orders.answer.message.clone();
        match orders::next(orders, self.memory, Instant::now()) {
            Step::Wait => After::Rest,
            Step::Restart => self.restart(&message).await,
            Step::SetUpBmc => {
                self.set_up_bmc(&uuid, &key).await;
                After::Rest
            }
            Step::Wipe(order) => {
                let after = self.wipe(order, &uuid, &inventory).await;
                // Only now: from here on the machine may be switched off.
                if after == After::Rest && setup_bmc && self.memory.wipe_not_before.is_none() {
                    self.set_up_bmc(&uuid, &key).await;
                }
                after
            }
        }
    }
}

impl Follower {
    /// `devices` changes at every device event.
    pub fn new(
        plane: Plane,
        screen: Screen,
        devices: watch::Receiver<u64>,
        survey: Survey,
        waits: Waits,
    ) -> Self {
        let (memory, erased) = (Memory::default(), Erased::default());
        Self { plane, screen, devices, survey, waits, memory, erased }
    }

    async fn restart(&self, message: &str) -> After {
        let why = if message.is_empty() { "the plane has another use for this machine" } else { message };
        for left in (1..=self.waits.countdown).rev() {
            self.screen.show(&format!("RESTART {why}: restarting in {left} s"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        After::End(Action::Restart)
    }

    async fn set_up_bmc(&mut self, uuid: &str, key: &[u8]) {
        match bmc::set_up(&self.plane, uuid, key).await {
            Ok(Some(lan)) => {
                self.memory.bmc_not_before = None;
                self.screen
                    .show(&format!("OK     the plane has a user in this machine's BMC at {}", lan.address));
            }
            Ok(None) => {
                self.memory.no_bmc = true;
                self.screen.show(
                    "       this machine has no BMC that its system can reach; its power is switched by hand",
                );
            }
            Err(error) => {
                self.memory.bmc_not_before = Some(Instant::now() + self.waits.again);
                self.screen.show(&format!("ERROR  {}; the BMC is not set up", chain(&error)));
            }
        }
    }

    async fn wipe(&mut self, order: WipeOrder, uuid: &str, inventory: &Inventory) -> After {
        let (screen, beat_every) = (self.screen.clone(), order.beat());
        let signed = order.signed().to_vec();
        screen.show(&console::wipe_starts(order.thoroughness()));
        let board = Arc::new(Board::new(move |line| screen.show(line)));
        let reported: Vec<StorageDevice> =
            inventory.hardware.storage.iter().flat_map(|storage| storage.devices.clone()).collect();
        let (plane, screen) = (self.plane.clone(), self.screen.clone());
        let wiping = async {
            settle(self.devices.clone(), self.waits).await;
            wipe::run(order, self.survey.places(), &reported, &board, &mut self.erased).await;
        };
        tokio::select! {
            () = wiping => {}
            // The threads stop at their next chunk, since nobody waits for them any more.
            refusal = beat(&plane, uuid, &board, beat_every, &screen) => {
                self.survey.forget().await;
                screen.show(&console::wipe_revoked(&refusal));
                return After::Soon;
            }
        }
        // What is registered next is what is on the disks now.
        self.survey.forget().await;
        if board.all_wiped() {
            self.report_wiped(uuid, &board.disks(), &signed).await
        } else {
            self.report_failed(uuid, &board.disks(), beat_every).await;
            After::Rest
        }
    }

    async fn report_wiped(&mut self, uuid: &str, disks: &[DiskProgress], order: &[u8]) -> After {
        self.memory.wipe_not_before = None;
        self.screen.show(&console::wipe_done(disks));
        match self.plane.mark_as_wiped(uuid, disks, order).await {
            Ok(()) => {
                // Whatever is ordered from now on is a new wipe.
                self.erased.forget();
                self.screen.show("OK     the plane knows that this machine is clean");
                After::Rest
            }
            Err(error) => {
                // The order may have changed meanwhile; if it has not, the disks are not wiped twice.
                self.screen.show(&console::wipe_not_reported(&error));
                After::Soon
            }
        }
    }

    async fn report_failed(&mut self, uuid: &str, disks: &[DiskProgress], limit: Duration) {
        self.memory.wipe_not_before = Some(Instant::now() + self.waits.again);
        self.screen.show(&console::wipe_failed(disks, self.waits.again));
        if let Err(error) = self.plane.heartbeat(uuid, disks.to_vec(), limit).await {
            let error = chain(&error);
            tracing::warn!(%error, "failed wipe not reported");
        }
    }
}

/// Waits until no device has come up for a while: some controllers find their disks late.
pub async fn settle(mut devices: watch::Receiver<u64>, waits: Waits) {
    let quiet = async {
        // A change begins the wait anew; its end, or a sender that is gone, ends it.
        while matches!(tokio::time::timeout(waits.quiet, devices.changed()).await, Ok(Ok(()))) {}
    };
    let _ = tokio::time::timeout(waits.settle, quiet).await;
}

/// Heartbeats, the first at once, until the future is dropped or the plane takes its order back: the machine is not
/// accepted any more, or bound, or another boot is the one that counts. A plane that only cannot be reached, or does not
/// know, stops nothing.
async fn beat(plane: &Plane, uuid: &str, board: &Board, every: Duration, screen: &Screen) -> plane::Error {
    let mut ticks = tokio::time::interval(every);
    let mut heard = true;
    loop {
        ticks.tick().await;
        match plane.heartbeat(uuid, board.disks(), every).await {
            Ok(()) if heard => {}
            Ok(()) => screen.show("OK     the plane answers again"),
            Err(error) if error.is_refusal() => return error,
            Err(error) => {
                let text = console::error_text(&error);
                tracing::warn!(error = %text, "heartbeat not taken");
                if heard {
                    screen.show(&format!("WARN   {text}; the wipe goes on, and is reported again and again"));
                }
                heard = false;
                continue;
            }
        }
        heard = true;
    }
}

#[cfg(test)]
mod tests;
