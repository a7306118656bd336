//! IPMI 2.0 against a BMC of other people's making, with cipher suites 3 and 17.
//!
//! `ipmi_sim` ends at suite 3. This BMC is pyghmi's; for suite 17 its server computes with SHA-256 what it has only
//! with SHA-1. That it does so rightly is ipmitool's to say, which logs in to it first: of the three only the driver
//! is ours.

use crate::support::pyghmi::Pyghmi;
use bloomery_power::identity::{Guid, Identity};
use bloomery_power::{Action, Always, Bmc as _, Power, PxeMode};
use bloomery_testkit::eventually;

async fn controls_the_power(suite: &'static str) {
    let bmc = Pyghmi::start(suite).await;
    let client = bmc.driver("secret");
    assert_eq!(client.power_state().await.unwrap(), Power::Off);
    client.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
    client.command(Action::On, &Always).await.unwrap();
    assert_eq!(client.power_state().await.unwrap(), Power::On);
    assert_eq!(bmc.seen_by_ipmitool("secret").unwrap(), "Chassis Power is on");
    client.command(Action::Off, &Always).await.unwrap();
    assert_eq!(client.power_state().await.unwrap(), Power::Off);
    assert_eq!(bmc.record(), ["boot network", "on", "off"]);
}

async fn refuses_a_wrong_password(suite: &'static str) {
    let bmc = Pyghmi::start(suite).await;
    let error = bmc.driver("hunter2").command(Action::On, &Always).await.unwrap_err();
    assert_eq!((error.category(), error.is_retryable()), ("auth", false), "{error:?}");
    assert!(bmc.seen_by_ipmitool("hunter2").is_err());
    assert!(bmc.record().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_of_cipher_suite_17_is_understood() {
    controls_the_power("17").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_of_cipher_suite_17_refuses_a_wrong_password() {
    refuses_a_wrong_password("17").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_answers_in_another_format_than_it_was_asked_in_is_understood() {
    controls_the_power("3").await;
    refuses_a_wrong_password("3").await;
}

const UUID: &str = "38947555-7742-3448-3784-823347823834";
const OTHER: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_that_names_another_machine_gets_no_command() {
    // Its answer has the octets in the order of SMBIOS.
    let bmc = Pyghmi::start_as("3", &[UUID]).await;
    let own = bmc.driver("secret").of(Identity::of(UUID));
    own.command(Action::On, &Always).await.unwrap();
    assert_eq!(bmc.record(), ["on"]);
    let foreign = bmc.driver("secret").of(Identity::of(OTHER));
    let actions = [Action::On, Action::Off, Action::Cycle, Action::PxeOnce(PxeMode::Uefi)];
    for action in actions {
        let error = foreign.command(action, &Always).await.unwrap_err();
        assert_eq!((error.category(), error.is_retryable()), ("other_machine", false), "{error:?}");
        assert_eq!(error.other_machine().unwrap().told, Guid::parse(UUID).map(Guid::swapped));
    }
    assert!(foreign.power_state().await.is_err(), "its power says nothing about the machine either");
    assert_eq!(bmc.record(), ["on"]);
    // The agent made the account: the BMC proved that it knows the password, and nobody else has this GUID.
    let agents = Identity { account_is_proof: true, ..Identity::of(OTHER) };
    bmc.driver("secret").of(agents).command(Action::Off, &Always).await.unwrap();
    assert_eq!(bmc.record(), ["on", "off"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_override_lasts_until_a_slow_firmware_looks_at_it() {
    let bmc = Pyghmi::start_as("3", &[UUID, "slow"]).await;
    let client = bmc.driver("secret");
    client.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
    client.command(Action::On, &Always).await.unwrap();
    eventually("the firmware boots", async || match bmc.record().last().map(String::as_str) {
        Some("boots network") => Ok(()),
        last => Err(format!("{last:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bmc_without_the_parameter_for_that_is_no_failure() {
    let bmc = Pyghmi::start_as("3", &[UUID, "refuses"]).await;
    let client = bmc.driver("secret");
    client.command(Action::PxeOnce(PxeMode::Bios), &Always).await.unwrap();
    client.command(Action::On, &Always).await.unwrap();
    eventually("the firmware boots", async || match bmc.record().last().map(String::as_str) {
        Some("boots network") => Ok(()),
        last => Err(format!("{last:?}")),
    })
    .await;
}
