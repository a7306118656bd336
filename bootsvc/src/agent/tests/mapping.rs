//! Inventory and names, without a network.

use bloomery_agent_api as pb;
use bloomery_api::hardware;
use k8s_openapi::api::core::v1::NodeAddress;
use proptest::prelude::*;

use super::super::decide::{self, AddressError, UuidError};
use super::super::wire;

pub(super) const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";

#[allow(clippy::unnecessary_wraps, reason = "as the message wants it")]
fn blank() -> Option<pb::DiskContents> {
    Some(pb::DiskContents { read: true, ..Default::default() })
}

/// The inventory of a small machine, whose disks are blank.
pub(super) fn inventory(uuid: &str) -> pb::HardwareInformation {
    pb::HardwareInformation {
        system: Some(pb::SystemInformation {
            uuid: uuid.to_owned(),
            manufacturer: " LabCo \u{0}".to_owned(),
            serial_number: "SN1".to_owned(),
            ..Default::default()
        }),
        compute: Some(pb::ComputeInformation {
            total_core_count: 8,
            total_thread_count: u32::MAX,
            processor_count: 99,
            processors: vec![pb::Processor { speed: 2400, core_count: 8, ..Default::default() }],
        }),
        memory: Some(pb::MemoryInformation {
            total_size: 32_767,
            module_count: 0,
            modules: vec![pb::MemoryModule { r#type: "DDR4".to_owned(), size: 32_767, ..Default::default() }],
        }),
        storage: Some(pb::StorageInformation {
            total_size: 480 << 30,
            device_count: 1,
            devices: vec![
                pb::StorageDevice {
                    r#type: 3,
                    size: u64::MAX,
                    model: "M".to_owned(),
                    device_name: "/dev/sda".to_owned(),
                    contents: blank(),
                    ..Default::default()
                },
                pb::StorageDevice {
                    r#type: 77,
                    device_name: "/dev/sdb".to_owned(),
                    contents: blank(),
                    ..Default::default()
                },
            ],
        }),
        network: Some(pb::NetworkInformation {
            interface_count: 7,
            interfaces: vec![pb::NetworkInterface {
                index: 2,
                mac: "52-54-00-77-00-01".to_owned(),
                addresses: vec!["10.77.0.50/24".to_owned()],
                ..Default::default()
            }],
        }),
    }
}

#[test]
fn inventory_becomes_the_servers_hardware() {
    let hardware = wire::hardware(&inventory(&UUID.to_uppercase()), UUID);
    insta::assert_yaml_snapshot!(hardware);
}

#[test]
fn names_are_lower_case_uuids_of_one_machine() {
    assert_eq!(decide::server_name(&format!(" {} ", UUID.to_uppercase())), Ok(UUID.to_owned()));
    for malformed in ["", "x", "4c4c4544004231108051b7c04f4e3332", "../../etc/passwd", "{4c4c4544}"] {
        assert!(matches!(decide::server_name(malformed), Err(UuidError::Malformed(_))), "{malformed}");
    }
    for unset in ["00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"] {
        assert!(matches!(decide::server_name(unset), Err(UuidError::Unset(_))), "{unset}");
    }
    let shared = decide::server_name("03000200-0400-0500-0006-000700080009");
    assert!(matches!(shared, Err(UuidError::Placeholder(_))));
}

#[test]
fn texts_are_cut_by_octets_and_contents_are_what_was_read() {
    assert_eq!(wire::text(&"ä".repeat(200)).len(), 256);
    assert_eq!(wire::text(&"€".repeat(200)).len(), 255);
    let disk = |contents| {
        let mut sent = inventory(UUID);
        sent.storage.as_mut().unwrap().devices[0].contents = contents;
        wire::hardware(&sent, UUID).storage.unwrap().devices[0].contents.clone()
    };
    let sent = |read, found: &[&str], error: &str| {
        let found = found.iter().map(|word| (*word).to_owned()).collect();
        disk(Some(pb::DiskContents { read, found, error: error.to_owned() })).unwrap()
    };
    assert_eq!(disk(None), None);
    assert_eq!(sent(true, &[], ""), hardware::DiskContents::default());
    assert_eq!(sent(true, &["gpt", "ext4"], "").found, ["gpt", "ext4"]);
    assert_eq!(sent(false, &[], "").error, "not read");
    assert_eq!(sent(false, &[], "input/output error").error, "input/output error");
    let many: Vec<&str> = vec!["gpt"; 33];
    for malformed in [&many[..], &[""], &["a-word-that-is-far-too-long-to-be-one"]] {
        let read = sent(true, malformed, "");
        assert!(read.found.is_empty() && !read.error.is_empty(), "{malformed:?}");
    }
}

fn reported(pairs: &[(&str, &str)]) -> Vec<pb::Address> {
    pairs
        .iter()
        .map(|(kind, address)| pb::Address { r#type: (*kind).to_owned(), address: (*address).to_owned() })
        .collect()
}

fn known(pairs: &[(&str, &str)]) -> Vec<NodeAddress> {
    pairs
        .iter()
        .map(|(kind, address)| NodeAddress { type_: (*kind).to_owned(), address: (*address).to_owned() })
        .collect()
}

#[test]
fn addresses_replace_their_type_and_keep_the_others() {
    let before = known(&[("InternalIP", "10.0.0.1"), ("Hostname", "h"), ("InternalIP", "10.0.0.2")]);
    let after =
        decide::addresses(&before, &reported(&[("InternalIP", "10.0.0.3"), ("InternalIP", "10.0.0.3")]));
    assert_eq!(after, Ok(Some(known(&[("Hostname", "h"), ("InternalIP", "10.0.0.3")]))));
    let same = reported(&[("InternalIP", "10.0.0.2"), ("InternalIP", "10.0.0.1")]);
    assert_eq!(decide::addresses(&before, &same), Ok(None));
    assert_eq!(decide::addresses(&before, &[]), Ok(None));
    assert!(matches!(
        decide::addresses(&before, &reported(&[("", "10.0.0.1")])),
        Err(AddressError::Malformed(_))
    ));
    let flood = vec![("InternalIP", "10.0.0.1"); 257];
    assert_eq!(decide::addresses(&before, &reported(&flood)), Err(AddressError::TooMany(257)));
}

proptest! {
    #[test]
    fn no_uuid_panics_or_makes_a_bad_name(text in "\\PC{0,48}|[0-9a-fA-F-]{36}") {
        if let Ok(name) = decide::server_name(&text) {
            prop_assert!(name.bytes().all(|octet| octet == b'-' || octet.is_ascii_digit() || octet.is_ascii_lowercase()));
        }
    }

    #[test]
    fn no_inventory_panics(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        use prost::Message;
        if let Ok(sent) = pb::CreateServerRequest::decode(&octets[..]) {
            let _ = wire::hardware(&sent.hardware.unwrap_or_default(), UUID);
        }
    }

    #[test]
    fn declared_counts_are_not_believed(declared: u32, real in 0usize..40) {
        let sent = pb::HardwareInformation {
            compute: Some(pb::ComputeInformation {
                processor_count: declared,
                processors: vec![pb::Processor::default(); real],
                ..Default::default()
            }),
            ..Default::default()
        };
        let compute = wire::hardware(&sent, UUID).compute.unwrap();
        prop_assert_eq!(compute.processors.len(), real);
        prop_assert_eq!(usize::try_from(compute.processor_count).unwrap(), real);
    }
}
