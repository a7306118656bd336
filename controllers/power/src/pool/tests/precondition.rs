//! Commands whose reason goes while they wait.

use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all, pending, poll_immediate};
use tokio::time::{Instant, sleep};

use super::support::{Manner, World, ipmi_client, pool, target};
use crate::bmc::{Action, Kind, Operation, PxeMode};
use crate::error::PowerError;
use crate::pool::Config;
use crate::precondition::{Always, Precondition};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Precondition until then. Remembers when it was asked.
struct Until {
    end: Instant,
    asked: Mutex<Vec<Instant>>,
}

impl Until {
    fn after(wait: Duration) -> Self {
        Self { end: Instant::now() + wait, asked: Mutex::default() }
    }

    fn asked(&self) -> Vec<Instant> {
        self.asked.lock().unwrap().clone()
    }
}

impl Precondition for Until {
    fn holds(&self) -> BoxFuture<'_, bool> {
        async {
            self.asked.lock().unwrap().push(Instant::now());
            Instant::now() < self.end
        }
        .boxed()
    }
}

fn is_unwanted(result: &Result<(), PowerError>) -> bool {
    matches!(result, Err(PowerError::Unwanted))
}

fn unwanted_in(world: &World) -> usize {
    world.outcomes().iter().filter(|(_, _, outcome)| *outcome == "unwanted").count()
}

#[tokio::test(start_paused = true)]
async fn a_command_queued_behind_a_slow_bmc_is_not_sent_once_its_reason_has_gone() {
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::Answers(20 * SECOND));
    let (first, second, third) = (ipmi_client(&pool, "a"), ipmi_client(&pool, "a"), ipmi_client(&pool, "a"));
    let (holds, goes, stays) = (Until::after(HOUR), Until::after(30 * SECOND), Until::after(HOUR));
    let results = join_all([
        first.command(Action::On, &holds),
        second.command(Action::Cycle, &goes),
        third.command(Action::Off, &stays),
    ])
    .await;
    assert!(results[0].is_ok() && is_unwanted(&results[1]) && results[2].is_ok(), "{results:?}");
    assert_eq!(
        world.sent("a"),
        [(Kind::Ipmi, Operation::PowerOn), (Kind::Ipmi, Operation::PowerOff)],
        "the ones before and behind it are"
    );
    assert_eq!(unwanted_in(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_once_and_when_nothing_is_left_but_to_send_it() {
    let (pool, world) = pool(Config::default());
    world.behave("a", Kind::Ipmi, Manner::Answers(20 * SECOND));
    let client = ipmi_client(&pool, "a");
    let started = Instant::now();
    let wanted = Until::after(HOUR);
    client.command(Action::On, &wanted).await.unwrap();
    // The session took 20 s to open.
    assert_eq!(wanted.asked(), [started + 20 * SECOND]);
    let late = Until::after(19 * SECOND);
    assert!(is_unwanted(&client.command(Action::On, &late).await));
    assert_eq!(world.sent("a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_waits_for_a_place_among_the_sessions_is_looked_at_again() {
    let (pool, world) = pool(Config { sessions: 1, ..Config::default() });
    world.behave("a", Kind::Ipmi, Manner::Answers(20 * SECOND));
    let (slow, other) = (ipmi_client(&pool, "a"), ipmi_client(&pool, "b"));
    let (holds, goes) = (Until::after(HOUR), Until::after(10 * SECOND));
    let results =
        join_all([slow.command(Action::On, &holds), other.command(Action::PxeOnce(PxeMode::Uefi), &goes)])
            .await;
    assert!(results[0].is_ok() && is_unwanted(&results[1]), "{results:?}");
    assert_eq!(world.sent("b"), []);
}

#[tokio::test(start_paused = true)]
async fn a_reason_that_goes_between_two_commands_stops_the_second() {
    let (pool, world) = pool(Config::default());
    let client = ipmi_client(&pool, "a");
    // The gap between two commands is all it takes.
    let goes = Until::after(Config::default().gap);
    client.command(Action::PxeOnce(PxeMode::Uefi), &goes).await.unwrap();
    assert!(is_unwanted(&client.command(Action::Cycle, &goes).await));
    assert_eq!(world.sent("a"), [(Kind::Ipmi, Operation::SetPxeOnce)]);
}

#[tokio::test(start_paused = true)]
async fn ipmi_is_not_tried_for_what_redfish_was_not_wanted_for_nor_after_it_failed() {
    let (pool, world) = pool(Config::default());
    world.give_redfish("a");
    world.behave("a", Kind::Redfish, Manner::Answers(5 * SECOND));
    let client = pool.client(&target("a", "", "p")).unwrap();
    let goes = Until::after(SECOND);
    assert!(is_unwanted(&client.command(Action::Cycle, &goes).await));
    assert_eq!((world.used("a"), goes.asked().len()), (vec![Kind::Redfish], 1));
    // Redfish fails after a while, and by then nobody wants it by IPMI either.
    world.behave("a", Kind::Redfish, Manner::Refuses(20 * SECOND));
    let goes = Until::after(10 * SECOND);
    assert!(is_unwanted(&client.command(Action::Cycle, &goes).await));
    assert_eq!(world.sent("a"), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_wanted_says_nothing_about_the_bmc() {
    let (pool, world) = pool(Config::default());
    let client = ipmi_client(&pool, "a");
    for _ in 0..20 {
        let gone = Until::after(Duration::ZERO);
        assert!(is_unwanted(&client.command(Action::Cycle, &gone).await));
    }
    client.command(Action::On, &Always).await.unwrap();
    // Nor does it heal one: the delay goes on growing where it was.
    world.behave("a", Kind::Ipmi, Manner::Refuses(Duration::ZERO));
    client.command(Action::On, &Always).await.unwrap_err();
    sleep(Config::default().first_backoff).await;
    world.behave("a", Kind::Ipmi, Manner::Answers(Duration::ZERO));
    assert!(is_unwanted(&client.command(Action::Off, &Until::after(Duration::ZERO)).await));
    world.behave("a", Kind::Ipmi, Manner::Refuses(Duration::ZERO));
    client.command(Action::On, &Always).await.unwrap_err();
    let refused = client.command(Action::On, &Always).await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(2 * Config::default().first_backoff));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_a_no_and_holds_up_nobody_for_long() {
    struct Silent;
    impl Precondition for Silent {
        fn holds(&self) -> BoxFuture<'_, bool> {
            pending().boxed()
        }
    }
    let (pool, world) = pool(Config { sessions: 1, ..Config::default() });
    let (silent, other) = (ipmi_client(&pool, "a"), ipmi_client(&pool, "b"));
    let started = Instant::now();
    let results =
        join_all([silent.command(Action::Cycle, &Silent), other.command(Action::On, &Always)]).await;
    assert!(is_unwanted(&results[0]) && results[1].is_ok(), "{results:?}");
    assert_eq!(started.elapsed(), Config::default().ask_limit);
    assert_eq!(world.sent("a"), []);
}

#[tokio::test(start_paused = true)]
async fn a_command_dropped_while_it_is_asked_for_is_not_sent() {
    struct Slow;
    impl Precondition for Slow {
        fn holds(&self) -> BoxFuture<'_, bool> {
            sleep(SECOND).map(|()| true).boxed()
        }
    }
    let (pool, world) = pool(Config::default());
    let client = ipmi_client(&pool, "a");
    let mut asking = client.command(Action::Cycle, &Slow);
    assert!(poll_immediate(&mut asking).await.is_none());
    sleep(SECOND / 2).await;
    assert!(poll_immediate(&mut asking).await.is_none());
    drop(asking);
    sleep(2 * SECOND).await;
    assert_eq!(world.sent("a"), []);
    client.command(Action::On, &Always).await.unwrap();
}
