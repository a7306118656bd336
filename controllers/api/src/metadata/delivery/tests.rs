//! The table of promise S5, and what an impostor tries.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::ServerSpec;
use crate::condition::{Condition, Severity};
use crate::decision::fixtures::{EPOCH, HOLDS, holds, powerless};
use crate::hardware::{HardwareInformation, NetworkInformation, NetworkInterface};
use crate::readiness::LOAD_FAILED;

const CARD: &str = "52:54:00:77:00:01";
const OTHER: &str = "52:54:00:77:00:66";
const ID: &str = "0123456789abcdef0123456789abcdef";

/// So many seconds after the boot script.
fn at(second: i64) -> Time {
    let given: Time = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    Time(given.0 + k8s_openapi::jiff::SignedDuration::from_secs(second))
}

fn server() -> Server {
    let interfaces = vec![
        NetworkInterface { mac: String::new(), ..NetworkInterface::default() },
        NetworkInterface { mac: CARD.to_uppercase(), ..NetworkInterface::default() },
    ];
    let network = Some(NetworkInformation { interfaces, ..NetworkInformation::default() });
    let hardware = Some(HardwareInformation { network, ..HardwareInformation::default() });
    let mut server = Server::new("a", ServerSpec { accepted: true, hardware, ..ServerSpec::default() });
    server.metadata.uid = Some("server-uid".to_owned());
    server
}

fn boot() -> Boot {
    Boot { id: ID.to_owned(), epoch: EPOCH, card: CARD.to_owned(), given_at: Some(at(0)), delivered_at: None }
}

fn binding(boot: Option<Boot>, conditions: Vec<Condition>) -> ServerBinding {
    let mut binding = ServerBinding::new("a", <_>::default());
    binding.metadata.uid = Some("binding-uid".to_owned());
    let status = binding.status.get_or_insert_default();
    (status.boot, status.conditions) = (boot, conditions);
    binding
}

fn ready(second: i64) -> Condition {
    Condition::holds(CONFIGURATION_READY, at(second))
}

fn loaded(second: i64) -> Condition {
    Condition::holds(TALOS_CONFIG_LOADED, at(second))
}

fn failed(second: i64) -> Condition {
    Condition::fails(TALOS_CONFIG_LOADED, Severity::Error, LOAD_FAILED, "by the node", at(second))
}

fn ask(server: &Server, binding: &ServerBinding, second: i64) -> Result<(), Refusal> {
    may_have_configuration(&Asked {
        server,
        binding,
        authority: &HOLDS,
        shown: Shown::Boot(ID),
        sight: Sight::Card(CARD),
        now: &at(second),
    })
}

#[test]
fn each_client_gets_what_it_may_have() {
    let (server, given) = (server(), binding(Some(boot()), vec![ready(-60)]));
    let cases = [
        (Shown::Boot(ID), Sight::Card(CARD), Ok(())),
        (Shown::Boot(ID), Sight::Beyond, Ok(())),
        (Shown::Nothing, Sight::Card(CARD), Err(Refusal::NoToken)),
        (Shown::Nothing, Sight::Beyond, Err(Refusal::NoToken)),
        (Shown::Forged, Sight::Card(CARD), Err(Refusal::Forged)),
        (Shown::Boot("fedcba9876543210"), Sight::Card(CARD), Err(Refusal::EarlierBoot)),
        (Shown::Boot(""), Sight::Card(CARD), Err(Refusal::EarlierBoot)),
        // A neighbour that has read the token off the wire.
        (Shown::Boot(ID), Sight::Card(OTHER), Err(Refusal::OtherCard)),
        (Shown::Boot(ID), Sight::Card(""), Err(Refusal::OtherCard)),
        (Shown::Boot(ID), Sight::Unknown, Err(Refusal::CannotTell)),
    ];
    for (shown, sight, expected) in cases {
        let asked = Asked { server: &server, binding: &given, authority: &HOLDS, shown, sight, now: &at(5) };
        assert_eq!(may_have_configuration(&asked), expected, "{shown:?} {sight:?}");
    }
}

#[test]
fn without_an_inventory_only_the_card_of_the_boot_script_counts() {
    let mut bare = server();
    bare.spec.hardware = None;
    let given = binding(Some(boot()), Vec::new());
    assert_eq!(ask(&bare, &given, 1), Ok(()));
    let of = |card: &str| binding(Some(Boot { card: card.to_owned(), ..boot() }), Vec::new());
    assert_eq!(ask(&bare, &of(OTHER), 1), Err(Refusal::OtherCard));
    assert_eq!(ask(&bare, &of(""), 1), Err(Refusal::OtherCard));
}

#[test]
fn what_was_given_lasts_for_its_time() {
    let (minute, hour) = (60, 3600);
    let delivered = |second: i64| Some(Boot { delivered_at: Some(at(second)), ..boot() });
    let cases: Vec<(Option<Boot>, Vec<Condition>, i64, Result<(), Refusal>)> = vec![
        (None, vec![], 1, Err(Refusal::NeverGiven)),
        (Some(Boot { given_at: None, ..boot() }), vec![], 1, Err(Refusal::NeverGiven)),
        // Of the time before a restore or a takeover.
        (Some(Boot { epoch: EPOCH - 1, ..boot() }), vec![], 1, Err(Refusal::NeverGiven)),
        (Some(Boot { epoch: EPOCH + 1, ..boot() }), vec![], 1, Err(Refusal::NeverGiven)),
        (Some(boot()), vec![], 1, Ok(())),
        (Some(boot()), vec![], 4 * hour, Ok(())),
        (Some(boot()), vec![], 4 * hour + 1, Err(Refusal::TooLate)),
        // A clock that was put back.
        (Some(boot()), vec![], -4 * hour - 1, Err(Refusal::TooLate)),
        // Mended overnight: the node still waits for it.
        (Some(boot()), vec![ready(12 * hour)], 13 * hour, Ok(())),
        (Some(boot()), vec![ready(12 * hour)], 17 * hour, Err(Refusal::TooLate)),
        // A cut transfer, and one whose end was lost on the way.
        (delivered(20), vec![], 30, Ok(())),
        (delivered(20), vec![], 20 + 10 * minute, Ok(())),
        (delivered(20), vec![], 21 + 10 * minute, Err(Refusal::Delivered)),
        (delivered(20), vec![], 19 - 10 * minute, Err(Refusal::Delivered)),
        // The node has it.
        (delivered(20), vec![loaded(25)], 26, Err(Refusal::Loaded)),
        (Some(boot()), vec![loaded(0)], 1, Err(Refusal::Loaded)),
        // It had one in an earlier boot.
        (Some(boot()), vec![loaded(-60)], 1, Ok(())),
        (delivered(20), vec![loaded(-60)], 21 + 10 * minute, Err(Refusal::Delivered)),
        // It could not load it, and asks for a mended one.
        (delivered(20), vec![failed(25)], 2 * hour, Ok(())),
        (delivered(20), vec![failed(25)], 5 * hour, Err(Refusal::TooLate)),
        (delivered(20), vec![failed(-60)], 2 * hour, Err(Refusal::Delivered)),
    ];
    let server = server();
    for (boot, conditions, second, expected) in cases {
        let given = binding(boot.clone(), conditions.clone());
        assert_eq!(ask(&server, &given, second), expected, "{boot:?} {conditions:?} {second}");
    }
}

#[test]
fn what_is_said_before_the_machine_is_on_is_no_word_of_its_node() {
    let mut said = Condition::fails(TALOS_CONFIG_LOADED, Severity::Error, LOAD_FAILED, "m", at(25));
    let refused = Condition::fails(CONFIGURATION_READY, Severity::Error, "PatchFailed", "m", at(25));
    let delivered = Some(Boot { delivered_at: Some(at(20)), ..boot() });
    let given = binding(delivered.clone(), vec![said.clone(), refused.clone()]);
    assert_eq!(ask(&server(), &given, 3600), Err(Refusal::Delivered));
    "other".clone_into(&mut said.message);
    assert_eq!(ask(&server(), &binding(delivered, vec![said, refused]), 3600), Ok(()));
}

#[test]
fn only_a_machine_that_is_being_installed_gets_one() {
    let given = binding(Some(boot()), Vec::new());
    for authority in powerless() {
        let asked = Asked {
            server: &server(),
            binding: &given,
            authority: &authority,
            shown: Shown::Boot(ID),
            sight: Sight::Card(CARD),
            now: &at(1),
        };
        assert_eq!(may_have_configuration(&asked), Err(Refusal::NotActing), "{authority:?}");
    }
    let mut leaving = given.clone();
    leaving.metadata.deletion_timestamp = Some(at(0));
    assert_eq!(ask(&server(), &leaving, 1), Err(Refusal::Leaving));
    let installed = binding(Some(boot()), vec![Condition::holds("TalosInstalled", at(-5))]);
    assert_eq!(ask(&server(), &installed, 1), Err(Refusal::NotInstalling));
    let mut always = server();
    always.spec.pxe_boot_always = true;
    assert_eq!(ask(&always, &installed, 1), Ok(()), "it boots its Environment each time");
    let mut other = server();
    other.metadata.name = Some("b".to_owned());
    assert_eq!(ask(&other, &given, 1), Err(Refusal::NotInstalling), "a Server of another name");
}

proptest! {
    /// Whatever is on record: without the token of this boot, on the machine's card, nobody gets anything.
    #[test]
    fn nobody_gets_it_without_the_token_of_this_boot(
        id in "[0-9a-f]{0,32}", epoch in -1i64..10, delivered in proptest::option::of(-9000i64..9000),
        conditions in proptest::collection::vec((0u8..3, -9000i64..9000), 0..3), second in -20_000i64..20_000,
        card in 0u8..4, always: bool,
    ) {
        let conditions: Vec<Condition> = conditions.into_iter().map(|(kind, second)| match kind {
            0 => ready(second),
            1 => loaded(second),
            _ => failed(second),
        }).collect();
        let record = Boot { epoch, delivered_at: delivered.map(at), ..boot() };
        let given = binding(Some(record.clone()), conditions);
        let mut server = server();
        server.spec.pxe_boot_always = always;
        let sight = [Sight::Card(CARD), Sight::Card(OTHER), Sight::Beyond, Sight::Unknown][usize::from(card)];
        let (authority, now) = (holds(), at(second));
        let asked = |shown| Asked { server: &server, binding: &given, authority: &authority, shown, sight, now: &now };
        for shown in [Shown::Nothing, Shown::Forged, Shown::Boot(&id)] {
            prop_assert!(may_have_configuration(&asked(shown)).is_err());
        }
        if may_have_configuration(&asked(Shown::Boot(ID))).is_ok() {
            prop_assert_eq!(epoch, EPOCH);
            prop_assert!(matches!(sight, Sight::Card(CARD) | Sight::Beyond));
            prop_assert!(second.abs() <= 4 * 3600 + 9000);
        }
    }
}
