//! What is known of all Servers: nothing before the list, then each machine by each of its marks.

use bloomery_api::decision::identity::Proof;
use bloomery_api::hardware::{NetworkInformation, NetworkInterface, SystemInformation};
use bloomery_api::trust::{SigningKey, Trust};
use bloomery_api::{ServerSpec, server::Bmc};

use super::*;
use crate::tests::fake_api::{FakeApi, metal};

impl State {
    pub(super) fn of_fake(fake: &FakeApi) -> Self {
        let all = fake.objects_below(&metal("servers", ""));
        let mut state = Self { listed: !fake.servers_are_unlisted(), ..Self::default() };
        for server in all.into_iter().filter_map(|object| serde_json::from_value::<Server>(object).ok()) {
            state.put(server.metadata.name.clone().unwrap_or_default(), Known::of(&server));
        }
        state
    }
}

impl Servers {
    /// The Servers of a fake API, read with each question.
    pub(crate) fn of_fake(fake: FakeApi) -> Self {
        Self { state: Arc::default(), fake: Some(fake) }
    }
}

const A: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const B: &str = "4c4c4544-0042-3110-8051-b7c04f4e3333";
const CARD: &str = "52:54:00:77:00:01";

fn authority() -> Authority {
    Authority::Holds { epoch: 1, trust: Trust::new(SigningKey::new([7; 32]), "own") }
}

fn server(name: &str, card: &str, serial: &str) -> Server {
    let interface = NetworkInterface { mac: card.to_owned(), ..NetworkInterface::default() };
    let network = NetworkInformation { interfaces: vec![interface], ..NetworkInformation::default() };
    let system = SystemInformation { serial_number: serial.to_owned(), ..SystemInformation::default() };
    let hardware = HardwareInformation {
        system: Some(system),
        network: Some(network),
        ..HardwareInformation::default()
    };
    let mut server = Server::new(name, ServerSpec { hardware: Some(hardware), ..ServerSpec::default() });
    server.metadata.uid = Some(format!("uid-of-{name}"));
    server
}

fn listed() -> Servers {
    let servers = Servers::default();
    servers.with(|state| state.listed = true);
    servers
}

#[test]
fn before_the_list_nobody_can_tell() {
    let servers = Servers::default();
    servers.note(&server(A, CARD, "SN1"));
    let marks = Marks::of_query(Some(A), Some(CARD), None);
    assert_eq!(servers.identify(&marks, &authority()), Err(Unlisted));
    assert_eq!(servers.conflict(&server(A, CARD, "SN1"), &authority()), Err(Unlisted));
    assert_eq!(servers.is_accepted(Some(CARD), None), None);
    assert_eq!(servers.controlled_at([10, 0, 0, 9].into(), A), Err(Unlisted));
}

#[test]
fn machines_are_found_by_each_mark_as_soon_as_they_are_noted() {
    let servers = listed();
    let of = |uuid, card| servers.identify(&Marks::of_query(uuid, card, None), &authority()).unwrap();
    assert_eq!(of(Some(A), Some(CARD)), Identity::New);
    servers.note(&server(A, CARD, "SN1"));
    let same = || Identity::Same { server: A.to_owned(), by: Proof::Card };
    assert_eq!(of(Some(A), Some(CARD)), same());
    assert_eq!(of(None, Some(CARD)), same());
    assert!(matches!(of(Some(B), Some(CARD)), Identity::Suspect { .. }));
    servers.with(|state| state.remove(A, Some(&format!("uid-of-{A}"))));
    assert_eq!(of(Some(A), Some(CARD)), Identity::New);
}

#[test]
fn two_servers_with_one_card_conflict_whichever_is_read() {
    let servers = listed();
    servers.note(&server(A, CARD, "SN1"));
    assert_eq!(servers.conflict(&server(A, CARD, "SN1"), &authority()), Ok(None));
    servers.note(&server(B, CARD, "SN2"));
    let conflict = servers.conflict(&server(B, CARD, "SN2"), &authority()).unwrap();
    assert!(conflict.is_some_and(|conflict| conflict.holds()));
    let conflict = servers.conflict(&server(A, CARD, "SN1"), &authority()).unwrap();
    assert!(conflict.is_some_and(|conflict| conflict.holds()));
}

#[test]
fn another_servers_controller_is_known_by_its_address() {
    let servers = listed();
    let mut one = server(A, CARD, "SN1");
    one.spec.bmc = Some(Bmc { endpoint: "10.0.0.9".to_owned(), ..Bmc::default() });
    one.spec.accepted = true;
    servers.note(&one);
    servers.note(&server(B, "52:54:00:77:00:02", "SN2"));
    let at = |address: &str, but| servers.controlled_at(address.parse().unwrap(), but).unwrap();
    assert_eq!(at("10.0.0.9", B).as_deref(), Some(A));
    assert_eq!(at("::ffff:10.0.0.9", B).as_deref(), Some(A));
    assert_eq!((at("10.0.0.9", A), at("10.0.0.8", B)), (None, None));
    assert_eq!(servers.unaccepted(), 1);
    assert_eq!(servers.is_accepted(Some(CARD), None), Some(true));
    assert_eq!(servers.is_accepted(Some("52:54:00:77:00:02"), Some(B)), Some(false));
    assert_eq!(servers.named(A).unwrap(), [A]);
    one.metadata.annotations = Some([(identity::SYSTEM_UUID_ANNOTATION.to_owned(), B.to_owned())].into());
    servers.note(&one);
    assert_eq!(servers.named(B).unwrap(), [A, B]);
    assert!(Servers::default().named(A).is_err(), "nothing was read yet");
}
