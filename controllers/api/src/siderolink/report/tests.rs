//! Events and what follows from them, as tables.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::condition::ConditionStatus;
use crate::server_binding::{ServerBindingSpec, ServerBindingStatus};

fn network() -> Network {
    Network::of_installation("test-installation")
}

fn none(_: IpAddr) -> bool {
    false
}

fn sequence(name: &str, action: Action, fatal: Option<&str>) -> Event {
    Event::Sequence { name: name.to_owned(), action, fatal: fatal.map(str::to_owned) }
}

fn phase(name: &str, action: Action) -> Event {
    Event::Phase { name: name.to_owned(), action }
}

/// Conditions in short: `+Loaded`, `-Installed/Reason/Severity/message`.
fn short(report: &Report) -> Vec<String> {
    let one = |(type_, state): &(&'static str, State)| {
        let name = type_.trim_start_matches("TalosConfig").trim_start_matches("Talos");
        match state {
            State::Holds => format!("+{name}"),
            State::Fails(severity, reason, message) => {
                format!("-{name}/{reason}/{}/{message}", severity.as_str())
            }
        }
    };
    report.conditions.iter().map(one).collect()
}

#[test]
fn each_event_has_its_effect() {
    const ALL: &[&str] = &["+Loaded", "+Validated", "+Installed"];
    const LOADED: &[&str] = &["+Loaded", "+Validated"];
    let running = |is_running, is_ready| Event::MachineStatus { is_running, is_ready };
    let cases: [(Event, Option<&str>, &[&str]); 31] = [
        (Event::ConfigLoadError("x".into()), None, &["-Loaded/TalosConfigLoadFailed/Error/x"]),
        (Event::ConfigValidationError("y".into()), None, &["-Validated/TalosConfigValidationFailed/Error/y"]),
        (phase("install", Action::Start), None, &["-Installed/TalosInstallationInProgress/Info/"]),
        (phase("install", Action::Stop), None, &[]),
        (phase("install", Action::Noop), None, &[]),
        (phase("saveConfig", Action::Start), None, LOADED),
        (phase("saveConfig", Action::Stop), None, &[]),
        (phase("other", Action::Start), None, &[]),
        (sequence("install", Action::Start, None), None, LOADED),
        (sequence("install", Action::Stop, None), None, &[]),
        (sequence("install", Action::Noop, None), None, &[]),
        (sequence("install", Action::Noop, Some("sequence failed: unix.Reboot(1)")), None, &["+Installed"]),
        (
            sequence("install", Action::Noop, Some("no disk")),
            None,
            &["-Installed/TalosInstallationFailed/Error/no disk"],
        ),
        (sequence("upgrade", Action::Noop, Some("unix.Reboot")), None, &[]),
        (sequence("boot", Action::Noop, Some("unix.Reboot")), None, &[]),
        (sequence("boot", Action::Start, None), None, ALL),
        (sequence("boot", Action::Start, None), Some("v1.13.9"), ALL),
        (sequence("boot", Action::Start, None), Some("nonsense"), ALL),
        // These boot before they are installed.
        (sequence("boot", Action::Start, None), Some("v1.14.0"), LOADED),
        (sequence("boot", Action::Start, None), Some("v1.14.0-rc.1"), LOADED),
        (sequence("boot", Action::Start, None), Some("1.20"), LOADED),
        (sequence("boot", Action::Start, None), Some("v2.0.0"), LOADED),
        (sequence("boot", Action::Stop, None), None, &[]),
        (sequence("initialize", Action::Start, None), None, &[]),
        (sequence("reset", Action::Start, None), None, &[]),
        (running(true, true), Some("v1.14.0"), ALL),
        (running(true, true), None, ALL),
        (running(true, false), Some("v1.14.0"), &[]),
        (running(true, false), None, &[]),
        (running(false, true), None, &[]),
        (running(false, false), None, &[]),
    ];
    for (event, talos, expected) in cases {
        let report = report(&event, network(), talos, &none);
        assert_eq!(short(&report), expected, "{event:?} of {talos:?}");
        assert_eq!(report.node, None, "{event:?}");
    }
}

#[test]
fn addresses_of_the_link_and_filtered_ones_are_left_out() {
    let filter = |address: IpAddr| matches!(address, IpAddr::V4(address) if address.octets()[0] == 10);
    let cases: [(&[&str], &[&str]); 4] = [
        (&["192.0.2.7", "fd1a:417e:7824:ca03::9", "2001:db8::7"], &["192.0.2.7", "2001:db8::7"]),
        (&["10.1.2.3", "192.0.2.7", "192.0.2.7", "192.0.2.7/24", "", "x"], &["192.0.2.7"]),
        (&["fd1a:417e:7824:ca03::1"], &[]),
        (&[], &[]),
    ];
    for (addresses, expected) in cases {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        let event = Event::Address { hostname: "node-1".to_owned(), addresses };
        let report = report(&event, network(), None, &filter);
        assert!(report.conditions.is_empty());
        let (kept, hostname) = report.node.unwrap();
        assert_eq!(
            (kept.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), hostname.as_str()),
            (expected, "node-1")
        );
    }
    for (hostname, expected) in
        [("a.b-c_d", "a.b-c_d"), ("a b", ""), ("\u{1b}[2J", ""), (&"a".repeat(254), "")]
    {
        let event = Event::Address { hostname: hostname.to_owned(), addresses: Vec::new() };
        assert_eq!(report(&event, network(), None, &none).node.unwrap().1, expected);
    }
}

#[test]
fn only_what_changes_is_written() {
    let at = |text: &str| serde_json::from_value::<Time>(serde_json::json!(text)).unwrap();
    let (first, second) = (at("2026-11-30T08:00:00Z"), at("2026-11-30T09:00:00Z"));
    let mut binding = ServerBinding::new("u", ServerBindingSpec::default());
    let booted = report(&sequence("boot", Action::Start, None), network(), None, &none);
    let conditions = booted.conditions_of(&binding, &first).unwrap();
    assert_eq!(conditions.len(), 3);
    binding.status = Some(ServerBindingStatus { ready: true, conditions, ..ServerBindingStatus::default() });
    assert_eq!(booted.conditions_of(&binding, &second), None);
    let failed = report(&Event::ConfigLoadError("x".to_owned()), network(), None, &none);
    let conditions = failed.conditions_of(&binding, &second).unwrap();
    let loaded = condition::find(&conditions, TALOS_CONFIG_LOADED).unwrap();
    assert_eq!((loaded.status, &loaded.last_transition_time), (ConditionStatus::False, &second));
    assert_eq!(condition::find(&conditions, TALOS_INSTALLED).unwrap().last_transition_time, first);

    let event = Event::Address { hostname: "n".to_owned(), addresses: vec!["192.0.2.7".to_owned()] };
    let named = report(&event, network(), None, &none);
    assert_eq!(named.conditions_of(&binding, &second), None);
    let (addresses, hostname) = named.node_of(&binding).unwrap();
    (binding.spec.addresses, binding.spec.hostname) = (addresses.to_vec(), hostname.to_owned());
    assert_eq!(named.node_of(&binding), None);
}

proptest! {
    #[test]
    fn whatever_a_node_says_fits_into_a_condition(message in ".{0,4000}", name in ".{0,20}", talos in ".{0,20}") {
        let events = [
            Event::ConfigLoadError(message.clone()),
            sequence("install", Action::Noop, Some(&message)),
            sequence(&name, Action::Start, None),
            Event::Address { hostname: name.clone(), addresses: vec![message.clone(); 100] },
        ];
        for event in events {
            let report = report(&event, network(), Some(&talos), &none);
            for (_, state) in &report.conditions {
                if let State::Fails(_, _, text) = state {
                    prop_assert!(text.len() <= LONGEST_MESSAGE && !text.contains(char::is_control));
                }
            }
            if let Some((addresses, _)) = &report.node {
                prop_assert!(addresses.len() <= MOST_ADDRESSES);
            }
        }
    }
}
