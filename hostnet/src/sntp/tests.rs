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

/// A year before the test is run.
fn built() -> SystemTime {
    SystemTime::now() - Duration::from_hours(365 * 24)
}

/// Asks one server.
async fn query_server(server: &str, port: u16, built: SystemTime) -> Result<Measurement, Error> {
    query_all(&[(server, port)], built).await
}

#[tokio::test]
async fn measures_the_offset_of_a_sound_server() {
    let port = server(Answer::Ahead(3500)).await;
    let measured = query_server("127.0.0.1", port, built()).await.unwrap();
    assert!((measured.offset - 3500.0).abs() < 2.0, "{measured:?}");
    assert!((0.0..2.0).contains(&measured.delay), "{measured:?}");
    assert_eq!(measured.stratum, 2);
    let now = SystemTime::now();
    let ahead = measured.corrected(now).unwrap().duration_since(now).unwrap();
    assert!((ahead.as_secs_f64() - 3500.0).abs() < 2.0, "{ahead:?}");
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
    for offset in [f64::NAN, f64::INFINITY, 1e30, 20.0 * 365.0 * 86_400.0] {
        let outcome = check(Measurement { offset, ..measured(0.1) }, SystemTime::now(), built());
        assert!(matches!(outcome, Err(Error::TooLate { .. })), "{offset}");
    }
    for offset in [f64::NEG_INFINITY, -1e30, -3.0 * 365.0 * 86_400.0] {
        let outcome = check(Measurement { offset, ..measured(0.1) }, SystemTime::now(), built());
        assert!(matches!(outcome, Err(Error::BeforeBuild { .. })), "{offset}");
    }
}

/// Finding 20: one forged answer must not put the clock behind the end of certificates.
#[tokio::test]
async fn a_time_long_after_the_build_is_refused_however_many_servers_say_so() {
    let twenty_years = 20 * 365 * 86_400;
    let (one, two) = (server(Answer::Ahead(twenty_years)).await, server(Answer::Ahead(twenty_years)).await);
    let error = query_all(&[("127.0.0.1", one), ("127.0.0.1", two)], built()).await.unwrap_err();
    assert!(matches!(error, Error::TooLate { .. }), "{error:?}");
}

#[tokio::test]
async fn a_great_step_needs_two_servers_that_agree() {
    const YEAR: i64 = 365 * 86_400;
    for (answers, expected) in [
        (&[YEAR, YEAR][..], Ok(YEAR)),
        (&[YEAR, 2 * YEAR, YEAR + 2], Ok(YEAR)),
        // A server that finds the clock right is believed: that moves nothing.
        (&[YEAR, 3], Ok(3)),
        (&[YEAR], Err("alone")),
        (&[-YEAR / 2], Err("alone")),
        (&[YEAR, YEAR + 60], Err("disagree")),
        (&[YEAR, 2 * YEAR, 3 * YEAR], Err("disagree")),
    ] {
        let mut servers = Vec::new();
        for offset in answers {
            servers.push(("127.0.0.1", server(Answer::Ahead(*offset)).await));
        }
        match (query_all(&servers, built()).await, expected) {
            #[allow(clippy::cast_precision_loss, reason = "some years of seconds are exact")]
            (Ok(measured), Ok(offset)) => {
                assert!((measured.offset - offset as f64).abs() < 3.0, "{answers:?}: {measured:?}");
            }
            (Err(error), Err(why)) => {
                assert!(error.is_unconfirmed() && error.to_string().contains(why), "{answers:?}: {error}");
            }
            (got, _) => panic!("{answers:?}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_confirms_nothing() {
    let (one, two) = (server(Answer::Ahead(1_000_000)).await, server(Answer::Stratum(0)).await);
    let error = query_all(&[("127.0.0.1", one), ("127.0.0.1", two)], built()).await.unwrap_err();
    assert!(matches!(error, Error::Alone { .. }), "{error:?}");
}

#[tokio::test]
async fn nothing_configured_and_nothing_resolved_are_told_apart() {
    assert!(matches!(query(&[], built()).await, Err(Error::NoServer)));
    let nowhere = "no-such-host.invalid".to_owned();
    assert!(matches!(query(&[nowhere], built()).await, Err(Error::Resolve { .. })));
}
