//! Whose word is believed, and about which disks.

use super::super::fixtures::{HOLDS, UID, at, machine, powerless, record, server, with_state};
use super::*;
use crate::evidence::DiskState::{Bound, Clean, NeverUsed, Released};
use crate::exempt::EXEMPT_DISKS_ANNOTATION;
use crate::hardware::{HardwareInformation, StorageInformation};

fn order(id: &str) -> Order {
    Order { record: RecordId(id.to_owned()), server_uid: Some(UID.to_owned()) }
}

#[test]
fn only_the_agent_that_was_ordered_is_believed_while_its_record_stands() {
    let id = record(Released).id;
    let (own, old, foreign) = (order(&id), order("before"), Order { server_uid: None, ..order(&id) });
    let dirty = with_state(server(true, false, false), Released);
    let judge = |order| {
        wiped(&machine(&dirty, None, &HOLDS), &CallerMemory { order, given: true, ..CallerMemory::default() })
    };
    assert_eq!(judge(Some(&own)), Verdict::Record);
    for order in [Some(&old), Some(&foreign), None] {
        assert!(matches!(judge(order), Verdict::Refuse(_)), "{order:?}");
    }
    let memory = CallerMemory { order: Some(&own), given: true, ..CallerMemory::default() };
    for state in [Bound, NeverUsed] {
        let seen = with_state(server(false, false, false), state);
        assert!(matches!(wiped(&machine(&seen, None, &HOLDS), &memory), Verdict::Refuse(_)), "{state:?}");
    }
    for authority in powerless() {
        assert!(matches!(wiped(&machine(&dirty, None, &authority), &memory), Verdict::Refuse(_)));
    }
    let clean = with_state(server(true, false, true), Clean);
    assert_eq!(wiped(&machine(&clean, None, &HOLDS), &memory), Verdict::Done);
}

#[test]
fn without_a_memory_the_times_tell() {
    let dirty = with_state(server(true, false, false), Released);
    let half = with_state(server(true, false, false), Clean);
    let written = u64::try_from(at(0).0.as_millisecond()).unwrap();
    let judge = |seen, booted_ms, given| {
        wiped(&machine(seen, None, &HOLDS), &CallerMemory { given, booted_ms, ..CallerMemory::default() })
    };
    assert_eq!(judge(&dirty, Some(written + 1000), false), Verdict::Record);
    assert_eq!(judge(&dirty, Some(written + 999), false), Verdict::Refuse(REGISTER_AGAIN));
    assert_eq!(judge(&dirty, Some(written + 1000), true), Verdict::Refuse(REGISTER_AGAIN));
    assert_eq!(judge(&dirty, None, false), Verdict::Refuse(REGISTER_AGAIN));
    assert_eq!(judge(&half, Some(written), false), Verdict::Finish);
    assert_eq!(judge(&half, Some(written + 5000), false), Verdict::Refuse(REGISTER_AGAIN));
}

fn known(disks: &[(&str, &str, &str)]) -> Server {
    let devices = disks
        .iter()
        .map(|(device, model, serial)| StorageDevice {
            device_name: (*device).to_owned(),
            product_name: (*model).to_owned(),
            serial_number: (*serial).to_owned(),
            ..StorageDevice::default()
        })
        .collect();
    let storage = Some(StorageInformation { devices, ..StorageInformation::default() });
    let mut server = server(true, false, false);
    server.spec.hardware = Some(HardwareInformation { storage, ..HardwareInformation::default() });
    server
}

fn reported(disks: &[(&str, &str, &str, bool)]) -> Vec<WipedDisk> {
    disks
        .iter()
        .map(|(device, model, serial, is_wiped)| WipedDisk {
            device_name: (*device).to_owned(),
            model: (*model).to_owned(),
            serial: (*serial).to_owned(),
            is_wiped: *is_wiped,
        })
        .collect()
}

#[test]
fn every_disk_of_the_inventory_needs_a_word() {
    let seen = known(&[("/dev/sda", "M", "S1"), ("/dev/sdb", "M", "S2"), ("/dev/sdc", "N", "")]);
    let all = [("sda", "M", "S1", true), ("sdb", "M", "S2", true), ("sdc", "N", "", true)];
    let count = |disks: &[(&str, &str, &str, bool)]| left(&seen, &reported(disks), Reporter::Ours).len();
    assert_eq!(count(&all), 0);
    // Kernel names move; serial numbers do not.
    assert_eq!(count(&[("sdb", "M", "S1", true), ("sda", "", "S2", true), ("/dev/sdc", "N", "", true)]), 0);
    assert_eq!(count(&[]), 3, "an empty list is not believed");
    assert_eq!(count(&all[..2]), 1);
    assert_eq!(count(&[all[0], all[0], all[2]]), 1, "one entry speaks for one disk");
    assert_eq!(count(&[all[0], ("sdb", "M", "S2", false), all[2]]), 1);
    assert_eq!(
        count(&[all[0], all[1], all[2], ("sdd", "X", "S9", false)]),
        1,
        "a new disk that is not wiped"
    );
    assert_eq!(left(&seen, &[], Reporter::Upstream).len(), 0, "upstream's agent reports none");
    let text = left_in_words(&seen, &[], Reporter::Ours).unwrap();
    assert_eq!(text, "/dev/sda (M, serial S1), /dev/sdb (M, serial S2), /dev/sdc (N, serial )");
    assert_eq!(left_in_words(&known(&[]), &[], Reporter::Ours), None);
}

#[test]
fn f10_a_disk_that_the_owner_exempts_keeps_no_machine_unclean() {
    let mut seen = known(&[("/dev/sda", "M", "S1"), ("/dev/sdb", "LUN 00 Media 0", "V1")]);
    let disks = [("sda", "M", "S1", true), ("sdb", "LUN 00 Media 0", "V1", false)];
    assert_eq!(left(&seen, &reported(&disks), Reporter::Ours).len(), 1);
    let text = r#"[{"model":"LUN 00 Media 0","serial":"V1"}]"#;
    super::super::fixtures::annotate(&mut seen, EXEMPT_DISKS_ANNOTATION, text);
    assert_eq!(left(&seen, &reported(&disks), Reporter::Ours), Vec::<String>::new());
    assert_eq!(left(&seen, &reported(&disks[..1]), Reporter::Ours).len(), 0);
    assert_eq!(left(&seen, &reported(&disks[1..]), Reporter::Ours).len(), 1, "no other disk goes with it");
}
