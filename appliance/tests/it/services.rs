//! Commands for services, and their logs.

use std::time::{Duration, Instant};

use bloomery_pairing::client::ClientError;
use bloomery_pairing::local::Rights;
use bloomery_pairing::wire::{LogQuery, ServiceCommand};

use crate::admin::query;
use crate::site::{Site, patience};

#[tokio::test]
async fn a_service_is_told_and_the_audit_log_says_by_whom() {
    let site = Site::start().await;
    let (id, client) = site.pair().await;
    for (command, state) in [
        (ServiceCommand::Hold, "held"),
        (ServiceCommand::Start, "starting"),
        (ServiceCommand::Restart, "starting"),
    ] {
        let answer = client.tell_service("worker", command).await.unwrap();
        assert_eq!((answer.service.as_str(), answer.state.as_str()), ("worker", state));
    }
    let error = client.tell_service("etcd", ServiceCommand::Hold).await.unwrap_err();
    let ClientError::Refused { status: 409, message, .. } = error else { panic!("{error:?}") };
    assert_eq!(message, "etcd cannot be held: it is needed");
    let error = client.tell_service("nothing", ServiceCommand::Start).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error:?}");
    let error = client.log("nothing", &query(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error:?}");
    let log = site.machine.audit_log();
    for (action, result) in
        [("hold worker", "ok"), ("restart worker", "ok"), ("hold etcd", "etcd cannot be held")]
    {
        let line = log.iter().find(|line| line.contains(&format!("action={action:?}")));
        let line = line.unwrap_or_else(|| panic!("{action}: {log:#?}"));
        assert!(line.contains(&id) && line.contains(&format!("result=\"{result}")), "{line}");
    }
}

#[tokio::test]
async fn a_service_is_brought_back_and_its_log_read_while_the_kubernetes_api_is_away() {
    let site = Site::start().await;
    let (_, client) = site.pair().await;
    site.machine.write_log("a line");
    site.machine.say(Rights::Unreachable);
    assert_eq!(client.log("worker", &query(1)).await.unwrap().text, "a line\n");
    client.tell_service("etcd", ServiceCommand::Restart).await.unwrap();
    client.tell_service("worker", ServiceCommand::Start).await.unwrap();
    let error = client.tell_service("worker", ServiceCommand::Hold).await.unwrap_err();
    assert!(matches!(error, ClientError::NotReady { .. }), "{error:?}");
}

#[tokio::test]
async fn a_log_is_followed_by_a_request_that_waits_for_new_lines() {
    let site = Site::start().await;
    let (_, client) = site.pair().await;
    for line in ["one", "two", "three"] {
        site.machine.write_log(line);
    }
    let first = client.log("worker", &query(2)).await.unwrap();
    assert_eq!(first.text, "two\nthree\n");
    let go_on = |wait| LogQuery { lines: 0, after: Some(first.next.clone()), wait };
    assert_eq!(client.log("worker", &go_on(false)).await.unwrap().text, "");
    let machine = site.machine.clone();
    let asked = Instant::now();
    let query = go_on(true);
    let (piece, ()) = tokio::join!(client.log("worker", &query), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        machine.write_log("four");
    });
    assert_eq!(piece.unwrap().text, "four\n");
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(10) * patience(), "{took:?}");
}
