//! Redfish where it answers, IPMI where it does not, and what of it is remembered.

use std::time::Duration;

use super::support::{Manner, pool, target};
use crate::bmc::{Action, Kind};
use crate::error::PowerError;
use crate::identity::Identity;
use crate::pool::Config;
use crate::precondition::Always;
use crate::select::{BmcTarget, Target};
use crate::web::CertificatePin;

#[tokio::test(start_paused = true)]
async fn redfish_is_preferred_and_remembered_for_a_while() {
    let (pool, world) = pool(Config::default());
    world.give_redfish("a");
    let client = pool.client(&target("a", "", "p")).unwrap();
    assert_eq!(client.kind(), Kind::Unknown);
    for _ in 0..3 {
        client.power_state().await.unwrap();
    }
    assert_eq!((client.kind(), world.probes()), (Kind::Redfish, 1));
    assert_eq!(world.used("a"), [Kind::Redfish; 3]);
    tokio::time::advance(Config::default().redfish_memory).await;
    world.take_redfish("a");
    client.power_state().await.unwrap();
    assert_eq!((client.kind(), world.probes()), (Kind::Ipmi, 2));
}

#[tokio::test(start_paused = true)]
async fn a_bmc_without_redfish_is_asked_for_it_again_after_a_while() {
    let (pool, world) = pool(Config::default());
    let client = pool.client(&target("a", "", "p")).unwrap();
    client.command(Action::On, &Always).await.unwrap();
    client.command(Action::On, &Always).await.unwrap();
    assert_eq!((client.kind(), world.probes()), (Kind::Ipmi, 1));
    world.give_redfish("a");
    tokio::time::advance(Config::default().ipmi_memory).await;
    client.command(Action::On, &Always).await.unwrap();
    assert_eq!(world.used("a"), [Kind::Ipmi, Kind::Ipmi, Kind::Redfish]);
}

#[tokio::test(start_paused = true)]
async fn ipmi_does_what_redfish_could_not() {
    let (pool, world) = pool(Config::default());
    world.give_redfish("a");
    world.behave("a", Kind::Redfish, Manner::Refuses(Duration::ZERO));
    let client = pool.client(&target("a", "", "p")).unwrap();
    client.command(Action::On, &Always).await.unwrap();
    client.command(Action::On, &Always).await.unwrap();
    assert_eq!(world.used("a"), [Kind::Redfish, Kind::Ipmi, Kind::Ipmi]);
    assert!(world.outcomes().iter().all(|(kind, _, outcome)| (*kind, *outcome) == (Kind::Ipmi, "success")));
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_error_names_both() {
    let (pool, world) = pool(Config::default());
    world.give_redfish("a");
    world.behave("a", Kind::Redfish, Manner::Refuses(Duration::ZERO));
    world.behave("a", Kind::Ipmi, Manner::Refuses(Duration::ZERO));
    let error = pool.client(&target("a", "", "p")).unwrap().command(Action::On, &Always).await.unwrap_err();
    assert!(matches!(error, PowerError::Both { .. }));
    assert_eq!(error.category(), "auth");
    let text = error.to_string();
    assert!(text.contains("failed to log in to Redfish") && text.ends_with("by IPMI"), "{text}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("UDP port"));
}

#[tokio::test(start_paused = true)]
async fn an_explicit_interface_forces_its_protocol() {
    let (pool, world) = pool(Config::default());
    world.give_redfish("a");
    for (interface, kind) in [("lanplus", Kind::Ipmi), ("lan", Kind::Ipmi), ("redfish", Kind::Redfish)] {
        let client = pool.client(&target("a", interface, "p")).unwrap();
        assert_eq!(client.kind(), kind, "{interface}");
        client.power_state().await.unwrap();
        assert_eq!(world.used("a").last(), Some(&kind), "{interface}");
    }
    // Redfish only: there is no falling back.
    world.behave("a", Kind::Redfish, Manner::Refuses(Duration::ZERO));
    let client = pool.client(&target("a", "redfish", "other")).unwrap();
    assert_eq!(client.power_state().await.unwrap_err().category(), "auth");
    assert_eq!(world.used("a").last(), Some(&Kind::Redfish));
}

/// A machine whose agent made the account, with the certificate that is known.
fn of_agent(host: &str, pinned: Option<CertificatePin>) -> Target {
    let target = target(host, "", "p");
    let bmc = target.bmc.map(|bmc| BmcTarget { pinned, ..bmc });
    Target { identity: Identity { account_is_proof: true, ..target.identity }, bmc, ..target }
}

#[tokio::test(start_paused = true)]
async fn the_agents_account_goes_by_ipmi_first_unless_the_certificate_is_known() {
    let (pool, world) = pool(Config::default());
    for host in ["a", "b", "c"] {
        world.give_redfish(host);
    }
    let pin = world.show_certificate("b", b"key");
    pool.client(&of_agent("a", None)).unwrap().command(Action::On, &Always).await.unwrap();
    assert_eq!((world.used("a"), world.probes()), (vec![Kind::Ipmi], 0));
    pool.client(&of_agent("b", Some(pin))).unwrap().command(Action::On, &Always).await.unwrap();
    assert_eq!(world.used("b"), [Kind::Redfish]);
    // A BMC without IPMI over LAN is still reached.
    world.behave("c", Kind::Ipmi, Manner::Refuses(Duration::ZERO));
    pool.client(&of_agent("c", None)).unwrap().command(Action::On, &Always).await.unwrap();
    assert_eq!(world.used("c"), [Kind::Ipmi, Kind::Redfish]);
    world.behave("c", Kind::Redfish, Manner::Refuses(Duration::ZERO));
    world.take_redfish("a");
    world.behave("a", Kind::Ipmi, Manner::Refuses(Duration::ZERO));
    tokio::time::advance(Config::default().ipmi_memory).await;
    let error = pool.client(&of_agent("a", None)).unwrap().command(Action::On, &Always).await.unwrap_err();
    assert!(matches!(&error, PowerError::Driver(_)) && error.category() == "refused", "{error:?}");
    assert_eq!(world.used("a"), [Kind::Ipmi; 2], "it is not asked twice");
}

#[tokio::test(start_paused = true)]
async fn no_other_protocol_is_tried_at_another_machines_bmc_nor_after_an_unsure_command() {
    for (manner, category) in [(Manner::OtherMachine, "other_machine"), (Manner::Unsure, "unsure")] {
        let (pool, world) = pool(Config::default());
        world.give_redfish("a");
        world.behave("a", Kind::Redfish, manner);
        let client = pool.client(&target("a", "", "p")).unwrap();
        let error = client.command(Action::Cycle, &Always).await.unwrap_err();
        assert_eq!(error.category(), category);
        assert_eq!(world.used("a"), [Kind::Redfish]);
    }
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::OtherMachine);
    world.give_redfish("a");
    let error = pool.client(&of_agent("a", None)).unwrap().power_state().await.unwrap_err();
    assert_eq!((error.category(), world.used("a")), ("other_machine", vec![Kind::Ipmi]));
}

#[tokio::test(start_paused = true)]
async fn another_certificate_is_an_alarm_and_not_a_reason_for_another_protocol() {
    let (pool, world) = pool(Config::default());
    world.give_redfish("a");
    let first = world.show_certificate("a", b"first");
    let client = pool.client(&target("a", "", "p")).unwrap();
    client.power_state().await.unwrap();
    assert_eq!(client.certificate(), Some(first));
    // Not kept yet by anybody: the pool notices all the same.
    let second = world.show_certificate("a", b"second");
    for _ in 0..3 {
        let error = client.command(Action::Cycle, &Always).await.unwrap_err();
        assert_eq!(error.changed_certificate(), Some((first, second)), "no delay for failures either");
    }
    assert_eq!(world.used("a"), [Kind::Redfish; 4]);
    assert_eq!(world.sent("a"), []);
    // A person accepts the new one.
    let accepted = Target {
        bmc: target("a", "", "p").bmc.map(|bmc| BmcTarget { pinned: Some(second), ..bmc }),
        ..target("a", "", "p")
    };
    pool.client(&accepted).unwrap().command(Action::On, &Always).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bmc_of_another_machine_is_asked_again_as_soon_as_somebody_corrected_it() {
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::OtherMachine);
    let client = pool.client(&target("a", "lanplus", "p")).unwrap();
    for _ in 0..5 {
        assert_eq!(client.power_state().await.unwrap_err().retry_after(), None);
    }
    world.behave("a", Kind::Ipmi, Manner::Answers(Duration::ZERO));
    client.power_state().await.unwrap();
}
