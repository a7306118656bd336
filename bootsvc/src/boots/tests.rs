//! Whose token counts: the newest boot's, whatever the clock does and whoever floods the memory.

use bloomery_api::trust::SigningKey;
use proptest::prelude::*;

use super::*;

const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 86_400_000;

fn token(nonce: u8, time: u64) -> Token {
    Token::sign(&SigningKey::new([3; 32]), UUID, [nonce; 8], time)
}

fn caller(token: Option<Token>) -> Caller {
    Caller { uuid: UUID.to_owned(), token }
}

fn order(boots: &mut Boots, token: Option<Token>) -> Option<&mut Vec<u8>> {
    boots.memory(&caller(token)).map(|memory| &mut memory.upstream_order)
}

#[test]
fn only_the_newest_token_given_counts() {
    let mut boots = Boots::default();
    let first = token(1, NOW);
    boots.give(UUID, first);
    assert!(boots.is_current(UUID, &first));
    order(&mut boots, Some(first)).unwrap().push(1);
    // The clock went back: the next token is the newest all the same.
    assert_eq!(boots.next_ms(UUID, NOW - DAY), NOW + 1);
    assert_eq!(boots.next_ms(UUID, NOW + 5), NOW + 5);
    let second = token(2, NOW + 1);
    boots.give(UUID, second);
    assert!(!boots.is_current(UUID, &first));
    assert_eq!(boots.admit(UUID, first, NOW), Err(Problem::Replaced));
    assert!(order(&mut boots, Some(first)).is_none());
    assert!(order(&mut boots, Some(second)).unwrap().is_empty());
    // A token that was given in this process does not age.
    assert_eq!(boots.admit(UUID, second, NOW + 40 * DAY), Ok(()));
}

#[test]
fn a_boot_of_another_replica_or_of_before_a_restart_counts_until_a_later_one_is_seen() {
    let mut boots = Boots::default();
    assert_eq!(boots.admit(UUID, token(1, NOW - DAY - 1), NOW), Err(Problem::Expired));
    assert_eq!(boots.admit(UUID, token(1, NOW + DAY + 1), NOW), Err(Problem::Expired));
    assert_eq!(boots.admit(UUID, token(1, NOW - 10), NOW), Ok(()));
    assert_eq!(boots.admit(UUID, token(2, NOW - 20), NOW), Err(Problem::Replaced));
    assert_eq!(boots.admit(UUID, token(3, NOW - 5), NOW), Ok(()));
    assert_eq!(boots.admit(UUID, token(1, NOW - 10), NOW), Err(Problem::Replaced));
    boots.give(UUID, token(4, NOW));
    assert_eq!(boots.admit(UUID, token(3, NOW - 5), NOW), Err(Problem::Replaced));
    // The other replica gave the machine its next boot.
    assert_eq!(boots.admit(UUID, token(5, NOW + 1), NOW + 2), Ok(()));
    assert_eq!(boots.admit(UUID, token(4, NOW), NOW + 2), Err(Problem::Replaced));
}

#[test]
fn a_machine_that_boots_something_else_has_no_agent_until_a_later_boot() {
    let mut boots = Boots::default();
    boots.give(UUID, token(1, NOW));
    order(&mut boots, None).unwrap().push(1);
    boots.end(UUID, NOW + 50);
    assert_eq!(boots.admit(UUID, token(1, NOW), NOW), Err(Problem::Replaced));
    assert_eq!(boots.admit(UUID, token(2, NOW + 50), NOW), Err(Problem::Replaced));
    assert!(order(&mut boots, Some(token(1, NOW))).is_none());
    assert!(order(&mut boots, None).unwrap().is_empty());
    assert_eq!(boots.admit(UUID, token(3, NOW + 51), NOW), Ok(()));
    // Nothing is remembered of a machine that was never given an agent.
    boots.end("other", NOW);
    assert!(boots.get_mut("other").is_none());
}

#[test]
fn a_machine_that_is_used_outlives_a_flood_of_made_up_ones() {
    let mut map = Generations::new(4);
    map.insert("used".to_owned(), Boot::new(None, 0));
    map.insert("idle".to_owned(), Boot::new(None, 0));
    for index in 0..100 {
        map.insert(format!("flood {index}"), Boot::new(None, 0));
        assert!(map.get_mut("used").is_some());
        assert!(map.young.len() + map.old.len() <= 8);
    }
    assert!(map.get_mut("idle").is_none());
}

/// Finding 19: made-up machines, more than all that is remembered of strangers.
fn flood(boots: &mut Boots) {
    for index in 0..70_000 {
        boots.give(&format!("made up {index}"), token(7, NOW));
    }
}

#[test]
fn a_flood_of_made_up_machines_brings_no_old_token_back() {
    let (old, new) = (token(1, NOW - 10), token(2, NOW));
    let mut boots = Boots::default();
    boots.give(UUID, old);
    boots.keep(UUID);
    boots.give(UUID, new);
    boots.give("ended", old);
    boots.keep("ended");
    boots.end("ended", NOW);
    assert_eq!(boots.admit(UUID, old, NOW), Err(Problem::Replaced));
    flood(&mut boots);
    assert_eq!(boots.admit(UUID, old, NOW), Err(Problem::Replaced));
    assert!(boots.is_current(UUID, &new));
    assert_eq!(boots.admit("ended", old, NOW), Err(Problem::Replaced));
    assert!(boots.strangers.young.len() + boots.strangers.old.len() <= 2 * STRANGERS);
    assert_eq!(boots.known.young.len() + boots.known.old.len(), 2);
}

#[test]
fn an_agent_is_alive_where_it_called_from_for_a_while() {
    let (here, elsewhere) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let (mut boots, start) = (Boots::default(), Instant::now());
    let (old, new) = (token(1, NOW), token(2, NOW));
    boots.give(UUID, old);
    assert!(!boots.is_alive_elsewhere(UUID, elsewhere, start));
    boots.called(&caller(Some(old)), here, start);
    assert!(boots.is_alive_elsewhere(UUID, elsewhere, start));
    assert!(!boots.is_alive_elsewhere(UUID, here, start));
    assert!(!boots.is_alive_elsewhere(UUID, elsewhere, start + ALIVE_FOR));
    // Neither an agent without token nor one of an older boot keeps the machine.
    boots.give(UUID, new);
    boots.called(&caller(Some(old)), here, start);
    boots.called(&caller(None), here, start);
    assert!(!boots.is_alive_elsewhere(UUID, elsewhere, start));
    boots.called(&caller(Some(new)), here, start);
    boots.end(UUID, NOW);
    assert!(!boots.is_alive_elsewhere(UUID, elsewhere, start));
}

proptest! {
    /// Whatever happens, at most one token counts, and none that is older than one that counted.
    #[test]
    fn at_most_one_boot_acts(steps in prop::collection::vec((0u8..3, 0u8..4, 0u64..3 * DAY), 1..40)) {
        let mut boots = Boots::default();
        let mut newest = 0;
        let mut known = Vec::new();
        for (what, nonce, time) in steps {
            let mut made = token(nonce, NOW + time);
            match what {
                0 => {
                    made = token(nonce, boots.next_ms(UUID, NOW + time));
                    boots.give(UUID, made);
                    prop_assert!(made.time_ms() > newest && boots.is_current(UUID, &made));
                    newest = made.time_ms();
                }
                1 => {
                    if boots.get_mut(UUID).is_some() {
                        boots.end(UUID, NOW + time);
                        newest = newest.max(NOW + time);
                        prop_assert_eq!(boots.admit(UUID, made, NOW + time), Err(Problem::Replaced));
                    }
                }
                _ => {
                    let was_current = boots.is_current(UUID, &made);
                    let admitted = boots.admit(UUID, made, NOW + DAY).is_ok();
                    prop_assert_eq!(admitted, boots.is_current(UUID, &made));
                    prop_assert!(!admitted || was_current || made.time_ms() > newest);
                    if admitted {
                        newest = made.time_ms();
                    }
                }
            }
            known.push(made);
            let mut current: Vec<String> =
                known.iter().filter(|token| boots.is_current(UUID, token)).map(Token::text).collect();
            current.sort();
            current.dedup();
            prop_assert!(current.len() <= 1);
        }
    }
}
