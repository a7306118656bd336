//! The file whose power goes at any octet, and a reader beside the writer.

use std::collections::BTreeSet;

use bloomery_api::decision::identity::Marks;
use bloomery_api::ledger::Fate;

use super::*;

fn entry_of(server: &str, fate: Fate, seq: u64) -> Tombstone {
    Tombstone {
        server: server.to_owned(),
        uid: format!("uid-{server}"),
        marks: Marks { serial: Some("SN1".to_owned()), ..Marks::default() },
        fate,
        installed: false,
        seq,
        record: format!("r{seq}"),
        epoch: 1,
        revision: 100 + seq,
        time: serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap(),
    }
}

#[test]
fn what_was_noted_is_there_after_a_restart_and_for_the_reader() {
    let directory = tempfile::tempdir().unwrap();
    let mut reader = Reader::new(directory.path());
    assert!(reader.current().unwrap().is_empty());
    let ledger = Ledger::open(directory.path()).unwrap();
    assert!(ledger.note(entry_of("a", Fate::Claimed, 2)).unwrap());
    assert!(!ledger.note(entry_of("a", Fate::Claimed, 2)).unwrap(), "nothing new");
    assert_eq!(reader.current().unwrap().of("a").unwrap().fate, Fate::Claimed);
    assert!(ledger.note(entry_of("a", Fate::Free, 3)).unwrap());
    assert!(ledger.note(entry_of("b", Fate::Claimed, 1)).unwrap());
    let seen = reader.current().unwrap();
    assert_eq!((seen.of("a").unwrap().fate, seen.len(), seen.seen()), (Fate::Free, 2, (1, 103)));
    drop(ledger);
    let again = Ledger::open(directory.path()).unwrap();
    assert_eq!(again.tombstones(), seen);
    let servers = BTreeSet::from(["a".to_owned()]);
    let gone: Vec<_> = seen.vanished(&servers).map(|entry| entry.server.as_str()).collect();
    assert_eq!(gone, ["b"]);
}

#[test]
fn a_power_cut_at_any_octet_loses_no_more_than_the_last_line() {
    let whole = [line(&entry_of("a", Fate::Claimed, 1)), line(&entry_of("b", Fate::Claimed, 1))];
    let text = whole.concat();
    for cut in 0..=text.len() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), &text[..cut]).unwrap();
        let lines = usize::from(cut >= whole[0].len()) + usize::from(cut == text.len());
        assert_eq!(Reader::new(directory.path()).current().unwrap().len(), lines, "{cut}");
        let ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(ledger.tombstones().len(), lines, "{cut}");
        ledger.note(entry_of("c", Fate::Claimed, 1)).unwrap();
        assert_eq!(Ledger::open(directory.path()).unwrap().tombstones().len(), lines + 1, "{cut}");
    }
}

#[test]
fn damage_in_the_middle_is_an_error_and_no_reset() {
    let text = [line(&entry_of("a", Fate::Claimed, 1)), line(&entry_of("b", Fate::Claimed, 1))].concat();
    let first = text.find('\n').unwrap();
    for at in (0..first).step_by(7) {
        let directory = tempfile::tempdir().unwrap();
        let mut damaged = text.clone().into_bytes();
        damaged[at] ^= 1;
        std::fs::write(directory.path().join(FILE), &damaged).unwrap();
        let error = Ledger::open(directory.path()).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { line: 1, .. }), "{at}: {error}");
        assert!(Reader::new(directory.path()).current().is_err());
        assert_eq!(std::fs::read(directory.path().join(FILE)).unwrap(), damaged, "it is left as it is");
    }
    // A file that a reader knew and that is gone is no empty ledger.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(FILE), &text).unwrap();
    let mut reader = Reader::new(directory.path());
    reader.current().unwrap();
    std::fs::remove_file(directory.path().join(FILE)).unwrap();
    assert!(reader.current().is_err());
}

#[test]
fn it_is_written_anew_when_most_of_it_is_old() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    let mut reader = Reader::new(directory.path());
    let last = u64::try_from(FEW).unwrap() + 10;
    for seq in 1..=last {
        ledger.note(entry_of("a", Fate::Claimed, seq)).unwrap();
        if seq % 500 == 0 {
            reader.current().unwrap();
        }
    }
    let lines = std::fs::read_to_string(directory.path().join(FILE)).unwrap().lines().count();
    assert!(lines < 20, "{lines}");
    for found in [reader.current().unwrap(), Ledger::open(directory.path()).unwrap().tombstones()] {
        assert_eq!(found.of("a").unwrap().seq, last);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left aside");
}
