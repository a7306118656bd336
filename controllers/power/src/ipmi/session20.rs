//! The log-in to a session of RMCP+, and its packets.
//!
//! Never accepts a packet of the session that is not encrypted and authenticated, and never a weaker cipher suite
//! than it asked for.

use super::commands::{
    SET_ADMINISTRATOR, auth_capabilities, cipher_suites, cipher_suites_data, parse_auth_capabilities,
    parse_cipher_suites,
};
use super::error::{Error, ParseError};
use super::link::{Constant, Link};
use super::rakp::{Exchange, open_session_request, parse_open_session_response, parse_rakp2, parse_rakp4};
use super::rmcp_plus::{PayloadType, open_packet, open_plain, plain_packet, seal};
use super::session::{Credentials, Session, Wire};
use super::sessionless;
use super::suite::{Keys, Suite};
use crate::identity::Guid;

/// Longest user name and password.
const MAX_NAME: usize = 16;
const MAX_PASSWORD: usize = 20;
/// Records come 16 bytes at a time, in at most 64 parts.
const RECORDS_PART: usize = 16;
const MAX_PARTS: u8 = 64;
/// Without a list: suite 3 is the one all BMCs have to have.
const GUESSED: [Suite; 2] = [Suite::Three, Suite::Seventeen];

/// How packets of the session are sealed.
#[derive(Debug)]
struct RmcpPlus {
    keys: Keys,
    console: u32,
    bmc: u32,
    /// Of RAKP message 2, whose code covers it.
    guid: Guid,
}

impl Wire for RmcpPlus {
    fn id(&self) -> u32 {
        self.bmc
    }

    fn guid(&self) -> Option<Guid> {
        Some(self.guid)
    }

    fn seal(&self, sequence: u32, message: &[u8]) -> Vec<u8> {
        seal(&self.keys, self.bmc, sequence, message, rand::random())
    }

    fn open(&self, packet: &[u8]) -> Result<Option<(u32, Vec<u8>)>, ParseError> {
        open_packet(&self.keys, self.console, packet).map(Some)
    }
}

/// Logs in as administrator.
pub(super) async fn open(link: Link, credentials: &Credentials) -> Result<Session, Error> {
    credentials.within(MAX_NAME, MAX_PASSWORD)?;
    for suite in offered_suites(&link).await? {
        match log_in(&link, suite, credentials).await {
            Ok(wire) => {
                let mut session = Session::new(link, wire, 1);
                session.command(SET_ADMINISTRATOR).await?;
                return Ok(session);
            }
            Err(error) if refuses_suite(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::NoSuite)
}

/// The cipher suites to try, the best first.
async fn offered_suites(link: &Link) -> Result<Vec<Suite>, Error> {
    let request = auth_capabilities(true);
    match sessionless::ask(link, 0, request).await {
        Ok(data) => {
            let offered = parse_auth_capabilities(&data)
                .map_err(|source| Error::Answer { step: request.step, source })?;
            if offered.v2 != Some(true) {
                return Err(Error::OnlyV15);
            }
        }
        // Some BMCs refuse the question and open a session all the same.
        Err(Error::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut records = Vec::new();
    for index in 0..MAX_PARTS {
        let data = match sessionless::ask(link, index, cipher_suites(&cipher_suites_data(index))).await {
            Ok(data) => data,
            Err(Error::Refused { .. }) => break,
            Err(error) => return Err(error),
        };
        // The channel number comes first.
        let part = data.get(1..).unwrap_or_default();
        records.extend(part);
        if part.len() < RECORDS_PART {
            break;
        }
    }
    match parse_cipher_suites(&records) {
        _ if records.is_empty() => Ok(GUESSED.to_vec()),
        suites if suites.is_empty() => Err(Error::NoSuite),
        suites => Ok(suites),
    }
}

/// The BMC does not want this suite (statuses of table 13-15 about algorithms).
const fn refuses_suite(error: &Error) -> bool {
    matches!(error, Error::Login { status: 0x04 | 0x05 | 0x10 | 0x11, .. })
}

/// Log-ins that are tried where the network may be at fault.
const LOG_INS: u32 = 5;
/// Log-ins that are tried where the password seems wrong: a packet that was corrupted or came twice looks the same, but
/// BMCs lock users out who are wrong too often.
const WRONG_LOG_INS: u32 = 2;
/// RAKP message 3 is sent twice: when its answer was lost, the BMC considers the session open and answers it no more.
const RAKP3_TRIES: u32 = 2;

/// Logs in; starts again when it failed half way.
async fn log_in(link: &Link, suite: Suite, credentials: &Credentials) -> Result<RmcpPlus, Error> {
    let mut wrong = 0;
    for _ in 1..LOG_INS {
        match try_log_in(link, suite, credentials).await {
            Err(error @ (Error::Password | Error::Login { .. })) if !refuses_suite(&error) => {
                wrong += 1;
                if wrong >= WRONG_LOG_INS {
                    return Err(error);
                }
            }
            Err(Error::Silent { step: THIRD, .. } | Error::Nonsense { step: THIRD, .. }) => {}
            result => return result,
        }
    }
    try_log_in(link, suite, credentials).await
}

async fn try_log_in(link: &Link, suite: Suite, credentials: &Credentials) -> Result<RmcpPlus, Error> {
    let (user, password) = credentials.within(MAX_NAME, MAX_PASSWORD)?;
    let console = rand::random::<u32>() | 1;
    let bmc = open_session(link, suite, console).await?;
    let exchange = Exchange { suite, console, bmc, random: rand::random(), user, password };
    let (keys, guid) = exchange_keys(link, &exchange).await?;
    Ok(RmcpPlus { keys, console, bmc, guid })
}

/// Whether an answer is to us: by our session id, or by the tag alone when it refuses without one.
const fn is_ours(tag: u8, console: u32, expected: (u8, u32), status: u8) -> bool {
    tag == expected.0 && (console == expected.1 || (status != 0 && console == 0))
}

/// Open Session; gives the BMC's session id.
async fn open_session(link: &Link, suite: Suite, console: u32) -> Result<u32, Error> {
    const STEP: &str = "RMCP+ Open Session";
    let tag = rand::random();
    let request = plain_packet(PayloadType::OpenSessionRequest, &open_session_request(tag, suite, console));
    let answer = link
        .exchange(
            STEP,
            Constant::new(request.clone(), |bytes| {
                let answer =
                    parse_open_session_response(open_plain(bytes, PayloadType::OpenSessionResponse)?)?;
                Ok(is_ours(answer.tag, answer.console, (tag, console), answer.status).then_some(answer))
            }),
        )
        .await?;
    if answer.status != 0 {
        return Err(Error::Login { step: STEP, status: answer.status });
    }
    if answer.algorithms != suite.algorithms() {
        return Err(Error::NoSuite);
    }
    Ok(answer.bmc)
}

/// The step after which the BMC may consider the session open, whether or not we hear of it.
const THIRD: &str = "RAKP message 3";

/// RAKP messages 1 to 4; gives the keys and the BMC's GUID.
async fn exchange_keys(link: &Link, exchange: &Exchange<'_>) -> Result<(Keys, Guid), Error> {
    const FIRST: &str = "RAKP message 1";
    let tag: u8 = rand::random();
    let expected = (tag, exchange.console);
    let first = plain_packet(PayloadType::Rakp1, &exchange.rakp1(tag));
    let payload = link
        .exchange(
            FIRST,
            Constant::new(first.clone(), |bytes| {
                let payload = open_plain(bytes, PayloadType::Rakp2)?;
                let answer = parse_rakp2(payload)?;
                Ok(is_ours(answer.tag, answer.console, expected, answer.status).then(|| payload.to_vec()))
            }),
        )
        .await?;
    let second = parse_rakp2(&payload).map_err(|source| Error::Answer { step: FIRST, source })?;
    if second.status != 0 {
        return Err(Error::Login { step: FIRST, status: second.status });
    }
    if !exchange.proves_password(&second) {
        link.send_and_forget(&plain_packet(PayloadType::Rakp3, &exchange.rakp3_refusal(tag)));
        return Err(Error::Password);
    }

    let third = plain_packet(PayloadType::Rakp3, &exchange.rakp3(tag, &second));
    let (status, keys) = link
        .exchange_at_most(
            RAKP3_TRIES,
            THIRD,
            Constant::new(third.clone(), |bytes| {
                let fourth = parse_rakp4(open_plain(bytes, PayloadType::Rakp4)?)?;
                if !is_ours(fourth.tag, fourth.console, expected, fourth.status) {
                    return Ok(None);
                }
                if fourth.status != 0 {
                    return Ok(Some((fourth.status, None)));
                }
                Ok(Some((0, Some(exchange.keys(&second, &fourth)?))))
            }),
        )
        .await?;
    let keys = keys.ok_or(Error::Login { step: THIRD, status })?;
    Ok((keys, Guid::new(second.guid)))
}
