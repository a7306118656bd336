//! An administrator's client configuration of the Talos API: which addresses it names, and when it is made anew.
//!
//! Never made anew at rest: each has a key of its own, and copies of it are in people's hands.

use k8s_openapi::jiff::Timestamp;

use crate::contract::{CONTROL_PLANE_LABEL, Machine, MachineAddress};

/// A client certificate is made anew when less than this part of its life is left: four months of a year.
const PART_LEFT: i64 = 3;

/// What is known of the client configuration that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Addresses that it names.
    pub endpoints: Vec<String>,
    /// When its certificate begins to be good.
    pub not_before: Timestamp,
    /// When its certificate ends to be good.
    pub not_after: Timestamp,
}

/// The addresses of a cluster's control plane, in the order of their texts. One that two machines show stands there twice, as
/// upstream has it.
pub fn endpoints<'a>(machines: impl IntoIterator<Item = &'a Machine>, cluster: &str) -> Vec<String> {
    let is_of = |machine: &&Machine| {
        let labels = machine.metadata.labels.as_ref();
        machine.spec.cluster_name == cluster
            && labels.is_some_and(|labels| labels.contains_key(CONTROL_PLANE_LABEL))
    };
    let addresses = machines
        .into_iter()
        .filter(is_of)
        .filter_map(|one| one.status.as_ref())
        .flat_map(|one| &one.addresses);
    let is_ip = |address: &&MachineAddress| {
        [MachineAddress::INTERNAL_IP, MachineAddress::EXTERNAL_IP].contains(&address.type_.as_str())
    };
    let mut all: Vec<String> = addresses.filter(is_ip).map(|address| address.address.clone()).collect();
    all.sort();
    all
}

/// Whether it is to be made anew.
pub fn is_due(known: Option<&Known>, endpoints: &[String], now: Timestamp) -> bool {
    let Some(Known { endpoints: named, not_before, not_after }) = known else { return true };
    if named != endpoints {
        return true;
    }
    let (start, end) = (not_before.as_second(), not_after.as_second());
    let left = end.saturating_sub(now.as_second());
    left.saturating_mul(PART_LEFT) < end.saturating_sub(start)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::bootstrap::fixtures::machine;

    /// provider-cases.md A3, A4.
    #[test]
    fn endpoints_are_the_addresses_of_the_control_plane_in_the_order_of_their_texts() {
        let address = |type_: &str, address: &str| json!({ "type": type_, "address": address });
        let with = |change: Value, addresses: Vec<Value>| {
            machine(crate::bootstrap::fixtures::merged(
                change,
                json!({ "status": { "addresses": addresses } }),
            ))
        };
        let worker = json!({ "metadata": { "labels": { CONTROL_PLANE_LABEL: null } } });
        let other = json!({ "spec": { "clusterName": "other" } });
        let machines = [
            with(
                json!({}),
                vec![
                    address("InternalIP", "10.77.0.9"),
                    address("ExternalIP", "192.0.2.7"),
                    address("Hostname", "x"),
                ],
            ),
            with(json!({}), vec![address("InternalIP", "10.77.0.10"), address("InternalDNS", "y")]),
            with(json!({}), vec![address("InternalIP", "10.77.0.9"), address("InternalIP", "fd00::1")]),
            with(worker, vec![address("InternalIP", "10.77.0.99")]),
            with(other, vec![address("InternalIP", "10.77.0.98")]),
            machine(json!({})),
        ];
        let expected = ["10.77.0.10", "10.77.0.9", "10.77.0.9", "192.0.2.7", "fd00::1"];
        assert_eq!(endpoints(&machines, "held"), expected);
        assert!(endpoints(&machines, "none").is_empty());
    }

    #[test]
    fn it_is_made_anew_for_other_addresses_and_in_good_time() {
        const DAY: i64 = 24 * 60 * 60;
        let at = |day: i64| Timestamp::from_second(1_800_000_000 + day * DAY).unwrap();
        let named = ["10.0.0.1".to_owned()];
        let year = Known { endpoints: named.to_vec(), not_before: at(0), not_after: at(365) };
        for (known, endpoints, day, expected) in [
            (None, &named[..], 0, true),
            (Some(&year), &named[..], 0, false),
            (Some(&year), &named[..], 243, false),
            (Some(&year), &named[..], 244, true),
            (Some(&year), &named[..], 364, true),
            (Some(&year), &named[..], 9_999, true),
            // The clock was set back: it is good for longer than it ever was.
            (Some(&year), &named[..], -9_999, false),
            (Some(&year), &[][..], 0, true),
        ] {
            assert_eq!(is_due(known, endpoints, at(day)), expected, "{endpoints:?} on day {day}");
        }
        let endless = Known { not_before: Timestamp::MIN, not_after: Timestamp::MAX, ..year };
        assert!(!is_due(Some(&endless), &named, at(0)));
    }
}
