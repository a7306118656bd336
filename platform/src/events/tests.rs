use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;

use super::*;

fn notice(action: &'static str, message: &str) -> Notice {
    Notice { warning: false, reason: "Server Management", action, message: message.to_owned() }
}

fn object(name: &str) -> ObjectReference {
    ObjectReference { kind: Some("Server".to_owned()), name: Some(name.to_owned()), ..Default::default() }
}

fn pending(name: &str, action: &'static str, message: &str) -> Pending {
    Pending { object: object(name), notice: notice(action, message), count: 1 }
}

#[test]
fn same_events_become_one_with_the_last_message() {
    let mut warning = pending("a", "y", "w");
    warning.notice.warning = true;
    let burst = [
        pending("a", "x", "1"),
        pending("a", "y", "2"),
        pending("a", "x", "3"),
        pending("b", "x", "4"),
        warning,
        pending("a", "x", "5"),
    ];
    let joined = coalesce(burst.into_iter());
    let counts: Vec<_> = joined.iter().map(|one| (one.notice.message.as_str(), one.count)).collect();
    assert_eq!(counts, [("5", 3), ("2", 1), ("4", 1), ("w", 1)]);
}

#[test]
fn good_news_of_many_objects_are_one_event_and_warnings_stay_with_their_objects() {
    let all = object("plane");
    let names: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
    let told = |count: usize, is_warning: bool| {
        let events = names[..count].iter().map(|name| {
            let mut one = pending(name, "x", "Server wiped via agent.");
            one.notice.warning = is_warning;
            one
        });
        gather([pending("other", "y", "z")].into_iter().chain(events).collect(), &all)
    };
    assert_eq!(told(MOST_ALONE, false).len(), 1 + MOST_ALONE);
    assert_eq!(told(20, true).len(), 21);
    let one = told(20, false);
    assert_eq!(one.len(), 2);
    assert_eq!(one[1].object.name.as_deref(), Some("plane"));
    let message = "20 Servers: Server wiped via agent. (m0, m1, m2, m3 and 16 more)";
    assert_eq!(one[1].notice.message, message);
}

#[tokio::test]
async fn a_full_queue_never_blocks() {
    let (sender, _queue) = mpsc::channel(1);
    let events = Recorder(sender);
    for _ in 0..10 {
        events.record(object("a"), notice("x", "x"));
    }
}

/// A client whose API takes every event and shows the requests.
fn recording() -> (Client, mpsc::UnboundedReceiver<(Method, Value)>) {
    let (sender, requests) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: Request<Body>| {
        let sender = sender.clone();
        async move {
            let (head, body) = request.into_parts();
            let body: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap();
            let name = head.uri.path().rsplit('/').next().unwrap_or_default();
            let name = body["metadata"]["name"].as_str().unwrap_or(name);
            let answer = json!({ "metadata": { "name": name }, "involvedObject": {} }).to_string();
            sender.send((head.method, body)).unwrap();
            Ok::<_, kube::Error>(Response::new(Body::from(answer.into_bytes())))
        }
    });
    (Client::new(service, "default"), requests)
}

#[tokio::test(start_paused = true)]
async fn a_repetition_is_counted_and_another_message_is_another_event() {
    let (client, mut requests) = recording();
    let (events, written) = Recorder::start("test", object("all"), move || Some(client.clone()));
    events.record(object("a"), notice("x", "failed"));
    let (method, event) = requests.recv().await.unwrap();
    assert_eq!((method, &event["count"], &event["action"]), (Method::POST, &json!(1), &json!("x")));
    assert_eq!(event["metadata"]["namespace"], "default");
    events.record(object("a"), notice("x", "failed"));
    let (method, patch) = requests.recv().await.unwrap();
    assert_eq!((method, &patch["count"]), (Method::PATCH, &json!(2)));
    events.record(object("a"), notice("x", "failed otherwise"));
    assert_eq!(requests.recv().await.unwrap().1["message"], "failed otherwise");
    tokio::time::advance(REPEATED_WITHIN).await;
    events.record(object("a"), notice("x", "failed otherwise"));
    let (method, event) = requests.recv().await.unwrap();
    assert_eq!((method, &event["count"]), (Method::POST, &json!(1)));
    drop(events);
    written.await.unwrap();
    assert!(requests.recv().await.is_none(), "nothing else was written");
}
