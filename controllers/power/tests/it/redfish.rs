//! Redfish against sushy-emulator, by HTTP and HTTPS.

use std::sync::Arc;

use crate::support::sushy::{MACHINES, Sushy, credentials};
use bloomery_power::endpoint::{Scheme, parse_endpoint};
use bloomery_power::identity::Identity;
use bloomery_power::{
    Action, Always, Bmc as _, BmcTarget, Config, DEFAULT_PORT, Kind, Network, Pool, Power, Precondition,
    PxeMode, Target, probe,
};
use bloomery_testkit::eventually;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

async fn becomes(client: &dyn bloomery_power::Bmc, wanted: Power) {
    // The emulator takes up to 11 s, as BMCs do.
    eventually("the power state changes", async || match client.power_state().await.unwrap() {
        found if found == wanted => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_the_power_of_the_right_machine() {
    let bmc = Sushy::start(Scheme::Https).await;
    // The Server's name is lower case, the BMC's UUID need not be.
    let (one, two) = (bmc.driver(MACHINES[0], "secret"), bmc.driver(MACHINES[1], "secret"));
    assert_eq!(one.power_state().await.unwrap(), Power::Off);
    one.command(Action::PxeOnce(PxeMode::Bios), &Always).await.unwrap();
    one.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
    one.command(Action::On, &Always).await.unwrap();
    becomes(&one, Power::On).await;
    one.command(Action::On, &Always).await.unwrap();
    one.command(Action::Cycle, &Always).await.unwrap();
    becomes(&one, Power::On).await;
    one.command(Action::Off, &Always).await.unwrap();
    becomes(&one, Power::Off).await;
    assert_eq!(two.power_state().await.unwrap(), Power::Off);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_machine_are_errors_of_their_own() {
    let bmc = Sushy::start(Scheme::Https).await;
    let error = bmc.driver(MACHINES[0], "hunter2").command(Action::On, &Always).await.unwrap_err();
    assert_eq!((error.category(), error.is_retryable()), ("auth", false), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    let unknown = "99999999-9999-9999-9999-999999999999";
    let error = bmc.driver(unknown, "secret").command(Action::On, &Always).await.unwrap_err();
    assert_eq!(error.category(), "unsupported", "{error:?}");
    assert!(error.to_string().contains("none of the BMC's 2 Systems has the UUID 9999"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn is_found_by_asking_at_the_port_given() {
    let bmc = Sushy::start(Scheme::Https).await;
    let port = bmc.origin.port;
    for (endpoint, separate) in [
        ("127.0.0.1".to_owned(), port),
        (format!("127.0.0.1:{port}"), DEFAULT_PORT),
        (bmc.origin.to_string(), DEFAULT_PORT),
    ] {
        let parsed = parse_endpoint(&endpoint).unwrap();
        let found = probe(&parsed, separate, &credentials("secret"), None).await;
        assert_eq!(found.as_ref(), Some(&bmc.origin), "{endpoint} {separate}");
    }
    let pool = Pool::new(Config::default(), Arc::new(()), Arc::new(Network::default()));
    let target = BmcTarget {
        endpoint: "127.0.0.1".to_owned(),
        port,
        user: "admin".into(),
        pass: "secret".into(),
        interface: String::new(),
        pinned: None,
    };
    let target = Target { identity: Identity::of(MACHINES[1]), bmc: Some(target), management_api: None };
    let client = pool.client(&target).unwrap();
    assert_eq!(client.power_state().await.unwrap(), Power::Off);
    assert_eq!(client.kind(), Kind::Redfish);
    assert!(client.certificate().is_some(), "its certificate was pinned");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_goes_over_plain_http() {
    let bmc = Sushy::start(Scheme::Http).await;
    let error = bmc.driver(MACHINES[0], "secret").power_state().await.unwrap_err();
    assert_eq!((error.category(), error.is_retryable()), ("insecure", false), "{error:?}");
    assert!(error.to_string().contains("https://"), "{error}");
    // It is found only where a URL names it.
    let port = bmc.origin.port;
    let parsed = parse_endpoint(&format!("127.0.0.1:{port}")).unwrap();
    assert_eq!(probe(&parsed, DEFAULT_PORT, &credentials("secret"), None).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_reason_went_while_the_system_was_looked_up_is_not_sent() {
    struct Gone;
    impl Precondition for Gone {
        fn holds(&self) -> BoxFuture<'_, bool> {
            ready(false).boxed()
        }
    }
    let bmc = Sushy::start(Scheme::Https).await;
    let client = bmc.driver(MACHINES[0], "secret");
    for action in [Action::On, Action::Cycle, Action::PxeOnce(PxeMode::Uefi)] {
        let error = client.command(action, &Gone).await.unwrap_err();
        assert_eq!(error.category(), "unwanted", "{action:?}: {error:?}");
    }
    // One that is sent makes it on; what was sent before would show by now.
    client.command(Action::On, &Always).await.unwrap();
    becomes(&client, Power::On).await;
    let error = client.command(Action::Off, &Gone).await.unwrap_err();
    assert_eq!(error.category(), "unwanted");
    assert_eq!(client.power_state().await.unwrap(), Power::On);
}
