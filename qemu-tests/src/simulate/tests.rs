//! Whole simulations against a small plane on loopback that checks what the machines say.

mod plane;

use super::{
    config::{Config, Fetch, Firmware, Mix, Operate, Target, Until},
    fleet::{self, End, Summary},
};
use crate::eventually;
use plane::{Behaviour, Plane};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Everything here takes a second or two on an idle machine.
const LIMIT: Duration = Duration::from_mins(1);

fn config(plane: &Plane, first: u32, machines: u32) -> Config {
    Config {
        first,
        poll: Duration::from_millis(50),
        wipe: Duration::from_millis(600),
        heartbeat: Duration::from_millis(50),
        power_port: plane.power_port,
        until: Some(Until::Clean),
        limit: Some(crate::patience::scaled(LIMIT)),
        ..Config::new(machines, plane.target)
    }
}

async fn simulate(config: Config) -> Summary {
    fleet::run(config, |_| {}, std::future::pending()).await.expect("a simulation")
}

#[tokio::test]
async fn machines_of_every_firmware_register_are_wiped_and_show_their_token() {
    let plane = Plane::start(Behaviour { wipe: true, ..Behaviour::default() }).await;
    let mix: Mix = "bios,bios-undionly,uefi,uefi-http,arm64".parse().expect("a mix");
    let summary = simulate(Config { mix, ..config(&plane, 0, 10) }).await;
    assert_eq!(summary.end, End::Done, "{summary:?}");
    assert_eq!((summary.snapshot.registered, summary.snapshot.clean), (10, 10));
    assert!(summary.snapshot.errors.is_empty(), "{summary:?}");
    let seen = plane.seen();
    assert_eq!(seen.created.len(), 10, "each by its own UUID");
    assert_eq!(seen.wiped.len(), 10);
    assert!(seen.wiped.iter().all(|uuid| seen.heartbeats[uuid] >= 2), "{:?}", seen.heartbeats);
    assert_eq!(seen.refused, 0, "a call without the token of its boot");
    // Two of each kind; undionly asks a second time, as iPXE.
    assert_eq!(summary.snapshot.counts["offers"], 12);
    assert_eq!(seen.architectures.values().sum::<u32>(), 12);
    assert_eq!(seen.architectures[&16], 2);
    assert_eq!(seen.loaders, 6, "TFTP: undionly, snp and snp-arm64, twice each");
    assert_eq!(seen.addresses.len(), 10);
    assert!(summary.clean_at.is_some_and(|times| times.first >= 0.6));
}

#[tokio::test]
async fn a_plane_that_fails_at_first_is_asked_again_as_real_machines_do() {
    let behaviour = Behaviour { wipe: true, lost_offers: 1, failed_calls: 2, ..Behaviour::default() };
    let plane = Plane::start(behaviour).await;
    let mix: Mix = "bios".parse().expect("a mix");
    let summary = simulate(Config { mix, ..config(&plane, 250, 1) }).await;
    assert_eq!((summary.end, summary.snapshot.clean), (End::Done, 1), "{summary:?}");
    assert_eq!(summary.snapshot.errors["grpc-CreateServer-Unavailable"].count, 2);
    assert_eq!(summary.snapshot.counts["discovers"], 2);
}

#[tokio::test]
async fn a_restart_order_sends_the_machine_through_the_network_boot_again() {
    let plane = Plane::start(Behaviour { wipe: true, restarts: 1, ..Behaviour::default() }).await;
    let mix: Mix = "bios".parse().expect("a mix");
    let summary = simulate(Config { mix, fetch: Fetch::Heads, ..config(&plane, 500, 1) }).await;
    assert_eq!((summary.end, summary.snapshot.clean), (End::Done, 1), "{summary:?}");
    assert_eq!(summary.snapshot.counts["offers"], 2);
    assert_eq!(plane.seen().tokens.len(), 2, "a token for each boot");
}

#[tokio::test]
async fn the_power_api_stops_and_starts_the_machine_that_is_called() {
    let plane = Plane::start(Behaviour::default()).await;
    let config = Config { until: None, mix: "bios".parse().expect("a mix"), ..config(&plane, 750, 2) };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(fleet::run(config, |_| {}, async { drop(stopped.await) }));
    let [first, second] =
        [[127, 80, 3, 2], [127, 80, 3, 3]].map(|octets| SocketAddr::from((octets, plane.power_port)));
    eventually!("both are registered", LIMIT, None, async {
        Ok::<_, std::convert::Infallible>((plane.seen().created.len() == 2).then_some(()))
    })
    .expect("registration");
    assert_eq!(power(first, "GET", "/status").await, (200, "{\"PoweredOn\":true}\n".to_owned()));
    assert_eq!(power(first, "POST", "/poweroff").await.0, 200);
    assert!(power(first, "GET", "/status").await.1.contains("false"));
    assert!(power(second, "GET", "/status").await.1.contains("true"), "the other one runs on");
    let boots = plane.seen().tokens.len();
    assert_eq!(power(first, "POST", "/pxeboot").await.0, 200);
    assert_eq!(power(first, "POST", "/poweron").await.0, 200);
    assert_eq!(power(second, "POST", "/reboot").await.0, 200);
    eventually!("both boot again", LIMIT, None, async {
        Ok::<_, std::convert::Infallible>((plane.seen().tokens.len() == boots + 2).then_some(()))
    })
    .expect("two boots");
    assert_eq!(power(first, "POST", "/selfdestruct").await.0, 404);
    let _ = stop.send(());
    let summary = running.await.expect("no panic").expect("a summary");
    assert_eq!((summary.end, summary.snapshot.counts["powerCommands"]), (End::Stopped, 4));
}

#[tokio::test]
async fn time_runs_out_and_is_told() {
    let plane = Plane::start(Behaviour::default()).await;
    let summary =
        simulate(Config { limit: Some(Duration::from_millis(300)), ..config(&plane, 1000, 1) }).await;
    assert_eq!(summary.end, End::TimeOver);
    let json = serde_json::to_value(&summary).expect("JSON");
    assert_eq!((&json["end"], &json["machines"], &json["clean"]), (&"timeOver".into(), &1.into(), &0.into()));
}

#[tokio::test]
async fn a_machine_never_leaves_its_plane() {
    let plane = Plane::start(Behaviour { sends_elsewhere: true, ..Behaviour::default() }).await;
    let mix: Mix = "uefi-http".parse().expect("a mix");
    let limit = Some(Duration::from_millis(500));
    let summary = simulate(Config { mix, limit, ..config(&plane, 1250, 1) }).await;
    assert_eq!(summary.snapshot.errors["elsewhere"].count, 1, "{summary:?}");
    let public = Config::new(1, Target::new(Ipv4Addr::new(192, 0, 2, 1)));
    let error = fleet::run(public, |_| {}, std::future::pending()).await.expect_err("no lab");
    assert!(error.to_string().contains("only a plane on loopback"), "{error:#}");
}

#[tokio::test]
async fn a_kubeconfig_that_is_none_is_told_before_anything_is_sent() {
    let plane = Plane::start(Behaviour::default()).await;
    let operate =
        Operate { kubeconfig: "nonsense".to_owned(), server: None, accept: true, management_api: true };
    let config = Config { operate: Some(operate), ..config(&plane, 1500, 1) };
    let error = fleet::run(config, |_| {}, std::future::pending()).await.expect_err("no kubeconfig");
    assert!(error.to_string().contains("kubeconfig"), "{error:#}");
    assert!(plane.seen().architectures.is_empty());
}

#[test]
fn every_firmware_has_a_name_of_its_own() {
    for firmware in Firmware::ALL {
        assert_eq!(firmware.name().parse::<Mix>().expect("a mix").of(3), firmware);
    }
}

/// One request to a power API.
async fn power(at: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(at).await.expect("a connection");
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
