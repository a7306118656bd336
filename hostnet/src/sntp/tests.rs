//! Against a real UDP server on loopback.

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;

use super::*;

/// Seconds between the NTP and the Unix epoch.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// How a server misbehaves.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// A right one, with the clock ahead by this many seconds.
    Ahead(i64),
    Stratum(u8),
    NotSynchronised,
    /// For another question.
    Foreign,
    Short,
    Never,
}

/// Answers one question on loopback; gives the port.
async fn server(answer: Answer) -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut question = [0; 48];
        let (_, peer) = socket.recv_from(&mut question).await.unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut seconds = now.as_secs() + NTP_TO_UNIX;
        let (mut first, mut stratum, mut length) = (0x24, 2, 48);
        let mut original: [u8; 8] = question[40..48].try_into().unwrap();
        match answer {
            Answer::Ahead(offset) => seconds = seconds.checked_add_signed(offset).unwrap(),
            Answer::Stratum(value) => stratum = value,
            Answer::NotSynchronised => first |= 0xc0,
            Answer::Foreign => original[7] ^= 1,
            Answer::Short => length = 40,
            Answer::Never => return,
        }
        let fraction = u32::try_from((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000).unwrap();
        let mut time = u32::try_from(seconds & 0xffff_ffff).unwrap().to_be_bytes().to_vec();
        time.extend_from_slice(&fraction.to_be_bytes());
        let mut reply = vec![first, stratum, 0, 0];
        reply.extend_from_slice(&[0; 8]);
        reply.extend_from_slice(b"RATE");
        for field in [&time[..], &original, &time, &time] {
            reply.extend_from_slice(field);
        }
        socket.send_to(&reply[..length], peer).await.unwrap();
    });
    port
}

fn built() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

#[tokio::test]
async fn measures_the_offset_of_a_sound_server() {
    let port = server(Answer::Ahead(3600)).await;
    let measured = query_server("127.0.0.1", port, built()).await.unwrap();
    assert!((measured.offset - 3600.0).abs() < 2.0, "{measured:?}");
    assert!((0.0..2.0).contains(&measured.delay), "{measured:?}");
    assert_eq!(measured.stratum, 2);
    let now = SystemTime::now();
    let ahead = measured.corrected(now).unwrap().duration_since(now).unwrap();
    assert!((ahead.as_secs_f64() - 3600.0).abs() < 2.0, "{ahead:?}");
}

#[tokio::test]
async fn names_are_resolved() {
    let port = server(Answer::Ahead(0)).await;
    assert!(query_server("localhost", port, built()).await.is_ok());
}

#[tokio::test]
async fn unsound_answers_are_refused() {
    for answer in [
        Answer::Stratum(0),
        Answer::Stratum(16),
        Answer::NotSynchronised,
        Answer::Foreign,
        Answer::Short,
        Answer::Never,
    ] {
        let port = server(answer).await;
        let error = query_server("127.0.0.1", port, built()).await.unwrap_err();
        assert!(matches!(error, Error::Query { .. }), "{answer:?}: {error:?}");
        assert_eq!(error.is_kiss_of_death(), matches!(answer, Answer::Stratum(0)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_time_before_the_build_is_refused() {
    let port = server(Answer::Ahead(-1_000_000_000)).await;
    let error = query_server("127.0.0.1", port, built()).await.unwrap_err();
    assert!(matches!(error, Error::BeforeBuild { .. }), "{error:?}");
}

#[test]
fn a_slow_or_impossible_answer_is_refused() {
    let measured = |delay| Measurement {
        server: "ntp".to_owned(),
        address: ([127, 0, 0, 1], 123).into(),
        offset: 0.0,
        delay,
        stratum: 1,
    };
    for delay in [-1.0, 2.5, f64::NAN, f64::INFINITY] {
        let outcome = check(measured(delay), SystemTime::now(), built());
        assert!(matches!(outcome, Err(Error::Delay { .. })), "{delay}");
    }
    assert!(check(measured(0.1), SystemTime::now(), built()).is_ok());
    for offset in [f64::NAN, f64::INFINITY, -1e30, 1e30] {
        let outcome = check(Measurement { offset, ..measured(0.1) }, SystemTime::now(), built());
        assert!(matches!(outcome, Err(Error::BeforeBuild { .. })), "{offset}");
    }
}

#[tokio::test]
async fn nothing_configured_and_nothing_resolved_are_told_apart() {
    assert!(matches!(query(&[], built()).await, Err(Error::NoServer)));
    let nowhere = "no-such-host.invalid".to_owned();
    assert!(matches!(query(&[nowhere], built()).await, Err(Error::Resolve { .. })));
}
