//! One in flight, the gap, the delay after failures, and nobody waiting for the dead.

use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use tokio::time::Instant;

use super::support::{Manner, ipmi_client, pool, target};
use crate::bmc::{Action, Kind, Operation, PxeMode};
use crate::error::PowerError;
use crate::pool::Config;
use crate::precondition::Always;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_bmc_gets_one_command_at_a_time_with_a_gap_between_them() {
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::Answers(SECOND));
    let clients: Vec<_> = (0..5).map(|_| ipmi_client(&pool, "a")).collect();
    let results = join_all(clients.iter().map(|client| client.command(Action::On, &Always))).await;
    assert!(results.iter().all(Result::is_ok));
    let times = world.times("a");
    assert_eq!(times.len(), 10);
    for pair in times.windows(2) {
        let ((before, was_end), (after, is_end)) = (pair[0], pair[1]);
        assert_ne!(was_end, is_end, "two commands overlap: {times:?}");
        if is_end {
            assert_eq!(after - before, SECOND);
        } else {
            assert!(after - before >= Config::default().gap, "no gap: {times:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_dead_bmc_among_two_hundred_delays_nobody() {
    let (pool, world) = pool(Config::default());
    world.behave("bmc-7", Kind::Ipmi, Manner::Hangs);
    let clients: Vec<_> = (0..200).map(|number| ipmi_client(&pool, &format!("bmc-{number}"))).collect();
    let started = Instant::now();
    let took = join_all(clients.iter().map(async |client| {
        let result = client.power_state().await;
        (result.is_ok(), started.elapsed())
    }))
    .await;
    for (number, (ok, took)) in took.into_iter().enumerate() {
        assert_eq!(ok, number != 7, "BMC {number}");
        assert!(number == 7 || took < SECOND / 10, "BMC {number} took {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_dead_bmcs_than_places_hold_up_the_living_only_once() {
    let (pool, world) = pool(Config { sessions: 10, failing_sessions: 2, ..Config::default() });
    let dead: Vec<_> = (0..30)
        .map(|number| {
            let host = format!("dead-{number}");
            world.behave(&host, Kind::Ipmi, Manner::Hangs);
            ipmi_client(&pool, &host)
        })
        .collect();
    let results = join_all(dead.iter().map(|client| client.power_state())).await;
    assert!(results.iter().all(Result::is_err));
    tokio::time::advance(Config::default().max_backoff).await;
    // All the dead are tried again, and take only the places of the failing.
    let mut again: Vec<_> = dead.iter().map(|client| client.power_state()).collect();
    for future in &mut again {
        assert!(poll_immediate(future).await.is_none());
    }
    let started = Instant::now();
    ipmi_client(&pool, "alive").power_state().await.unwrap();
    assert!(started.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn after_failures_calls_fail_at_once_until_a_growing_delay_is_over() {
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::Refuses(SECOND));
    let client = ipmi_client(&pool, "a");
    for (failures, delay) in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300].into_iter().enumerate() {
        let error = client.command(Action::Off, &Always).await.unwrap_err();
        assert!(matches!(error, PowerError::Driver(_)), "{error:?}");
        let before = Instant::now();
        let refused = client.command(Action::Off, &Always).await.unwrap_err();
        assert_eq!(before.elapsed(), Duration::ZERO);
        assert_eq!(
            refused.retry_after(),
            Some(Duration::from_secs(delay)),
            "after {} failures",
            failures + 1
        );
        assert_eq!((refused.category(), refused.is_retryable()), ("refused", true));
        let cause = refused.to_string();
        assert!(cause.contains(&format!("next try in {delay} s")), "{cause}");
        assert!(std::error::Error::source(&refused).unwrap().to_string().contains("UDP port"));
        tokio::time::advance(Duration::from_secs(delay)).await;
    }
    world.behave("a", Kind::Ipmi, Manner::Answers(SECOND));
    client.command(Action::Off, &Always).await.unwrap();
    client.command(Action::Off, &Always).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_command_that_failed_is_not_tried_either() {
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::Hangs);
    let clients: Vec<_> = (0..3).map(|_| ipmi_client(&pool, "a")).collect();
    let started = Instant::now();
    let results = join_all(clients.iter().map(|client| client.power_state())).await;
    assert_eq!(started.elapsed(), Config::default().command_limit);
    assert_eq!(world.used("a").len(), 1);
    assert!(matches!(results[0].as_ref().unwrap_err(), PowerError::Overdue { .. }));
    assert!(results[1..].iter().all(|result| result.as_ref().unwrap_err().retry_after().is_some()));
    assert!(results.iter().all(|result| result.as_ref().unwrap_err().category() == "timeout"));
}

#[tokio::test(start_paused = true)]
async fn other_credentials_are_tried_at_once() {
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::WrongPassword);
    let error = ipmi_client(&pool, "a").command(Action::On, &Always).await.unwrap_err();
    assert_eq!((error.category(), error.is_retryable()), ("auth", false));
    world.behave("a", Kind::Ipmi, Manner::Answers(Duration::ZERO));
    assert!(ipmi_client(&pool, "a").command(Action::On, &Always).await.unwrap_err().retry_after().is_some());
    pool.client(&target("a", "lanplus", "right")).unwrap().command(Action::On, &Always).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_command_frees_its_turn_and_its_place_and_leaves_the_gap() {
    let (pool, world) = pool(Config { sessions: 1, ..Config::default() });
    world.behave("a", Kind::Ipmi, Manner::Hangs);
    let client = ipmi_client(&pool, "a");
    let mut running = client.command(Action::Cycle, &Always);
    assert!(poll_immediate(&mut running).await.is_none());
    let mut waiting = client.command(Action::On, &Always);
    assert!(poll_immediate(&mut waiting).await.is_none());
    drop(waiting);
    drop(running);
    world.behave("a", Kind::Ipmi, Manner::Answers(Duration::ZERO));
    let dropped = Instant::now();
    client.command(Action::PxeOnce(PxeMode::Bios), &Always).await.unwrap();
    assert_eq!(dropped.elapsed(), Config::default().gap);
    let expected =
        [(Kind::Ipmi, Operation::PowerCycle, "cancelled"), (Kind::Ipmi, Operation::SetPxeOnce, "success")];
    assert_eq!(world.outcomes(), expected);
}

#[tokio::test(start_paused = true)]
async fn bmcs_nobody_asks_for_are_forgotten() {
    let (pool, _) = pool(Config { max_entries: 100, ..Config::default() });
    for number in 0..90 {
        let _ = ipmi_client(&pool, &format!("bmc-{number}"));
    }
    let held = ipmi_client(&pool, "held");
    assert_eq!(pool.remembered(), 91);
    tokio::time::advance(Config::default().idle + SECOND).await;
    let _ = ipmi_client(&pool, "new");
    assert_eq!(pool.remembered(), 2);
    for number in 0..1000 {
        let _ = ipmi_client(&pool, &format!("bmc-{number}"));
        assert!(pool.remembered() <= 100);
    }
    held.power_state().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fake_is_on_and_does_everything_without_the_pool() {
    let (pool, world) = pool(Config::default());
    let fake = pool.client(&target("a", "lanplus", "")).unwrap();
    assert!(fake.is_fake());
    assert_eq!(fake.power_state().await.unwrap(), crate::Power::On);
    fake.command(Action::Off, &Always).await.unwrap();
    fake.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
    assert_eq!((world.used("a").len(), pool.remembered()), (0, 0));
    assert!(!ipmi_client(&pool, "a").is_fake());
}
