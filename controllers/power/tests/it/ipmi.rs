//! IPMI against a real BMC in software, over good and bad networks.

use std::time::{Duration, Instant};

use crate::support::ipmi_sim::{Bmc, credentials, driver, driver_as, free_udp_port};
use crate::support::proxy::{Faults, Proxy};
use bloomery_power::identity::{Guid, Identity};
use bloomery_power::ipmi::{Ipmi, Timing};
use bloomery_power::{Action, Always, Bmc as _, Lan, Power, PowerError, Precondition, PxeMode};
use bloomery_testkit::{eventually, wait::patience};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

const BOTH: [Lan; 2] = [Lan::RmcpPlus, Lan::V15];

#[tokio::test(flavor = "multi_thread")]
async fn controls_the_power_of_a_machine() {
    let bmc = Bmc::start().await;
    for lan in BOTH {
        let client = driver(bmc.port, lan);
        let from = bmc.record().len();
        assert_eq!(client.power_state().await.unwrap(), Power::Off, "{lan:?}");
        client.command(Action::On, &Always).await.unwrap();
        assert_eq!(client.power_state().await.unwrap(), Power::On, "{lan:?}");
        client.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
        client.command(Action::PxeOnce(PxeMode::Bios), &Always).await.unwrap();
        client.command(Action::Cycle, &Always).await.unwrap();
        let so_far = ["set power 1", "set boot pxe", "set boot pxe", "set power 0", "set power 1"];
        bmc.recorded(from, &so_far).await;
        client.command(Action::Off, &Always).await.unwrap();
        bmc.recorded(from + so_far.len(), &["set power 0"]).await;
        eventually("the machine is off", async || match client.power_state().await.unwrap() {
            Power::Off => Ok(()),
            Power::On => Err("on".to_owned()),
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_in_a_row_leave_no_sessions_behind() {
    let bmc = Bmc::start().await;
    for lan in BOTH {
        let client = driver(bmc.port, lan);
        // More than any BMC has sessions.
        for number in 0..80 {
            client.power_state().await.unwrap_or_else(|error| panic!("{lan:?}, command {number}: {error:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_user_is_an_error_of_its_own_and_changes_nothing() {
    let bmc = Bmc::start().await;
    for lan in BOTH {
        for (user, pass) in [("admin", "hunter2"), ("nobody", "secret"), ("admin", "secret12")] {
            let started = Instant::now();
            let error = driver_as(bmc.port, lan, user, pass).command(Action::On, &Always).await.unwrap_err();
            assert_eq!(
                (error.category(), error.is_retryable()),
                ("auth", false),
                "{lan:?} {user} {pass}: {error:?}"
            );
            println!("{lan:?} {user}/{pass}: {error} in {:?}", started.elapsed());
            let shown = format!("{error:?} {error}");
            assert!(!shown.contains(pass), "{shown}");
        }
        let error =
            driver_as(bmc.port, lan, &"u".repeat(17), "p").command(Action::On, &Always).await.unwrap_err();
        assert!(error.to_string().contains("longer than the 16 bytes"), "{error:?}");
    }
    assert!(bmc.record().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_noticed_at_once_and_a_silent_one_in_time() {
    for lan in BOTH {
        let error = driver(free_udp_port(), lan).power_state().await.unwrap_err();
        assert_eq!((error.category(), error.is_retryable()), ("refused", true), "{error:?}");

        let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let timing = Timing { first_wait: Duration::from_millis(20), tries: 3 };
        let port = silent.local_addr().unwrap().port();
        let client = Ipmi::new("127.0.0.1", port, lan, credentials("u", "p"), timing);
        let error = client.power_state().await.unwrap_err();
        assert_eq!((error.category(), error.is_retryable()), ("timeout", true), "{error:?}");
        assert!(error.to_string().contains("in 3 tries"), "{error}");
    }
    let client = Ipmi::new("bmc.invalid", 623, Lan::V15, credentials("u", "p"), Timing::default());
    assert_eq!(client.power_state().await.unwrap_err().category(), "unreachable");
}

/// Patience for bad networks: quick to send again, slow to give up.
fn stubborn(port: u16, lan: Lan) -> Ipmi {
    let timing = Timing { first_wait: Duration::from_millis(100).mul_f64(patience()), tries: 12 };
    Ipmi::new("127.0.0.1", port, lan, credentials("admin", "secret"), timing)
}

async fn switch_many_times(faults: Faults, tries: usize) {
    let bmc = Bmc::start().await;
    for (seed, lan) in (1..).zip(BOTH) {
        let proxy = Proxy::start(bmc.port, faults, seed).await;
        let client = stubborn(proxy.port, lan);
        for number in 0..15 {
            let action = if number % 2 == 0 { Action::On } else { Action::Off };
            let wanted = if number % 2 == 0 { Power::On } else { Power::Off };
            until_done(tries, async || client.command(action, &Always).await).await;
            let found = until_done(tries, async || client.power_state().await).await;
            assert_eq!(found, wanted, "{lan:?}, round {number}");
        }
    }
}

/// Repeats a command that failed for a reason that may go away, as its caller would.
async fn until_done<T>(tries: usize, mut command: impl AsyncFnMut() -> Result<T, PowerError>) -> T {
    for number in 1.. {
        match command().await {
            Ok(value) => return value,
            Err(error) if number >= tries => panic!("try {number}: {error:?}"),
            Err(error) => println!("try {number}: {error}"),
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_packets_are_sent_again() {
    switch_many_times(Faults { lose: 20, ..Faults::default() }, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doubled_packets_do_no_harm() {
    switch_many_times(Faults { double: 20, ..Faults::default() }, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overtaken_packets_do_no_harm() {
    switch_many_times(Faults { delay: 30, double: 10, ..Faults::default() }, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupted_packets_give_no_wrong_answer() {
    switch_many_times(Faults { corrupt: 10, ..Faults::default() }, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_only_takes_longer() {
    switch_many_times(Faults { lose: 8, double: 8, delay: 8, corrupt: 4 }, 10).await;
}

/// Asked when the session stands; the BMC has been told nothing yet.
struct Gone;

impl Precondition for Gone {
    fn holds(&self) -> BoxFuture<'_, bool> {
        ready(false).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_reason_went_while_the_session_was_opened_is_not_sent() {
    let bmc = Bmc::start().await;
    for lan in BOTH {
        let client = driver(bmc.port, lan);
        // More than any BMC has sessions: each of them is closed.
        for _ in 0..20 {
            for action in [Action::On, Action::Cycle, Action::PxeOnce(PxeMode::Uefi)] {
                let error = client.command(action, &Gone).await.unwrap_err();
                assert!(matches!(error, PowerError::Unwanted), "{lan:?} {action:?}: {error:?}");
            }
        }
        assert_eq!(client.power_state().await.unwrap(), Power::Off, "{lan:?}");
    }
    assert!(bmc.record().is_empty(), "{:?}", bmc.record());
}

const UUID: &str = "38947555-7742-3448-3784-823347823834";
const OTHER: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_names_another_machine_gets_no_command() {
    let bmc = Bmc::start_as(&UUID.replace('-', "")).await;
    let foreign = driver(bmc.port, Lan::RmcpPlus).of(Identity::of(OTHER));
    for action in [Action::On, Action::Off, Action::Cycle, Action::PxeOnce(PxeMode::Uefi)] {
        let error = foreign.command(action, &Always).await.unwrap_err();
        let told = error.other_machine().and_then(|not_ours| not_ours.told);
        assert!(told.is_some_and(|told| told.matches(Guid::parse(UUID).unwrap())), "{error:?}");
    }
    assert!(bmc.record().is_empty(), "{:?}", bmc.record());
    let own = driver(bmc.port, Lan::RmcpPlus).of(Identity::of(UUID));
    assert_eq!(own.power_state().await.unwrap(), Power::Off);
    own.command(Action::On, &Always).await.unwrap();
    bmc.recorded(0, &["set power 1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_proves_nothing_in_either_direction() {
    let bmc = Bmc::start().await;
    for lan in BOTH {
        driver(bmc.port, lan).of(Identity::of(OTHER)).command(Action::On, &Always).await.unwrap();
        let shared = Identity { must_prove: true, ..Identity::of(OTHER) };
        let error = driver(bmc.port, lan).of(shared).command(Action::Off, &Always).await.unwrap_err();
        assert_eq!(error.category(), "other_machine", "{lan:?}: {error:?}");
    }
    bmc.recorded(0, &["set power 1", "set power 1"]).await;
}
