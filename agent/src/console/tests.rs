//! Texts as a person sees them.

use std::sync::mpsc::channel;
use std::time::Duration;

use bloomery_agent_api::*;
use bloomery_hostnet::dhcp::{Event, Phase};
use bloomery_hostnet::{Link, LinkKind, MacAddr};

use super::*;
use crate::inventory::Inventory;
use crate::orders::{Answer, Thoroughness};
use crate::plane::Error;

const UUID: &str = "4c4c4544-0042-3110-8051-b4c04f313233";

fn text(value: &str) -> String {
    value.to_owned()
}

fn inventory() -> Inventory {
    let system = SystemInformation {
        uuid: text(UUID),
        manufacturer: text("LabCo"),
        product_name: text("LabServer"),
        serial_number: text("SN000123"),
        ..SystemInformation::default()
    };
    let cpu = Processor { product_name: text("Xeon Gold 9"), ..Processor::default() };
    let disk = |name: &str, kind: StorageType, size| StorageDevice {
        device_name: text(name),
        r#type: kind.into(),
        size,
        model: text("QEMU HARDDISK"),
        serial: text("QM0001"),
        ..StorageDevice::default()
    };
    let card = NetworkInterface {
        name: text("eth0"),
        mac: text("52:54:00:12:34:56"),
        addresses: vec![text("10.77.0.101/24")],
        ..NetworkInterface::default()
    };
    Inventory {
        hardware: HardwareInformation {
            system: Some(system),
            compute: Some(ComputeInformation {
                total_core_count: 8,
                total_thread_count: 16,
                processor_count: 1,
                processors: vec![cpu],
            }),
            memory: Some(MemoryInformation { total_size: 16384, module_count: 2, modules: Vec::new() }),
            storage: Some(StorageInformation {
                total_size: 0,
                device_count: 2,
                devices: vec![
                    disk("/dev/nvme0n1", StorageType::NvMe, 4_000_787_030_016),
                    disk("/dev/sda", StorageType::Hdd, 6_442_450_944),
                ],
            }),
            network: Some(NetworkInformation { interface_count: 1, interfaces: vec![card] }),
        },
        addresses: vec!["10.77.0.101".parse().unwrap()],
    }
}

#[test]
fn the_block_says_what_this_machine_is_and_how_to_accept_it() {
    insta::assert_snapshot!(machine("10.77.0.3:8081", &inventory(), &Answer::default()));
}

#[test]
fn the_block_says_what_is_on_the_disks_and_that_a_held_machine_waits() {
    let mut machine_with = inventory();
    let contents = |read, found: &[&str], error: &str| {
        let found = found.iter().map(|word| text(word)).collect();
        Some(DiskContents { read, found, error: text(error) })
    };
    let devices = &mut machine_with.hardware.storage.as_mut().unwrap().devices;
    devices[0].contents = contents(true, &["gpt", "talos-state"], "");
    devices[1].contents = contents(true, &[], "");
    let unseen = contents(false, &[], "the storage controller 1000:005f has no driver here");
    devices.push(StorageDevice { device_name: text("PCI 03:00.0"), contents: unseen, ..Default::default() });
    let message = text(
        "it has the system UUID of server 4c4c4544-0042-3110-8051-b4c04f313299, and another card: see `kubectl describe \
         server`, then `bloomery servers split` or `merge`",
    );
    let answer = Answer { held: true, message, ..Answer::default() };
    insta::assert_snapshot!(machine("10.77.0.3:8081", &machine_with, &answer));
}

#[test]
fn the_block_says_loudly_what_is_ordered() {
    let answer = Answer {
        wipe: Some(Thoroughness::Full),
        setup_bmc: true,
        message: text("released from cluster blue"),
        restart: false,
        held: false,
    };
    insta::assert_snapshot!(machine("10.77.0.3:8081", &inventory(), &answer));
}

#[test]
fn a_machine_that_is_to_leave_is_told_nothing_else() {
    let answer = Answer { restart: true, wipe: Some(Thoroughness::Fast), ..Answer::default() };
    let block = machine("10.77.0.3:8081", &inventory(), &answer);
    assert!(block.contains("restart") && !block.contains("WIPE"), "{block}");
}

#[test]
fn the_end_of_a_wipe_names_what_is_left_and_what_to_do() {
    let disk = |device: &str, state, error: &str| DiskProgress {
        device: text(device),
        serial: text("S1"),
        state: i32::from(state),
        error: text(error),
        ..DiskProgress::default()
    };
    let disks = [
        disk("sda", disk_progress::State::Wiped, ""),
        disk("sdb", disk_progress::State::Failed, "failed to get it writable: it is write-protected"),
    ];
    let refusal = Error::Call {
        method: "MarkServerAsWiped",
        endpoint: text("10.77.0.3:8081"),
        source: Box::new(tonic::Status::failed_precondition("the server is bound")),
    };
    let texts = [
        wipe_starts(Thoroughness::Fast),
        wipe_failed(&disks, Duration::from_mins(5)),
        wipe_not_reported(&refusal),
        count(0),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn the_block_of_an_empty_machine_and_of_one_with_many_disks_fit_a_screen() {
    let answer = Answer::default();
    assert!(machine("a:1", &Inventory::default(), &answer).contains("machine   none"));
    let mut many = inventory();
    let storage = many.hardware.storage.as_mut().unwrap();
    storage.devices = vec![storage.devices[0].clone(); 100];
    let block = machine("a:1", &many, &answer);
    assert!(block.contains("and 88 more"), "{block}");
    assert!(block.lines().count() < 40, "{block}");
}

#[test]
fn sizes_are_written_as_on_the_label() {
    for (bytes, text) in
        [(0, "0 MB"), (67_108_864, "67 MB"), (999_999_999, "999 MB"), (4_000_787_030_016, "4000.7 GB")]
    {
        assert_eq!(size(bytes), text);
    }
}

#[test]
fn every_wait_says_what_to_check() {
    let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
    let link = Link {
        index: 2,
        name: text("eth0"),
        mac: Some(MacAddr([0x52, 0x54, 0, 0, 0, 2])),
        kind: LinkKind::Ethernet,
        flags: 0,
        carrier: false,
        carrier_ups: 0,
        mtu: 1500,
        addresses: Vec::new(),
    };
    let silent = |phase, carrier| Event::NoAnswer { phase, silent: Duration::from_secs(28), carrier };
    let texts = [
        waiting_for_card(mac, &[]),
        waiting_for_card(mac, &[link]),
        dhcp_event("eth0", &silent(Phase::Selecting, false)).unwrap(),
        dhcp_event("eth0", &silent(Phase::Selecting, true)).unwrap(),
        dhcp_event("eth0", &silent(Phase::Renewing, true)).unwrap(),
        dhcp_event("eth0", &Event::Failed { error: text("failed to bind port 68: Permission denied") })
            .unwrap(),
        register_failed(&Error::NoIdentity, 3, Duration::from_secs(8)),
        fatal(&crate::cmdline::parse("").unwrap_err(), "restarting in 60 s"),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn nothing_shown_can_steer_the_terminal() {
    let (sender, lines) = channel();
    Screen::to_channel(sender).show("a\x1b[2Jb\r\nc\u{9b}d");
    assert_eq!(lines.try_iter().collect::<Vec<_>>(), ["a [2Jb", "c d"]);
}

#[test]
fn the_end_of_a_wipe_counts_what_was_left_to_its_owner_apart() {
    let disk = |device: &str, state: disk_progress::State| DiskProgress {
        device: text(device),
        state: state.into(),
        ..DiskProgress::default()
    };
    let (wiped, exempt) =
        (disk("sda", disk_progress::State::Wiped), disk("sdb", disk_progress::State::Exempt));
    assert_eq!(wipe_done(std::slice::from_ref(&wiped)), "OK     all disks are wiped: 1 disk");
    let text = "OK     all disks are wiped: 1 disk; left, as their owner wants it: 1 disk";
    assert_eq!(wipe_done(&[wiped.clone(), exempt.clone()]), text);
    let failed =
        wipe_failed(&[wiped, exempt, disk("sdc", disk_progress::State::Failed)], Duration::from_mins(1));
    assert!(failed.contains("sdc") && !failed.contains("sdb"), "{failed}");
}
