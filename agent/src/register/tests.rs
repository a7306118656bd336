//! Against a real gRPC server on loopback: away, up, refusing, slow, and not a plane at all.

use std::sync::Arc;
use std::time::Duration;

use bloomery_agent_api::CreateServerResponse;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tonic::Status;

use super::*;
use crate::fake_plane::{FakePlane, UUID, any_port, inventory, limit};
use crate::orders::Answer;
use crate::token::Token;

/// A machine that does nothing about any order.
struct Idle;

impl Act for Idle {
    async fn act(&mut self, _: Inventory, _: Orders) -> After {
        After::Rest
    }
}

fn pace() -> Pace {
    Pace {
        first_retry: Duration::from_millis(10),
        longest_retry: Duration::from_millis(40),
        repeat: Duration::from_millis(10),
    }
}

async fn next(reports: &mut mpsc::Receiver<Report>) -> Report {
    tokio::time::timeout(limit(), reports.recv()).await.expect("a report in time").expect("the loop goes on")
}

fn start(endpoint: String, pace: Pace) -> mpsc::Receiver<Report> {
    let (sender, reports) = mpsc::channel(1);
    tokio::spawn(async move {
        let read = || async { inventory(UUID) };
        let plane = Plane { endpoint, token: None, fingerprint: None };
        keep_registered(&plane, pace, || "m1".to_owned(), read, sender, &mut Idle).await;
    });
    reports
}

#[tokio::test]
async fn tells_the_plane_hardware_hostname_and_addresses() {
    let plane = FakePlane::default();
    let address = plane.serve(any_port()).await;
    let answer = register(&address, "m1", &inventory(UUID)).await.unwrap().answer;
    assert_eq!(answer, Answer::default());
    assert_eq!(
        plane.told(),
        [format!("create {UUID} m1"), format!("addresses {UUID} InternalIP=10.0.0.5,InternalIP=fd00::5"),]
    );
}

#[tokio::test]
async fn keeps_trying_until_the_plane_is_there_and_then_keeps_telling() {
    // A port that was free a moment ago stands for a plane that is not up yet.
    let address = TcpListener::bind(any_port()).await.unwrap().local_addr().unwrap();
    let mut reports = start(address.to_string(), pace());
    for expected in 1..=3 {
        let Report::Failed { error, attempt, retry_in } = next(&mut reports).await else {
            panic!("registered")
        };
        assert!(matches!(error, Error::Connect { .. }), "{error:?}");
        assert!(error.advice().contains("nothing listens on that port"), "{}", error.advice());
        assert_eq!(attempt, expected);
        assert!(retry_in <= Duration::from_millis(80), "{retry_in:?}");
    }
    let plane = FakePlane::default();
    plane.serve(address).await;
    while !matches!(next(&mut reports).await, Report::Registered { .. }) {}
    for _ in 0..3 {
        assert!(matches!(next(&mut reports).await, Report::Registered { .. }));
    }
    let created = plane.told().iter().filter(|call| call.starts_with("create")).count();
    assert!(created >= 4, "{:?}", plane.told());
}

#[tokio::test]
async fn shows_what_a_refusing_plane_said_and_goes_on() {
    let plane = FakePlane::default();
    plane.answers.lock().unwrap().push_back(Err(Status::unknown("servers.metal.sidero.dev is forbidden")));
    let address = plane.serve(any_port()).await;
    let mut reports = start(address.endpoint, pace());
    let Report::Failed { error, .. } = next(&mut reports).await else { panic!("registered") };
    assert!(error.to_string().starts_with("failed to call CreateServer at 127.0.0.1:"), "{error}");
    assert!(error.to_string().ends_with("(servers.metal.sidero.dev is forbidden)"), "{error}");
    assert!(matches!(next(&mut reports).await, Report::Registered { .. }));
}

#[tokio::test]
async fn registering_hands_orders_on_and_follows_none() {
    let plane = FakePlane::default();
    let wish = CreateServerResponse { wipe: true, setup_bmc: true, ..CreateServerResponse::default() };
    plane.answers.lock().unwrap().push_back(Ok(wish));
    let address = plane.serve(any_port()).await;
    let orders = register(&address, "", &inventory(UUID)).await.unwrap();
    assert!(orders.answer.wipe.is_some() && orders.answer.setup_bmc);
    assert_eq!(plane.told().len(), 2, "{:?}", plane.told());
    assert!(plane.told().iter().all(|call| call.starts_with("create") || call.starts_with("addresses")));
}

#[tokio::test]
async fn addresses_that_the_plane_took_are_not_told_again() {
    let plane = FakePlane::default();
    let taken = CreateServerResponse { addresses_taken: true, ..CreateServerResponse::default() };
    plane.answers.lock().unwrap().push_back(Ok(taken));
    let address = plane.serve(any_port()).await;
    register(&address, "", &inventory(UUID)).await.unwrap();
    assert_eq!(plane.told().len(), 1, "{:?}", plane.told());
}

#[tokio::test]
async fn the_token_goes_with_every_call_and_none_where_there_is_none() {
    let fake = FakePlane::default();
    let mut plane = fake.serve(any_port()).await;
    register(&plane, "", &inventory(UUID)).await.unwrap();
    assert_eq!(*fake.tokens.lock().unwrap(), [None, None]);
    plane.token = Token::new("AQID-_");
    register(&plane, "", &inventory(UUID)).await.unwrap();
    plane.heartbeat(UUID, Vec::new(), limit()).await.unwrap();
    plane.mark_as_wiped(UUID, &[], b"order").await.unwrap();
    plane.update_bmc_info(UUID, &bloomery_agent_api::BmcInfo::default()).await.unwrap();
    let tokens = fake.tokens.lock().unwrap().split_off(2);
    assert_eq!(tokens, vec![Some("AQID-_".to_owned()); 5]);
    assert!(!format!("{plane:?}").contains("AQID"));
}

#[tokio::test]
async fn gives_up_a_call_that_is_never_answered() {
    let arrived = Arc::new(Notify::new());
    let plane = FakePlane { hang: Some(arrived.clone()), ..FakePlane::default() };
    let endpoint = plane.serve(any_port()).await;
    let inventory = inventory(UUID);
    let registering = register(&endpoint, "", &inventory);
    tokio::pin!(registering);
    tokio::select! {
        outcome = &mut registering => panic!("{outcome:?}"),
        () = arrived.notified() => {}
    }
    // The call is under way: from here on only the limit can end it, and the clock leaps to it.
    tokio::time::pause();
    let error = registering.await.unwrap_err();
    assert!(matches!(error, Error::Silent { method: "CreateServer", .. }), "{error:?}");
}

#[tokio::test]
async fn a_web_server_in_the_planes_place_is_an_error_with_advice() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    let error = register(
        &Plane { endpoint: address.to_string(), token: None, fingerprint: None },
        "",
        &inventory(UUID),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, Error::Call { .. } | Error::Connect { .. }), "{error:?}");
    assert!(!error.advice().is_empty());
}

#[tokio::test]
async fn a_machine_without_identity_is_not_registered() {
    let plane = FakePlane::default();
    let address = plane.serve(any_port()).await;
    let error = register(&address, "", &inventory("")).await.unwrap_err();
    assert!(matches!(error, Error::NoIdentity), "{error:?}");
    assert_eq!(plane.told(), [""; 0]);
}
