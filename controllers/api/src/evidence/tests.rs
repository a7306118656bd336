//! Records that somebody edits, copies, restores or brings along, and what the ledger says to them.

use std::sync::Arc;

use super::*;
use crate::contents::ContentsClass;
use crate::decision::Standing;
use crate::decision::fixtures::{
    HOLDS, UID, annotate, at, binding, confirmed, disks, holds, machine, record, server, signed, with,
    with_state,
};
use crate::decision::tombstone::entry;
use crate::ledger::{Fate, Tombstone, Tombstones};
use crate::plane::{Authority, PLANE_LABEL};
use crate::trust::{KEY_LEN, SigningKey};

use DiskState::{Bound, Clean, Installed, NeverUsed, Released};

fn void(why: VoidReason) -> Evidence {
    Evidence::Void(why)
}

fn with_ledger(entries: impl IntoIterator<Item = Tombstone>) -> Authority {
    let mut ledger = Tombstones::default();
    entries.into_iter().for_each(|entry| ledger.note(entry));
    let Authority::Holds { epoch, trust } = holds() else { unreachable!() };
    Authority::Holds { epoch, trust: trust.with_ledger(Arc::new(ledger)) }
}

fn tombstone(uid: &str, fate: Fate, seq: u64, record: &str) -> Tombstone {
    Tombstone {
        server: "a".to_owned(),
        uid: uid.to_owned(),
        marks: crate::decision::identity::Marks::default(),
        fate,
        installed: false,
        seq,
        record: record.to_owned(),
        epoch: 7,
        revision: 5,
        time: at(1),
    }
}

#[test]
fn a_record_that_the_plane_did_not_sign_is_no_evidence_but_a_claim_is_always_believed() {
    for state in [NeverUsed, Released, Clean, Bound, Installed] {
        let own = signed(record(state));
        let other_key = {
            let mut forged = record(state);
            forged.sign(&SigningKey::new([8; KEY_LEN]));
            forged
        };
        let tampered = [
            // The earlier release wrote neither signature nor number.
            DiskRecord { mac: String::new(), seq: 0, ..own.clone() },
            DiskRecord { mac: String::new(), ..own.clone() },
            DiskRecord { seq: 9, ..own.clone() },
            DiskRecord { id: "ffffffffffffffff".to_owned(), ..own.clone() },
            DiskRecord { since: at(9), ..own.clone() },
            DiskRecord { revision: 4, ..own.clone() },
            DiskRecord { contents: Some(ContentsClass::Data), ..own.clone() },
            DiskRecord { binding: Some("x".to_owned()), ..own.clone() },
            DiskRecord { claimant: Some("d/m".to_owned()), ..own.clone() },
            other_key,
        ];
        for forged in tampered {
            let mut seen = server(true, false, state == Clean);
            annotate(&mut seen, DISKS_ANNOTATION, &forged.to_annotation());
            let evidence = Evidence::of(&seen, &HOLDS);
            if state.is_claim() {
                assert!(evidence.is_claim(), "{forged:?}");
            } else {
                assert_eq!(evidence, void(VoidReason::Unsigned), "{forged:?}");
                assert_eq!(machine(&seen, None, &HOLDS).standing(), Standing::Unconfirmed);
            }
        }
    }
}

#[test]
fn a_state_that_is_edited_into_another_needs_the_key() {
    // Finding 15: somebody writes the record that allows a wipe.
    for (from, to) in [(Bound, Released), (Clean, NeverUsed), (Installed, NeverUsed)] {
        let edited = DiskRecord { state: to, ..signed(record(from)) };
        let mut seen = server(true, false, false);
        annotate(&mut seen, DISKS_ANNOTATION, &edited.to_annotation());
        assert_eq!(Evidence::of(&seen, &HOLDS), void(VoidReason::Unsigned));
    }
}

#[test]
fn an_old_record_that_is_applied_again_is_superseded() {
    // Finding 15: `kubectl get server -o yaml` on Monday, `kubectl apply` after the cluster's binding was lost.
    let monday = DiskRecord { seq: 2, ..record(NeverUsed) };
    let seen = with(server(true, false, false), &monday);
    assert!(matches!(Evidence::of(&seen, &HOLDS), Evidence::NeverUsed(_)));
    for (noted, expected) in [
        (tombstone(UID, Fate::Claimed, 3, "later"), Some(VoidReason::Superseded)),
        (tombstone(UID, Fate::Free, 4, "later"), Some(VoidReason::Superseded)),
        // Another record of the same number.
        (tombstone(UID, Fate::Free, 2, "other"), Some(VoidReason::Superseded)),
        // Claimed by a binding that was seen, before its record was written.
        (tombstone(UID, Fate::Claimed, 2, &monday.id), Some(VoidReason::Claimed)),
        (tombstone(UID, Fate::Free, 2, &monday.id), None),
        (tombstone(UID, Fate::Free, 1, "before"), None),
        // The Server was deleted while it was claimed, and made anew.
        (tombstone("gone", Fate::Claimed, 9, "r"), Some(VoidReason::Claimed)),
        (tombstone("gone", Fate::Forgotten, 9, "r"), Some(VoidReason::Claimed)),
        (tombstone("gone", Fate::Vanished, 9, "r"), Some(VoidReason::Claimed)),
        (tombstone("gone", Fate::Free, 9, "r"), None),
    ] {
        let authority = with_ledger([noted.clone()]);
        let found = Evidence::of(&seen, &authority);
        match expected {
            Some(why) => assert_eq!(found, void(why), "{noted:?}"),
            None => assert!(matches!(found, Evidence::NeverUsed(_)), "{noted:?} {found:?}"),
        }
    }
    // A release that a person confirmed on the new Server ends the old claim.
    let released = with_state(server(true, false, false), Released);
    let authority = with_ledger([tombstone("gone", Fate::Claimed, 9, "r")]);
    assert!(matches!(Evidence::of(&released, &authority), Evidence::Released(_)));
}

#[test]
fn without_key_or_ledger_nothing_but_a_claim_counts_and_only_claims_are_written() {
    for (key, ledger) in [(false, true), (true, false)] {
        let mut authority = holds();
        let Authority::Holds { trust, .. } = &mut authority else { unreachable!() };
        if !key {
            trust.key = None;
        }
        if !ledger {
            trust.ledger = None;
        }
        for state in [NeverUsed, Released, Clean] {
            let seen = with_state(server(true, false, false), state);
            assert_eq!(Evidence::of(&seen, &authority), void(VoidReason::NoTrust), "{state:?}");
        }
        assert!(Evidence::of(&with_state(server(true, false, false), Bound), &authority).is_claim());
        let bound = binding(false);
        let written = |what| DiskRecord::new(&server(true, false, false), what, &authority, "r", &at(1));
        assert!(written(Entry::Bound(&bound)).is_some() && written(Entry::Installed(&bound)).is_some());
        assert_eq!(written(Entry::Released).is_some(), key);
    }
    let fenced = Authority::Fenced { holder: "b".to_owned() };
    assert!(
        DiskRecord::new(&server(true, false, false), Entry::Bound(&binding(false)), &fenced, "r", &at(1))
            .is_none()
    );
}

#[test]
fn what_disks_hold_decides_whether_acceptance_is_consent() {
    use ContentsClass::{Blank, Data, System, Unknown};
    let ext4: &[&str] = &["gpt", "ext4"];
    let talos: &[&str] = &["gpt", "talos-state"];
    for (registered, today, any, wipes) in [
        (Some(Blank), Some(&[][..]), false, true),
        (Some(Data), Some(ext4), false, true),
        (Some(Data), Some(&[][..]), false, true),
        // What was not there at registration is nothing that acceptance was given for.
        (Some(Blank), Some(ext4), false, false),
        (Some(Blank), Some(ext4), true, true),
        (Some(Data), Some(talos), false, false),
        (Some(System), Some(talos), false, false),
        (Some(System), Some(&[][..]), false, false),
        (Some(System), Some(talos), true, false),
        (Some(Unknown), None, false, false),
        (Some(Unknown), None, true, true),
        (None, Some(&[][..]), false, false),
        (Some(Blank), None, false, false),
    ] {
        let mut authority = holds();
        let Authority::Holds { trust, .. } = &mut authority else { unreachable!() };
        trust.any_contents = any;
        let mut seen =
            with(server(true, false, false), &DiskRecord { contents: registered, ..record(NeverUsed) });
        seen.spec.hardware = Some(disks(&[today]));
        let evidence = Evidence::of(&seen, &authority);
        assert_eq!(evidence.allows_wipe().is_some(), wipes, "{registered:?} {today:?} {any}: {evidence:?}");
        let standing = machine(&seen, None, &authority).standing();
        assert_eq!(standing, if wipes { Standing::Dirty } else { Standing::Unconfirmed });
        seen.spec.accepted = false;
        assert_eq!(machine(&seen, None, &authority).standing(), Standing::Discovered);
    }
}

#[test]
fn a_server_of_another_plane_is_left_alone_until_it_is_adopted_or_confirmed() {
    use crate::decision::records::{BindingFinalizer, RecordChange, records};
    for state in [NeverUsed, Released, Clean, Bound, Installed] {
        let mut seen = with_state(server(true, false, state == Clean), state);
        seen.metadata.labels = Some([(PLANE_LABEL.to_owned(), "source".to_owned())].into());
        let bound = binding(false);
        for (bound, confirmed_by_person) in
            [(None, false), (Some(&bound), false), (None, true), (Some(&bound), true)]
        {
            let seen = if confirmed_by_person { confirmed(seen.clone()) } else { seen.clone() };
            let moved = machine(&seen, bound, &HOLDS);
            assert_eq!(moved.evidence(), void(VoidReason::OtherPlane));
            assert_eq!(moved.standing(), Standing::Unconfirmed, "{state:?}");
            let decided = records(&moved, &at(9), "r");
            let is_taken = confirmed_by_person && bound.is_none();
            assert_eq!(decided.label.as_deref(), is_taken.then_some("own"), "{state:?}");
            assert_eq!(matches!(decided.record, RecordChange::Write(_)), is_taken);
            assert_eq!(decided.finalizer, BindingFinalizer::Keep);
        }
        let mut adopting = holds();
        let Authority::Holds { trust, .. } = &mut adopting else { unreachable!() };
        trust.planes = Arc::from(["own".to_owned(), "source".to_owned()]);
        assert_ne!(Evidence::of(&seen, &adopting), void(VoidReason::OtherPlane));
        assert_eq!(records(&machine(&seen, None, &adopting), &at(9), "r").label.as_deref(), Some("own"));
    }
}

#[test]
fn a_lost_status_takes_no_node_from_its_disk() {
    use crate::decision::records::{RecordChange, records};
    let bound = binding(true);
    // The installation goes on record once it is seen ...
    let seen = with_state(server(true, true, false), Bound);
    let RecordChange::Write(installed) = records(&machine(&seen, Some(&bound), &HOLDS), &at(9), "r2").record
    else {
        panic!("nothing written");
    };
    assert_eq!((installed.state, installed.seq), (Installed, 2));
    let mut after = with(seen, &installed);
    // ... and then all status is lost, here and on the binding, which gets another uid.
    after.status = None;
    let mut lost = binding(false);
    assert_eq!(machine(&after, Some(&lost), &HOLDS).standing(), Standing::Installed);
    lost.metadata.uid = Some("moved".to_owned());
    lost.spec.metal_machine_ref.name = Some("m".to_owned());
    assert_eq!(machine(&after, Some(&lost), &HOLDS).standing(), Standing::Bound, "another machine's claim");
    let moved = DiskRecord { claimant: Some("/m".to_owned()), server_uid: "moved".to_owned(), ..installed };
    assert_eq!(machine(&with(after.clone(), &moved), Some(&lost), &HOLDS).standing(), Standing::Installed);
    // A restore brings back the claim from before the installation: the ledger knows better.
    let old = with(server(true, false, false), &DiskRecord { seq: 1, ..record(Bound) });
    let noted = Tombstone { installed: true, ..tombstone(UID, Fate::Claimed, 2, "r2") };
    assert_eq!(
        machine(&old, Some(&binding(false)), &with_ledger([noted.clone()])).standing(),
        Standing::Installed
    );
    let newer = with(server(true, false, false), &DiskRecord { seq: 5, ..record(Bound) });
    assert_eq!(machine(&newer, Some(&binding(false)), &with_ledger([noted])).standing(), Standing::Bound);
}

#[test]
fn a_node_that_the_ledger_knows_as_installed_boots_its_disk_whatever_record_a_restore_brings_back() {
    let bound = binding(false);
    let noted = Tombstone { installed: true, ..tombstone(UID, Fate::Claimed, 5, "r5") };
    let known = with_ledger([noted.clone()]);
    let standing = |server: &Server, authority| machine(server, Some(&bound), authority).standing();
    for state in [NeverUsed, Released, Clean, Bound] {
        let old = with(server(true, false, false), &DiskRecord { seq: 4, ..record(state) });
        assert_eq!(standing(&old, &known), Standing::Installed, "{state:?}");
        assert_eq!(machine(&old, None, &known).standing(), Standing::Lost, "{state:?}");
        // What this plane wrote since ends it.
        let new = with(server(true, false, false), &DiskRecord { seq: 6, ..record(state) });
        assert_eq!(standing(&new, &known), Standing::Bound, "{state:?}");
        let mut unsigned = new.clone();
        let text = DiskRecord { mac: String::new(), ..DiskRecord::of(&new).unwrap() }.to_annotation();
        annotate(&mut unsigned, DISKS_ANNOTATION, &text);
        assert_eq!(
            standing(&unsigned, &known),
            Standing::Installed,
            "{state:?}: anybody may have written it"
        );
    }
    assert_eq!(standing(&server(true, false, false), &known), Standing::Installed, "no record");
    // The Server was made anew.
    let before = Tombstone { uid: "before".to_owned(), ..noted.clone() };
    let remade = with_ledger([before.clone()]);
    let first = with(server(true, false, false), &DiskRecord { seq: 1, ..record(Bound) });
    assert_eq!(standing(&first, &remade), Standing::Installed);
    assert_eq!(entry(&first, Some(&bound), &remade, &at(2)).map(|entry| entry.installed), Some(true));
    let wiped = with(server(true, false, false), &DiskRecord { seq: 2, ..record(Clean) });
    assert_eq!(standing(&wiped, &remade), Standing::Bound);
    // A cluster that let go has no node.
    let free = with_ledger([Tombstone { fate: Fate::Free, ..noted }]);
    assert_eq!(standing(&server(true, false, false), &free), Standing::Bound);
}

#[test]
fn the_ledger_notes_claims_and_their_end_and_nothing_of_machines_that_were_never_claimed() {
    let note = |server: &Server, bound: Option<&crate::ServerBinding>, authority: &Authority| {
        entry(server, bound, authority, &at(2))
    };
    let empty = with_ledger([]);
    for state in [NeverUsed, Released, Clean] {
        assert_eq!(note(&with_state(server(true, false, false), state), None, &empty), None, "{state:?}");
    }
    assert_eq!(note(&server(true, false, false), None, &empty), None);
    let bound = binding(false);
    let claimed = note(&with_state(server(true, false, false), NeverUsed), Some(&bound), &empty).unwrap();
    assert_eq!((claimed.fate, claimed.seq, claimed.installed), (Fate::Claimed, 1, false));
    let lost = note(&with_state(server(true, false, false), Installed), None, &empty).unwrap();
    assert_eq!((lost.fate, lost.installed), (Fate::Claimed, true));
    // Said once.
    assert_eq!(note(&with_state(server(true, false, false), Installed), None, &with_ledger([lost])), None);
    let known = with_ledger([tombstone(UID, Fate::Claimed, 3, "r3")]);
    let next = |seq, state| with(server(true, false, false), &DiskRecord { seq, ..record(state) });
    assert_eq!(note(&next(4, Released), None, &known).unwrap().fate, Fate::Free);
    assert_eq!(note(&next(2, Released), None, &known), None, "an old record ends nothing");
    assert_eq!(note(&next(4, NeverUsed), None, &known), None, "never used ends nothing");
    assert_eq!(note(&server(true, false, false), None, &known), None);
    // Deleted with a person's word.
    let mut leaving = next(3, Bound);
    leaving.metadata.deletion_timestamp = Some(at(1));
    assert_eq!(note(&leaving, None, &known).map(|entry| entry.fate), Some(Fate::Claimed));
    annotate(&mut leaving, FORGET_ANNOTATION, UID);
    assert_eq!(note(&leaving, None, &known).unwrap().fate, Fate::Forgotten);
    assert_eq!(note(&leaving, Some(&bound), &known).unwrap().fate, Fate::Claimed);
    // Numbers go on after the ledger's, whatever the object says.
    let written = DiskRecord::new(&server(true, false, false), Entry::Released, &known, "r", &at(3)).unwrap();
    assert_eq!(written.seq, 4);
}

#[test]
fn the_revision_of_the_object_is_noted_with_each_record() {
    let mut seen = server(true, false, false);
    seen.metadata.resource_version = Some("4711".to_owned());
    let written =
        DiskRecord::new(&seen, Entry::NeverUsed(ContentsClass::Blank), &HOLDS, "r", &at(1)).unwrap();
    assert_eq!((written.revision, written.seq, written.contents), (4711, 1, Some(ContentsClass::Blank)));
    let noted = entry(&seen, Some(&binding(false)), &with_ledger([]), &at(1)).unwrap();
    assert_eq!(with_ledger([noted]).trust().unwrap().ledger.as_ref().unwrap().seen(), (7, 4711));
}

#[test]
fn a_confirmation_is_for_one_object_and_one_epoch() {
    let in_epoch = |epoch| {
        let Authority::Holds { trust, .. } = holds() else { unreachable!() };
        Authority::Holds { epoch, trust }
    };
    let plain = server(true, false, false);
    // value, epoch of the plane, counts
    for (word, epoch, counts) in [
        ("server-uid", 1, true),
        ("server-uid/1", 1, false),
        // A restore brought it back: a cluster may have had the machine since.
        ("server-uid", 2, false),
        ("server-uid/1", 2, false),
        ("server-uid/2", 2, true),
        ("server-uid/3", 2, false),
        ("server-uid/", 2, false),
        ("server-uid/02", 2, false),
        ("server-uid2", 2, false),
        ("another-uid/2", 2, false),
        ("/2", 2, false),
        ("", 1, false),
    ] {
        let mut said = plain.clone();
        annotate(&mut said, CONFIRM_WIPE_ANNOTATION, word);
        assert_eq!(wipe_confirmed(&said, &in_epoch(epoch)), counts, "{word} in {epoch}");
    }
    for epoch in [1, 2, 7] {
        let mut said = plain.clone();
        annotate(&mut said, CONFIRM_WIPE_ANNOTATION, &wipe_confirmation(&plain, &in_epoch(epoch)));
        assert!(wipe_confirmed(&said, &in_epoch(epoch)));
        assert!(!wipe_confirmed(&said, &in_epoch(epoch + 1)));
        assert!(!wipe_confirmed(&said, &Authority::Unknown));
    }
    // A restore that nobody noticed brings it back in the same epoch: the ledger has seen more since.
    let ahead = with_ledger([tombstone(UID, Fate::Claimed, 5, "r5")]);
    let mut old = with(plain, &DiskRecord { seq: 4, ..record(Clean) });
    annotate(&mut old, CONFIRM_WIPE_ANNOTATION, &format!("{UID}/7"));
    assert!(!wipe_confirmed(&old, &ahead));
    assert_eq!(wipe_confirmation(&old, &ahead), "server-uid/7/5");
    annotate(&mut old, CONFIRM_WIPE_ANNOTATION, "server-uid/7/5");
    assert!(wipe_confirmed(&old, &ahead));
    assert!(!wipe_confirmed(&old, &with_ledger([tombstone(UID, Fate::Claimed, 6, "r6")])), "used up");
}
