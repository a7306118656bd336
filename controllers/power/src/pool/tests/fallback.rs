//! Redfish where it answers, IPMI where it does not, and what of it is remembered.

use std::time::Duration;

use super::support::{Manner, pool, target};
use crate::bmc::{Action, Kind};
use crate::error::Cause;
use crate::pool::Config;
use crate::wanted::Always;

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
    assert!(matches!(error.cause(), Cause::Both { .. }));
    assert_eq!(error.category(), "auth");
    let text = error.cause().to_string();
    assert!(text.contains("failed to log in to Redfish") && text.ends_with("by IPMI"), "{text}");
    assert!(std::error::Error::source(error.cause()).unwrap().to_string().contains("UDP port"));
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
    assert!(matches!(client.power_state().await.unwrap_err().cause(), Cause::Redfish(_)));
    assert_eq!(world.used("a").last(), Some(&Kind::Redfish));
}
