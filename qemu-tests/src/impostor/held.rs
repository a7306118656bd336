//! Connections that ask for nothing, and messages that never end.

use super::{Stage, wire::Way};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::sleep,
};

/// Half-open connections that are wanted: more than the descriptors that a kernel gives a process by default.
const HALF_OPEN: u32 = 1400;
/// One of so many is over IPv6: all addresses of the link are one network, and share what one may have.
const V6_EVERY: u32 = 12;
/// Between the first attempts of two of them.
const STAGGER: Duration = Duration::from_millis(4);
/// Until one that was closed is opened again.
const PAUSE: Duration = Duration::from_secs(8);
/// The beginning of a request.
const HALF: &[u8] = b"GET /boot.ip";
/// Connections with messages that never end.
const ENDLESS: u32 = 24;
/// Messages of one connection.
const STREAMS: u32 = 16;
/// Octets that a message is said to have.
const SAID: u32 = 1 << 20;
/// Octets of it that come in each pause.
const DRIP: usize = 2000;
const DRIP_EVERY: Duration = Duration::from_millis(400);
/// Begins HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types and a flag of its frames (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;

/// Opens them.
pub(super) fn spawn(stage: &Arc<Stage>, tasks: &mut JoinSet<()>) {
    let (v6, v4): (Vec<Way>, Vec<Way>) = stage.ways().into_iter().partition(|way| way.family() == "v6");
    let holders: Vec<Way> = stage.order.holders.iter().map(|from| stage.way_from(*from)).collect();
    let all = if holders.is_empty() { v4 } else { holders };
    let spread = |number: u32| {
        let ways = if number.is_multiple_of(V6_EVERY) && !v6.is_empty() { &v6 } else { &all };
        ways[usize::try_from(number).unwrap_or_default() % ways.len()]
    };
    for number in 0..HALF_OPEN {
        let (stage, way) = (Arc::clone(stage), spread(number));
        tasks.spawn(async move {
            sleep(STAGGER * number).await;
            stage.repeat(PAUSE, |_| half_open(&stage, way)).await;
        });
    }
    for number in 0..ENDLESS {
        let (stage, way) = (Arc::clone(stage), spread(number));
        tasks.spawn(async move { stage.repeat(PAUSE, |_| endless(&stage, way)).await });
    }
}

async fn half_open(stage: &Stage, way: Way) {
    let Ok(mut stream) = way.connect().await else { return stage.count("half-open: refused", 1) };
    stage.count("half-open: connected", 1);
    if stream.write_all(HALF).await.is_ok() {
        // Ends when the plane closes it, or with the time.
        let _ = stream.read(&mut [0; 64]).await;
    }
}

async fn endless(stage: &Stage, way: Way) {
    let Ok(mut stream) = way.connect().await else { return stage.count("endless: refused", 1) };
    let mut begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let message = [&[0][..], &SAID.to_be_bytes(), &[7; DRIP]].concat();
    let fields = fields();
    for stream in (1..2 * STREAMS).step_by(2) {
        begin.extend(frame(HEADERS, END_HEADERS, stream, &fields));
        begin.extend(frame(DATA, 0, stream, &message));
    }
    stage.count("endless: begun", 1);
    if stream.write_all(&begin).await.is_err() {
        return;
    }
    // The plane closes it; until then it gets a little more.
    while stream.write_all(&frame(DATA, 0, 1, &[7; DRIP])).await.is_ok() {
        sleep(DRIP_EVERY).await;
    }
    stage.count("endless: ended by the plane", 1);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a call, without compression (RFC 7541 section 6.2.2).
fn fields() -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or_default()], text.as_bytes()].concat();
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/api.Agent/CreateServer"),
        (":authority", "plane"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}
