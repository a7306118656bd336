//! Whose word is believed, and about which disks.

use super::super::fixtures::{HOLDS, machine, powerless, record, server, with_state};
use super::*;
use crate::evidence::DiskState::{Bound, Clean, NeverUsed, Released};
use crate::evidence::RecordId;
use crate::exempt::EXEMPT_DISKS_ANNOTATION;
use crate::hardware::{HardwareInformation, StorageInformation};

const BOOT: &[u8] = b"boot";

fn order(id: &str) -> Order {
    Order::new(RecordId(id.to_owned()), BOOT)
}

#[test]
fn only_the_agent_that_was_ordered_is_believed_while_its_record_stands() {
    let (own, old) = (order(&record(Released).id), order("before"));
    let dirty = with_state(server(true, false, false), Released);
    let judge = |order| wiped(&machine(&dirty, None, &HOLDS), order);
    assert_eq!(judge(Some(&own)), Verdict::Record);
    for order in [Some(&old), None] {
        assert!(matches!(judge(order), Verdict::Refuse(_)), "{order:?}");
    }
    for state in [Bound, NeverUsed] {
        let seen = with_state(server(false, false, false), state);
        assert!(matches!(wiped(&machine(&seen, None, &HOLDS), Some(&own)), Verdict::Refuse(_)), "{state:?}");
    }
    for authority in powerless() {
        assert!(matches!(wiped(&machine(&dirty, None, &authority), Some(&own)), Verdict::Refuse(_)));
    }
    let clean = with_state(server(true, false, true), Clean);
    assert_eq!(wiped(&machine(&clean, None, &HOLDS), Some(&own)), Verdict::Done);
}

#[test]
fn a_record_without_its_status_is_finished_by_the_order_that_led_to_it() {
    let half = with_state(server(true, false, false), Clean);
    let judge = |order| wiped(&machine(&half, None, &HOLDS), order);
    let own = Order { cleaned: RecordId(record(Clean).id), ..order("before") };
    assert_eq!(judge(Some(&own)), Verdict::Finish);
    for other in [Some(&order("before")), None] {
        assert_eq!(judge(other), Verdict::Refuse(REGISTER_AGAIN));
    }
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
