//! The cases of the field reports and of the break-in test, and every way in which two machines may look alike.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;

use super::super::fixtures::{self, HOLDS, at, holds, with_state};
use super::super::{Machine, Standing};
use super::*;
use crate::evidence::DiskState;
use crate::hardware::HardwareInformation;
use crate::ledger::{Fate, Tombstone, Tombstones};
use crate::plane::Authority;
use crate::server::Server;

const A: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const B: &str = "4c4c4544-0042-3110-8051-b7c04f4e3333";
const CARD_1: &str = "52:54:00:77:00:01";
const CARD_2: &str = "52:54:00:77:00:02";

fn hardware(serial: &str, cards: &[&str]) -> HardwareInformation {
    let interfaces: Vec<_> = cards.iter().map(|mac| json!({ "mac": mac })).collect();
    let json = json!({ "system": { "serialNumber": serial }, "network": { "interfaces": interfaces } });
    serde_json::from_value(json).unwrap()
}

fn server(name: &str, serial: &str, cards: &[&str]) -> Server {
    let mut server = fixtures::server(true, false, false);
    server.metadata.name = Some(name.to_owned());
    server.metadata.uid = Some(format!("uid-{name}"));
    server.spec.hardware = Some(hardware(serial, cards));
    server
}

fn index(servers: &[Server], bound: &[&str]) -> Index {
    let bound: HashSet<String> = bound.iter().map(|name| (*name).to_owned()).collect();
    Index::build(servers, &bound, &HOLDS)
}

fn registers(uuid: &str, serial: &str, cards: &[&str]) -> Marks {
    Marks::of_hardware(Some(uuid), &hardware(serial, cards))
}

fn same(server: &str, by: Proof) -> Identity {
    Identity::Same { server: server.to_owned(), by }
}

fn other(server: &str, why: OtherWhy) -> Identity {
    Identity::Other { server: server.to_owned(), why }
}

#[test]
fn f1_a_new_uuid_with_the_card_and_serial_of_a_bound_machine_is_held_and_shown_on_both() {
    let known = index(&[server(A, "SN1", &[CARD_1])], &[A]);
    for marks in [
        registers(B, "SN1", &[CARD_1]),
        registers(B, "SN1", &[CARD_2]),
        registers(B, "other", &[CARD_2, CARD_1]),
        Marks::of_query(Some(B), Some(CARD_1), None),
        Marks::of_query(Some(B), Some(CARD_2), Some("sn1")),
    ] {
        let identity = identify(&marks, &known);
        assert!(matches!(&identity, Identity::Suspect { peers } if peers[0].server == A), "{marks:?}");
        assert!(identity.may_be_claimed() && !identity.is_new() && identity.server().is_none());
    }
    // Registered nevertheless, both say so, with the command.
    let both = [server(A, "SN1", &[CARD_1]), server(B, "SN1", &[CARD_1])];
    let known = index(&both, &[A]);
    for (one, peer) in [(&both[0], B), (&both[1], A)] {
        let conflict = Conflict::of(one, &known).unwrap();
        assert!(conflict.holds());
        let condition = conflict.condition(one.metadata.name.as_deref().unwrap(), &at(1));
        assert!(condition.message.contains(&format!("bloomery servers merge {peer}")), "{condition:?}");
    }
}

#[test]
fn f2_a_query_whose_card_and_serial_the_server_has_not_is_not_served_as_that_server() {
    let known = index(&[server(A, "SN1", &[CARD_1])], &[A]);
    for (mac, serial, expected) in [
        (Some(CARD_2), Some("SN2"), other(A, OtherWhy::CardAndSerial)),
        // A card that was replaced is served, but proves nothing more.
        (Some(CARD_2), Some("SN1"), same(A, Proof::Serial)),
        (Some(CARD_1), Some("SN2"), same(A, Proof::Card)),
        (Some(CARD_1), None, same(A, Proof::Card)),
        (None, Some("SN1"), same(A, Proof::Serial)),
        (None, None, same(A, Proof::Uuid)),
        (None, Some("SN2"), other(A, OtherWhy::Serial)),
        (Some(CARD_2), None, other(A, OtherWhy::Card)),
        (Some(CARD_2), Some("Default string"), other(A, OtherWhy::Card)),
    ] {
        assert_eq!(identify(&Marks::of_query(Some(A), mac, serial), &known), expected, "{mac:?} {serial:?}");
    }
}

#[test]
fn f3_placeholders_make_no_two_machines_one() {
    for (first, second) in [
        ("Default string", "Default string"),
        ("", ""),
        ("123456789", "123456789"),
        ("SN1", ""),
        ("SN1", "To be filled by O.E.M."),
        ("To be filled by O.E.M.", "SN1"),
    ] {
        let known = index(&[server(A, first, &[CARD_1])], &[]);
        let found = identify(&registers(A, second, &[CARD_2]), &known);
        assert_eq!(found, other(A, OtherWhy::Card), "{first:?} {second:?}");
        assert_eq!(identify(&registers(A, second, &[CARD_1]), &known), same(A, Proof::Card));
        // Two UUIDs and one placeholder: two machines.
        let found = identify(&registers(B, second, &[CARD_2]), &known);
        assert_eq!(found, Identity::New, "{first:?} {second:?}");
    }
}

#[test]
fn a_machine_without_a_uuid_is_found_by_its_card() {
    let known = index(&[server(A, "SN1", &[CARD_1])], &[A]);
    let nameless = |mac, serial| identify(&Marks::of_query(None, mac, serial), &known);
    assert_eq!(nameless(Some(CARD_1), None), same(A, Proof::Card));
    assert_eq!(nameless(Some(CARD_1), Some("SN1")), same(A, Proof::Card));
    assert!(nameless(Some(CARD_1), Some("SN2")).may_be_claimed());
    assert_eq!(nameless(Some(CARD_2), None), Identity::Unnamed);
    assert_eq!(nameless(None, None), Identity::Unnamed);
    let placeholder = Marks::of_query(Some("03000200-0400-0500-0006-000700080009"), Some(CARD_1), None);
    assert_eq!(identify(&placeholder, &known), same(A, Proof::Card));
    // A card that two Servers have names neither; if one is claimed it boots its disk.
    let known = index(&[server(A, "SN1", &[CARD_1]), server(B, "SN2", &[CARD_1])], &[A]);
    let found = identify(&Marks::of_query(None, Some(CARD_1), None), &known);
    assert!(found.may_be_claimed() && found.server().is_none());
}

#[test]
fn one_serial_number_in_a_chassis_holds_new_nodes_only_beside_claimed_ones() {
    let free = index(&[server(A, "CHASSIS", &[CARD_1])], &[]);
    assert_eq!(identify(&registers(B, "CHASSIS", &[CARD_2]), &free), Identity::New);
    let claimed = index(&[server(A, "CHASSIS", &[CARD_1])], &[A]);
    assert!(identify(&registers(B, "CHASSIS", &[CARD_2]), &claimed).may_be_claimed());
    // Two that are known both: shown, not held.
    let both = [server(A, "CHASSIS", &[CARD_1]), server(B, "CHASSIS", &[CARD_2])];
    let conflict = Conflict::of(&both[1], &index(&both, &[A])).unwrap();
    assert!(!conflict.holds());
    assert!(Conflict::of(&both[1], &index(&both, &[])).is_none());
}

#[test]
fn an_unclaimed_server_that_shares_a_card_is_held_until_a_person_decides() {
    let mut both = [server(A, "SN1", &[CARD_1]), server(B, "SN2", &[CARD_1])];
    both[1] = with_state(both[1].clone(), DiskState::Released);
    // The record is of another object; a valid one is made as the plane makes it.
    let record =
        crate::evidence::DiskRecord::new(&both[1], crate::evidence::Entry::Released, &HOLDS, "r", &at(1));
    fixtures::annotate(&mut both[1], crate::evidence::DISKS_ANNOTATION, &record.unwrap().to_annotation());
    let standing = |server: &Server, known: &Index| {
        let conflict = Conflict::of(server, known);
        Machine { server, binding: None, authority: &HOLDS, conflict: conflict.as_ref() }.standing()
    };
    assert_eq!(standing(&both[1], &index(&both, &[A])), Standing::Conflicted);
    for text in [A.to_owned(), format!(" x, uid-{A}")] {
        let mut decided = both.clone();
        fixtures::annotate(&mut decided[1], DISTINCT_FROM_ANNOTATION, &text);
        assert_eq!(standing(&decided[1], &index(&decided, &[A])), Standing::Dirty, "{text}");
        assert!(Conflict::of(&decided[0], &index(&decided, &[A])).is_none());
    }
}

#[test]
fn a_board_that_was_changed_is_merged_into_its_server() {
    let mut old = server(A, "SN1", &[CARD_1]);
    fixtures::annotate(&mut old, SYSTEM_UUID_ANNOTATION, &format!("{B}, rubbish"));
    let known = index(&[old], &[A]);
    for uuid in [A, B] {
        assert_eq!(identify(&registers(uuid, "SN1", &[CARD_1]), &known), same(A, Proof::Card));
    }
}

#[test]
fn a_cloned_uuid_is_split_by_card() {
    let mut first = server(A, "Default string", &[CARD_1]);
    fixtures::annotate(&mut first, DISTINCT_FROM_ANNOTATION, CARD_2);
    let known = index(std::slice::from_ref(&first), &[]);
    let clone = registers(A, "Default string", &[CARD_2]);
    assert_eq!(identify(&clone, &known), Identity::New);
    let name = new_server_name(&clone, &known).unwrap();
    assert_eq!(name, split_name(A, CARD_2).unwrap());
    assert_ne!(name, A);
    assert_eq!(uuid::Uuid::parse_str(&name).unwrap().get_version_num(), 5);
    // Once it has a Server of its own, each is found by its card, and neither is in a conflict.
    let mut second = server(&name, "Default string", &[CARD_2]);
    fixtures::annotate(&mut second, SYSTEM_UUID_ANNOTATION, A);
    let both = [first, second];
    let known = index(&both, &[A]);
    assert_eq!(identify(&clone, &known), same(&name, Proof::Card));
    assert_eq!(identify(&registers(A, "", &[CARD_1]), &known), same(A, Proof::Card));
    let third = identify(&registers(A, "", &["52:54:00:77:00:03"]), &known);
    assert!(matches!(third, Identity::Other { .. }), "{third:?}");
    for server in &both {
        assert_eq!(Conflict::of(server, &known), None);
    }
    let unsure = identify(&Marks::of_query(Some(A), None, None), &known);
    assert!(matches!(unsure, Identity::Suspect { .. }), "{unsure:?}");
    assert_eq!(new_server_name(&registers(B, "", &[]), &known).as_deref(), Some(B));
    assert_eq!(new_server_name(&Marks::default(), &known), None);
}

fn tombstone(fate: Fate) -> Authority {
    let mut ledger = Tombstones::default();
    ledger.note(Tombstone {
        server: A.to_owned(),
        uid: "gone".to_owned(),
        marks: registers(A, "SN1", &[CARD_1]),
        fate,
        installed: false,
        seq: 3,
        record: "r".to_owned(),
        epoch: 7,
        revision: 9,
        time: at(1),
    });
    let Authority::Holds { epoch, trust } = holds() else { unreachable!() };
    Authority::Holds { epoch, trust: trust.with_ledger(Arc::new(ledger)) }
}

#[test]
fn a_claimed_machine_whose_server_is_gone_boots_its_disk_and_is_nothing_new() {
    for fate in [Fate::Claimed, Fate::Vanished, Fate::Forgotten, Fate::Free] {
        let known = Index::build(&[], &HashSet::new(), &tombstone(fate));
        for marks in [
            registers(A, "SN1", &[CARD_1]),
            registers(A, "", &[]),
            registers(B, "", &[CARD_1]),
            registers(B, "SN1", &[]),
            Marks::of_query(None, Some(CARD_1), None),
        ] {
            let identity = identify(&marks, &known);
            if fate == Fate::Free {
                assert!(matches!(identity, Identity::New | Identity::Unnamed), "{marks:?}");
                continue;
            }
            assert!(
                matches!(&identity, Identity::Suspect { peers } if peers[0].is_tombstone),
                "{identity:?}"
            );
            assert!(!identity.is_new());
            // Of a forgotten one a person said that it may come back.
            assert_eq!(identity.may_be_claimed(), fate != Fate::Forgotten, "{fate:?} {marks:?}");
        }
    }
}

#[test]
fn a_machine_that_registers_again_gets_its_name_back_and_is_its_new_server_from_then_on() {
    for fate in [Fate::Claimed, Fate::Vanished, Fate::Forgotten] {
        let authority = tombstone(fate);
        let marks = registers(A, "SN1", &[CARD_1]);
        let gone = Index::build(&[], &HashSet::new(), &authority);
        assert_eq!(new_server_name(&marks, &gone).as_deref(), Some(A));
        let again = [server(A, "SN1", &[CARD_1])];
        assert_eq!(
            identify(&marks, &Index::build(&again, &HashSet::new(), &authority)),
            same(A, Proof::Card)
        );
        // Its tombstone has another name, because its board was changed: the Server is held for what both share.
        let renamed = [server(B, "SN1", &[CARD_1])];
        let mut renamed_again = renamed.clone();
        fixtures::annotate(&mut renamed_again[0], SYSTEM_UUID_ANNOTATION, A);
        for servers in [renamed, renamed_again] {
            let known = Index::build(&servers, &HashSet::new(), &authority);
            assert_eq!(identify(&registers(B, "SN1", &[CARD_1]), &known), same(B, Proof::Card), "{fate:?}");
            assert!(Conflict::of(&servers[0], &known).unwrap().holds());
        }
        let known = Index::build(&[], &HashSet::new(), &authority);
        assert!(
            matches!(identify(&marks, &known), Identity::Suspect { .. }),
            "the tombstone alone is no Server"
        );
    }
}

#[test]
fn rivals_are_bounded_shown_and_hold_nothing() {
    let mut seen = server(A, "SN1", &[CARD_1]);
    for number in 0..10 {
        let marks = registers(A, "", &[&format!("52:54:00:77:01:{number:02x}")]);
        match Rival::noted(&seen, &marks) {
            Some(text) => fixtures::annotate(&mut seen, RIVAL_ANNOTATION, &text),
            None => assert!(number >= Rival::MOST),
        }
        assert_eq!(Rival::noted(&seen, &marks), None, "once");
    }
    assert_eq!(rivals(&seen).len(), Rival::MOST);
    let conflict = Conflict::of(&seen, &index(std::slice::from_ref(&seen), &[])).unwrap();
    assert!(!conflict.holds());
    assert!(conflict.message(A).contains("another machine shows its marks (cards 52:54:00:77:01:00"));
    fixtures::annotate(&mut seen, RIVAL_ANNOTATION, "rubbish");
    assert!(rivals(&seen).is_empty());
}

#[test]
fn an_index_that_is_kept_up_to_date_is_the_one_that_is_built() {
    let both = [server(A, "SN1", &[CARD_1]), server(B, "SN2", &[CARD_2])];
    let mut kept = index(&both, &[A]);
    kept.set(&server(B, "SN3", &[CARD_1]), false, &HOLDS);
    assert_eq!(identify(&registers(B, "", &[CARD_2]), &kept), other(B, OtherWhy::Card));
    kept.remove(A);
    kept.remove("never there");
    assert_eq!(identify(&registers(A, "SN1", &[CARD_2]), &kept), Identity::New);
    assert_eq!(identify(&Marks::of_query(None, Some(CARD_1), None), &kept), same(B, Proof::Card));
}
