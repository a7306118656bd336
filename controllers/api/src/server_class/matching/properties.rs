//! Properties of partial equality, for generated hardware.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c]{1,2}"]
}

prop_compose! {
    fn system()(manufacturer in word(), product_name in word(), uuid in word()) -> SystemInformation {
        SystemInformation { uuid, manufacturer, product_name, ..SystemInformation::default() }
    }
}

prop_compose! {
    fn processor()(manufacturer in word(), core_count in 0..3_i32) -> Processor {
        Processor { manufacturer, core_count, ..Processor::default() }
    }
}

prop_compose! {
    fn disk()(size in 0..3_i64, wwid in word()) -> StorageDevice {
        StorageDevice { size, wwid, ..StorageDevice::default() }
    }
}

prop_compose! {
    fn link()(mac in word(), addresses in vec(word(), 0..3)) -> NetworkInterface {
        NetworkInterface { mac, addresses, ..NetworkInterface::default() }
    }
}

prop_compose! {
    fn hardware()(system in option::of(system()), processors in option::of(vec(processor(), 0..3)),
        total in word(), modules in option::of(0..3_usize), devices in option::of(vec(disk(), 0..3)),
        interfaces in option::of(vec(link(), 0..3))) -> HardwareInformation {
        HardwareInformation {
            system,
            compute: processors.map(|processors| ComputeInformation { processors, ..ComputeInformation::default() }),
            memory: modules.map(|count| MemoryInformation {
                total_size: total,
                modules: vec![MemoryModule::default(); count],
                ..MemoryInformation::default()
            }),
            storage: devices.map(|devices| StorageInformation { devices, ..StorageInformation::default() }),
            network: interfaces.map(|interfaces| NetworkInformation { interfaces, ..NetworkInformation::default() }),
        }
    }
}

/// Partial equality once more, on JSON, where a value that is zero is absent.
fn admits(filter: &Value, actual: Option<&Value>) -> bool {
    match (filter, actual) {
        (Value::Object(filter), Some(actual)) => {
            filter.iter().all(|(key, filter)| admits(filter, actual.get(key)))
        }
        (Value::Array(filter), actual) => {
            let actual = actual.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            filter.len() <= actual.len()
                && filter.iter().zip(actual).all(|(filter, actual)| admits(filter, Some(actual)))
        }
        (Value::Object(_), None) => false,
        // Only an element of a list of texts is there and empty.
        (Value::String(text), _) if text.is_empty() => true,
        (filter, actual) => Some(filter) == actual,
    }
}

proptest! {
    #[test]
    fn everything_admits_itself_and_nothing_asked_admits_everything(hardware in hardware()) {
        prop_assert!(hardware.admits(&hardware));
        prop_assert!(HardwareInformation::default().admits(&hardware));
    }

    #[test]
    fn it_is_field_by_field_and_index_by_index(filter in hardware(), actual in hardware()) {
        let json = |hardware: &HardwareInformation| serde_json::to_value(hardware).unwrap();
        prop_assert_eq!(filter.admits(&actual), admits(&json(&filter), Some(&json(&actual))));
    }

    #[test]
    fn a_filter_that_asks_less_admits_no_less(filter in hardware(), actual in hardware()) {
        let mut less = filter.clone();
        less.system = None;
        if let Some(compute) = &mut less.compute {
            compute.processors.pop();
        }
        prop_assert!(!filter.admits(&actual) || less.admits(&actual));
    }

    #[test]
    fn a_longer_list_is_never_admitted(actual in vec(processor(), 0..3)) {
        let longer = vec![Processor::default(); actual.len() + 1];
        prop_assert!(!longer.admits(&actual));
        prop_assert!(longer[1..].to_vec().admits(&actual));
    }
}
