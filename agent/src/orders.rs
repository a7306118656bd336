//! What the plane's answer to `CreateServer` tells this machine to do, and what to do next about it.
//!
//! It must never take silence, an error or a default for an order, and never let a [`WipeOrder`] come from anywhere but
//! an answer that says `wipe`: nothing is erased without one.

use std::time::Duration;

use bloomery_agent_api::{CreateServerResponse, ExemptDisk};
use tokio::time::Instant;

/// Longest time between two heartbeats of a wipe.
const LONGEST_BEAT: Duration = Duration::from_secs(30);
/// Shortest, whatever the plane says.
const SHORTEST_BEAT: Duration = Duration::from_secs(1);
/// The plane gives up on a silent machine after the reboot timeout; three beats may be lost before (spec §5.1).
const BEATS_PER_TIMEOUT: f64 = 3.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thoroughness {
    /// Discarded, and the places by which data is found are zeroed.
    Fast,
    /// Every byte.
    Full,
}

/// What the plane said, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// It wants this machine's disks wiped.
    pub wipe: Option<Thoroughness>,
    /// It wants the machine's BMC set up.
    pub setup_bmc: bool,
    /// The machine is none for the agent any more.
    pub restart: bool,
    /// It waits for a person, whatever else is ordered.
    pub held: bool,
    pub message: String,
}

/// The right to erase all disks of this machine once. Neither made nor copied outside of this module.
#[derive(Debug)]
pub struct WipeOrder {
    thoroughness: Thoroughness,
    beat: Duration,
    exempt: Vec<ExemptDisk>,
    signed: Vec<u8>,
}

impl WipeOrder {
    pub fn thoroughness(&self) -> Thoroughness {
        self.thoroughness
    }

    /// The order as the plane signed it, to show with the report that it was carried out.
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// Time between two heartbeats.
    pub fn beat(&self) -> Duration {
        self.beat
    }

    /// Whether the owner has taken the responsibility for such a disk. `unwritable` says that nothing could be written
    /// to it anyway: a disk without a serial number is exempt only then, since others of its model may hold data.
    pub fn exempts(&self, model: &str, serial: &str, unwritable: bool) -> bool {
        !model.is_empty()
            && (unwritable || !serial.is_empty())
            && self.exempt.iter().any(|disk| disk.model.trim() == model && disk.serial.trim() == serial)
    }
}

/// One answer: to be shown, and to be followed.
#[derive(Debug)]
pub struct Orders {
    pub answer: Answer,
    /// The plane's public key, as it was shown: not yet compared with anything.
    pub sealing_key: Vec<u8>,
    wipe: Option<WipeOrder>,
}

impl Orders {
    pub fn read(response: CreateServerResponse) -> Self {
        // Exhaustive, so that a new wish of the plane cannot go unnoticed.
        let CreateServerResponse {
            wipe,
            insecure_wipe,
            setup_bmc,
            reboot_timeout,
            restart,
            message,
            sealing_key,
            exempt_disks: exempt,
            held,
            order: signed,
            addresses_taken: _,
        } = response;
        let thoroughness = if insecure_wipe { Thoroughness::Fast } else { Thoroughness::Full };
        Self {
            answer: Answer { wipe: wipe.then_some(thoroughness), setup_bmc, restart, held, message },
            sealing_key,
            wipe: wipe.then(|| WipeOrder { thoroughness, beat: beat(reboot_timeout), exempt, signed }),
        }
    }
}

/// A third of the reboot timeout, within bounds.
fn beat(reboot_timeout: f64) -> Duration {
    let third = Duration::try_from_secs_f64(reboot_timeout / BEATS_PER_TIMEOUT).unwrap_or(LONGEST_BEAT);
    if third.is_zero() { LONGEST_BEAT } else { third.clamp(SHORTEST_BEAT, LONGEST_BEAT) }
}

/// What this boot has already tried in vain.
#[derive(Debug, Default, Clone, Copy)]
pub struct Memory {
    /// A wipe failed; the next one not before.
    pub wipe_not_before: Option<Instant>,
    /// Setting up the BMC failed; not again before.
    pub bmc_not_before: Option<Instant>,
    /// There is no BMC to set up.
    pub no_bmc: bool,
}

#[derive(Debug)]
pub enum Step {
    Restart,
    Wipe(WipeOrder),
    /// Give the plane access to the BMC.
    SetUpBmc,
    /// Nothing; ask again later.
    Wait,
}

/// The next step. A machine that is not the agent's any more is never written to; one that is unclean gets its BMC set
/// up only after it was wiped, since from then on it may be switched off.
pub fn next(orders: Orders, memory: Memory, now: Instant) -> Step {
    let Memory { wipe_not_before, bmc_not_before, no_bmc } = memory;
    let too_early = |not_before: Option<Instant>| not_before.is_some_and(|instant| now < instant);
    let Orders { answer: Answer { restart, held, setup_bmc, .. }, wipe, sealing_key: _ } = orders;
    match wipe {
        _ if restart => Step::Restart,
        _ if held => Step::Wait,
        Some(_) if too_early(wipe_not_before) => Step::Wait,
        Some(order) => Step::Wipe(order),
        None if setup_bmc && !no_bmc && !too_early(bmc_not_before) => Step::SetUpBmc,
        None => Step::Wait,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn orders(wipe: bool, setup_bmc: bool, restart: bool) -> Orders {
        Orders::read(CreateServerResponse { wipe, setup_bmc, restart, ..CreateServerResponse::default() })
    }

    #[tokio::test]
    async fn each_answer_has_its_step() {
        let (now, none) = (Instant::now(), Memory::default());
        assert!(matches!(next(orders(false, false, false), none, now), Step::Wait));
        assert!(matches!(next(orders(true, false, false), none, now), Step::Wipe(_)));
        assert!(matches!(next(orders(false, true, false), none, now), Step::SetUpBmc));
        // The wipe first: the BMC makes it possible to switch the machine off.
        assert!(matches!(next(orders(true, true, false), none, now), Step::Wipe(_)));
        for wipe in [true, false] {
            assert!(matches!(next(orders(wipe, wipe, true), none, now), Step::Restart));
        }
    }

    #[tokio::test]
    async fn a_held_machine_waits_and_is_restarted_only_if_it_is_told_to() {
        for (wipe, setup_bmc) in [(true, true), (true, false), (false, true)] {
            let held =
                CreateServerResponse { held: true, wipe, setup_bmc, ..CreateServerResponse::default() };
            let step = next(Orders::read(held.clone()), Memory::default(), Instant::now());
            assert!(matches!(step, Step::Wait), "{step:?}");
            let leave = CreateServerResponse { restart: true, ..held };
            assert!(matches!(next(Orders::read(leave), Memory::default(), Instant::now()), Step::Restart));
        }
    }

    #[test]
    fn a_disk_is_exempt_by_model_and_serial_and_without_a_serial_only_if_nothing_can_be_written_to_it() {
        let exempt = |model: &str, serial: &str| ExemptDisk { model: model.into(), serial: serial.into() };
        let exempt_disks = vec![exempt("LUN 01 Media 0", ""), exempt("ST4000", "ZC1"), exempt("", "ZC2")];
        let response = CreateServerResponse { wipe: true, exempt_disks, ..CreateServerResponse::default() };
        let order = Orders::read(response).wipe.unwrap();
        for (model, serial, unwritable, expected) in [
            ("LUN 01 Media 0", "", true, true),
            ("LUN 01 Media 0", "", false, false),
            ("LUN 01 Media 0", "1", true, false),
            ("ST4000", "ZC1", false, true),
            ("ST4000", "", true, false),
            ("ST4000", "ZC9", true, false),
            ("", "ZC2", true, false),
            ("", "", true, false),
        ] {
            assert_eq!(order.exempts(model, serial, unwritable), expected, "{model} {serial} {unwritable}");
        }
    }

    #[tokio::test]
    async fn what_failed_is_tried_again_only_after_its_time() {
        let now = Instant::now();
        let memory = Memory {
            wipe_not_before: Some(now + Duration::from_secs(1)),
            bmc_not_before: Some(now + Duration::from_secs(1)),
            no_bmc: false,
        };
        assert!(matches!(next(orders(true, true, false), memory, now), Step::Wait));
        assert!(matches!(next(orders(false, true, false), memory, now), Step::Wait));
        let later = now + Duration::from_secs(1);
        assert!(matches!(next(orders(true, true, false), memory, later), Step::Wipe(_)));
        assert!(matches!(next(orders(false, true, false), memory, later), Step::SetUpBmc));
        let none = Memory { no_bmc: true, ..Memory::default() };
        assert!(matches!(next(orders(false, true, false), none, now), Step::Wait));
    }

    #[test]
    fn heartbeats_come_thrice_in_the_timeout_and_at_least_every_30_seconds() {
        for (timeout, seconds) in [
            (1200.0, 30),
            (90.0, 30),
            (30.0, 10),
            (1.0, 1),
            (0.0, 30),
            (-5.0, 30),
            (f64::NAN, 30),
            (f64::INFINITY, 30),
        ] {
            assert_eq!(beat(timeout), Duration::from_secs(seconds), "{timeout}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_wiped_without_an_order_or_when_the_machine_is_to_leave(
            insecure_wipe: bool, setup_bmc: bool, restart: bool, held: bool, wipe: bool, reboot_timeout: f64,
        ) {
            let response = CreateServerResponse {
                wipe, insecure_wipe, setup_bmc, reboot_timeout, restart, held, ..CreateServerResponse::default()
            };
            let step = next(Orders::read(response), Memory::default(), Instant::now());
            prop_assert_eq!(matches!(step, Step::Wipe(_)), wipe && !restart && !held);
            if let Step::Wipe(order) = step {
                prop_assert_eq!(order.thoroughness() == Thoroughness::Fast, insecure_wipe);
                prop_assert!(order.beat() >= SHORTEST_BEAT && order.beat() <= LONGEST_BEAT);
            }
        }
    }
}
