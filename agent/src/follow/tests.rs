//! Whole orders against a plane on loopback, on files that stand for disks.

use std::collections::VecDeque;
use std::sync::mpsc;

use bloomery_agent_api::{CreateServerResponse, StorageDevice, StorageInformation};
use tonic::Status;

use super::*;
use crate::fake_plane::{FakePlane, UUID, any_port, inventory};
use crate::inventory::storage;
use crate::wipe::tests::{Machine, is_zero};

const WAITS: Waits =
    Waits { quiet: Duration::ZERO, settle: Duration::ZERO, again: Duration::from_mins(5), countdown: 1 };

struct Lab {
    fake: FakePlane,
    machine: Machine,
    follower: Follower,
    lines: mpsc::Receiver<String>,
}

impl Lab {
    async fn new(fake: FakePlane) -> Self {
        let plane = fake.serve(any_port()).await;
        let machine = Machine::new();
        let (sender, lines) = mpsc::channel();
        let (_, devices) = watch::channel(0);
        let screen = Screen::to_channel(sender);
        let follower = Follower::new(plane, screen, devices, Survey::new(machine.places.clone()), WAITS);
        Self { fake, machine, follower, lines }
    }

    async fn order(&mut self, response: CreateServerResponse) -> After {
        let block = self.machine.places.sysfs.join(storage::BLOCK_DEVICES);
        let mut seen = inventory(UUID);
        seen.hardware.storage = Some(storage::read(&block));
        self.follower.act(seen, Orders::read(response)).await
    }

    fn shown(&self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }
}

fn wipe() -> CreateServerResponse {
    CreateServerResponse { wipe: true, reboot_timeout: 3.0, ..CreateServerResponse::default() }
}

#[tokio::test]
async fn an_ordered_wipe_beats_at_once_and_ends_in_the_report_of_all_disks() {
    let mut lab = Lab::new(FakePlane::default()).await;
    let node = lab.machine.disk("sda", 1);
    assert_eq!(lab.order(wipe()).await, After::Rest);
    assert!(is_zero(&node));
    assert_eq!(lab.fake.told().last().unwrap(), "wiped");
    let disks = lab.fake.disks.lock().unwrap().clone();
    assert_eq!((disks.len(), disks[0].device.as_str()), (1, "sda"));
    let shown = lab.shown();
    assert!(shown.contains("WIPED  sda (zeroes)") && shown.contains("machine is clean"), "{shown}");
}

#[tokio::test]
async fn nothing_is_written_without_an_order_or_when_told_to_leave() {
    let mut lab = Lab::new(FakePlane::default()).await;
    let node = lab.machine.disk("sda", 1);
    assert_eq!(lab.order(CreateServerResponse::default()).await, After::Rest);
    let leave = CreateServerResponse { restart: true, ..wipe() };
    assert_eq!(lab.order(leave).await, After::End(Action::Restart));
    assert!(std::fs::read(&node).unwrap().iter().all(|byte| *byte == 0xA5));
    assert_eq!(lab.fake.told(), [""; 0]);
    assert!(lab.shown().contains("restarting in 1 s"));
}

#[tokio::test]
async fn a_failed_disk_is_reported_with_its_reason_and_never_as_wiped() {
    let mut lab = Lab::new(FakePlane::default()).await;
    lab.machine.disk("sda", 1);
    lab.machine.disk("sdb", 2);
    lab.machine.attribute("sdb", "ro", "1");
    let order = CreateServerResponse { setup_bmc: true, ..wipe() };
    assert_eq!(lab.order(order.clone()).await, After::Rest);
    assert!(lab.fake.told().iter().all(|told| told == "heartbeat"), "{:?}", lab.fake.told());
    let disks = lab.fake.disks.lock().unwrap().clone();
    assert!(disks[1].error.contains("write-protected"), "{disks:?}");
    let shown = lab.shown();
    assert!(shown.contains("THIS MACHINE IS NOT CLEAN: 1 of 2 disks"), "{shown}");
    // Asked again at once: not before its time, and the BMC not at all.
    let beats = lab.fake.told().len();
    assert_eq!(lab.order(order).await, After::Rest);
    assert_eq!(lab.fake.told().len(), beats);
    // Later the repaired disk is wiped, and then it counts.
    lab.machine.attribute("sdb", "ro", "0");
    lab.follower.memory.wipe_not_before = None;
    assert_eq!(lab.order(wipe()).await, After::Rest);
    assert_eq!(lab.fake.told().last().unwrap(), "wiped");
}

#[tokio::test]
async fn a_disk_that_vanished_since_the_registration_is_reported() {
    let mut lab = Lab::new(FakePlane::default()).await;
    let mut seen = inventory(UUID);
    let disk = StorageDevice { device_name: "/dev/sdx".to_owned(), ..StorageDevice::default() };
    seen.hardware.storage = Some(StorageInformation { devices: vec![disk], ..StorageInformation::default() });
    assert_eq!(lab.follower.act(seen, Orders::read(wipe())).await, After::Rest);
    assert!(lab.shown().contains("sdx IS NOT WIPED"));
    assert!(!lab.fake.told().contains(&"wiped".to_owned()));
}

#[tokio::test]
async fn a_plane_that_is_deaf_to_heartbeats_does_not_stop_the_wipe() {
    let mut lab = Lab::new(FakePlane { deaf: true, ..FakePlane::default() }).await;
    let node = lab.machine.disk("sda", 1);
    assert_eq!(lab.order(wipe()).await, After::Rest);
    assert!(is_zero(&node));
    assert_eq!(lab.fake.told(), ["wiped"]);
}

#[tokio::test]
async fn a_plane_that_takes_its_order_back_stops_the_wipe() {
    for status in [
        Status::failed_precondition("waiting to be accepted"),
        Status::not_found("it is not registered"),
        Status::unauthenticated("that of an earlier boot"),
    ] {
        let mut lab = Lab::new(FakePlane { revoked: Some(status.clone()), ..FakePlane::default() }).await;
        let node = lab.machine.disk("sda", 1);
        // Devices never settle, so that the refusal comes before the first byte is written.
        lab.follower.waits.settle = Duration::from_hours(1);
        lab.follower.waits.quiet = Duration::from_hours(1);
        let (_changes, devices) = watch::channel(0);
        lab.follower.devices = devices;
        let after = tokio::time::timeout(crate::fake_plane::limit(), lab.order(wipe())).await;
        assert_eq!(after.expect("the wipe goes on"), After::Soon);
        assert!(!is_zero(&node));
        assert_eq!(lab.fake.told(), ["heartbeat"]);
        let shown = lab.shown();
        assert!(shown.contains("STOP") && shown.contains(status.message()), "{shown}");
        // Not a failure of a disk: a new order is followed at once.
        assert_eq!(lab.follower.memory.wipe_not_before, None);
    }
}

#[tokio::test]
async fn a_plane_that_refuses_the_report_is_asked_for_new_orders() {
    for status in [Status::failed_precondition("it is bound"), Status::permission_denied("old boot")] {
        let fake = FakePlane::default();
        *fake.marks.lock().unwrap() = VecDeque::from([status.clone()]);
        let mut lab = Lab::new(fake).await;
        let node = lab.machine.disk("sda", 1);
        assert_eq!(lab.order(wipe()).await, After::Soon);
        let shown = lab.shown();
        assert!(shown.contains("the plane does not take it") && shown.contains(status.message()), "{shown}");
        assert_eq!(lab.fake.told().iter().filter(|told| *told == "wiped").count(), 1);
        // The same order again: nothing is erased twice, and the report is made again.
        std::fs::write(&node, vec![1; 5 << 20]).unwrap();
        assert_eq!(lab.order(wipe()).await, After::Rest);
        assert!(!is_zero(&node));
        assert_eq!(lab.fake.told().last().unwrap(), "wiped");
    }
}

#[tokio::test]
async fn a_plane_that_comes_back_gets_the_report() {
    let fake = FakePlane::default();
    *fake.marks.lock().unwrap() = VecDeque::from([Status::unavailable("starting"), Status::internal("etcd")]);
    let mut lab = Lab::new(fake).await;
    lab.machine.disk("sda", 1);
    let fake = lab.fake.clone();
    let order = lab.order(wipe());
    tokio::pin!(order);
    tokio::select! {
        after = &mut order => panic!("{after:?}"),
        () = fake.wait_for("wiped") => {}
    }
    // From here on there are waits only, and the clock leaps over them.
    tokio::time::pause();
    assert_eq!(order.await, After::Rest);
    assert_eq!(fake.told().iter().filter(|told| *told == "wiped").count(), 3);
}

#[tokio::test]
async fn an_agent_that_dies_midway_has_reported_nothing() {
    let fake = FakePlane::default();
    let mut lab = Lab::new(fake.clone()).await;
    lab.machine.disk("sda", 1);
    // The wipe waits for devices to settle, which they never do.
    lab.follower.waits.settle = Duration::from_hours(1);
    lab.follower.waits.quiet = Duration::from_hours(1);
    let (changes, devices) = watch::channel(0);
    lab.follower.devices = devices;
    tokio::select! {
        after = lab.order(wipe()) => panic!("{after:?}"),
        () = fake.wait_for("heartbeat") => {}
    }
    drop(changes);
    assert!(!fake.told().contains(&"wiped".to_owned()), "{:?}", fake.told());
}

#[tokio::test]
async fn no_bmc_is_a_quiet_line_and_asked_for_once() {
    let mut lab = Lab::new(FakePlane::default()).await;
    if std::path::Path::new(bloomery_sys::ipmi::DEVICE).exists() {
        // The test would set up access to it.
        assert!(
            std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some(),
            "this machine has a BMC: run this test on one without, or leave out what cannot run here with \
             BLOOMERY_INCOMPLETE_TESTS=1"
        );
        return;
    }
    // With no key at all: a machine without a BMC has nothing to seal.
    let order = CreateServerResponse { setup_bmc: true, ..CreateServerResponse::default() };
    assert_eq!(lab.order(order.clone()).await, After::Rest);
    let shown = lab.shown();
    assert!(shown.contains("has no BMC") && !shown.contains("ERROR"), "{shown}");
    assert_eq!(lab.order(order).await, After::Rest);
    assert_eq!(lab.shown(), "");
}

#[tokio::test]
async fn after_a_wipe_the_next_registration_says_that_the_disks_are_blank() {
    let mut lab = Lab::new(FakePlane::default()).await;
    lab.machine.disk("sda", 1);
    let survey = lab.follower.survey.clone();
    let block = lab.machine.places.sysfs.join(storage::BLOCK_DEVICES);
    let contents = async || {
        let mut storage = storage::read(&block);
        survey.describe(&mut storage).await;
        storage.devices.remove(0).contents.unwrap()
    };
    assert_eq!(contents().await.found, ["data"]);
    assert_eq!(lab.order(wipe()).await, After::Rest);
    let after = contents().await;
    assert!(after.read && after.found.is_empty(), "{after:?}");
}

#[tokio::test]
async fn a_held_machine_is_neither_wiped_nor_restarted_nor_given_a_user() {
    let mut lab = Lab::new(FakePlane::default()).await;
    let node = lab.machine.disk("sda", 1);
    let held = CreateServerResponse { held: true, setup_bmc: true, ..wipe() };
    for _ in 0..3 {
        assert_eq!(lab.order(held.clone()).await, After::Rest);
    }
    assert!(!is_zero(&node));
    assert_eq!(lab.fake.told(), [""; 0]);
    assert_eq!(lab.shown(), "");
}

#[tokio::test]
async fn a_machine_that_is_to_go_back_to_its_disk_restarts_once_it_is_told_and_not_before() {
    let mut lab = Lab::new(FakePlane::default()).await;
    let message = "not accepted: it starts from its disk from the next boot on".to_owned();
    let waits = CreateServerResponse { message: message.clone(), ..CreateServerResponse::default() };
    assert_eq!(lab.order(waits).await, After::Rest);
    let leave = CreateServerResponse { message, restart: true, ..CreateServerResponse::default() };
    assert_eq!(lab.order(leave).await, After::End(Action::Restart));
    assert!(lab.shown().contains("from its disk from the next boot on: restarting in 1 s"));
}
