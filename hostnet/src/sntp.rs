//! How far this host's clock is off, asked from NTP servers (SNTP, RFC 4330 / RFC 5905 §14).
//!
//! It must never set the clock (callers do, with the right to), never believe an answer that is unsynchronised, refused,
//! too slow to be exact, or from before this program was built or long after, and never a great step on the word of one
//! server: nothing of SNTP is authenticated.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use rsntp::{AsyncSntpClient, Config, SynchronizationError};

/// The port that NTP servers listen on.
const NTP_PORT: u16 = 123;
/// How long to wait for a server's answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// How long to wait for names to be resolved: glibc's resolver itself gives up after 5 s per server.
const RESOLVE_LIMIT: Duration = Duration::from_secs(10);
/// An answer that took longer says too little: its error can be half of this.
const MAX_DELAY: f64 = 2.0;
/// 200 years after 1970: the protocol crate asserts that times lie before 2172.
const LATEST_CLOCK: Duration = Duration::from_hours(200 * 365 * 24);
/// The clock may be stepped while a packet is under way; a little below zero is rounding.
const MIN_DELAY: f64 = -0.01;
/// A system is replaced by a newer one long before this; certificates that were made with it hold three times as long.
pub const LATEST_AFTER_BUILD: Duration = Duration::from_hours(10 * 365 * 24);
/// Seconds by which a clock may be put right on the word of one server. A clock that ran without power for a while is off
/// by less; more makes certificates look expired, or not valid yet.
pub const GREAT_STEP: f64 = 3600.0;
/// Seconds by which two servers that agree may differ.
const AGREEMENT: f64 = 5.0;
/// How many addresses of one name are asked before the next name.
const ADDRESSES_PER_NAME: usize = 2;

/// A server's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The server as it was configured.
    pub server: String,
    /// The address that answered.
    pub address: SocketAddr,
    /// Seconds to add to this host's clock; negative when it is fast.
    pub offset: f64,
    /// Seconds of the way there and back.
    pub delay: f64,
    /// Distance of the server from a reference clock, 1 to 15.
    pub stratum: u8,
}

impl Measurement {
    /// What the clock should show now, or none if that cannot be represented.
    pub fn corrected(&self, now: SystemTime) -> Option<SystemTime> {
        shift(now, self.offset)
    }
}

/// Why a server's answer was not used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to ask for the time: no server is configured")]
    NoServer,
    #[error("failed to resolve time server {server}")]
    Resolve {
        /// The server as it was configured.
        server: String,
        source: std::io::Error,
    },
    /// No usable answer: none in time, not synchronised, told to go away, malformed.
    #[error("failed to get the time from {server} ({address})")]
    Query {
        /// The server as it was configured.
        server: String,
        address: SocketAddr,
        source: SynchronizationError,
    },
    /// The answer took too long, or less than no time.
    #[error("failed to trust the time of {server}: the answer took {delay:.3} s")]
    Delay {
        /// The server as it was configured.
        server: String,
        /// Seconds of the way there and back.
        delay: f64,
    },
    /// This host's clock shows a time that NTP cannot express.
    #[error("failed to ask for the time: this clock shows a year before 1970 or after 2170")]
    LocalClock,
    #[error("failed to trust the time of {server}: it lies before this system was built")]
    BeforeBuild {
        /// The server as it was configured.
        server: String,
    },
    /// The time is after the end of this program's life.
    #[error("failed to trust the time of {server}: it lies more than ten years after this system was built")]
    TooLate {
        /// The server as it was configured.
        server: String,
    },
    /// A great step, and no other server to confirm it.
    #[error("failed to trust the time of {server} alone: it would move the clock by {offset:.0} s")]
    Alone {
        /// The server as it was configured.
        server: String,
        /// Seconds to add to this host's clock.
        offset: f64,
    },
    /// Great steps, and each server says another.
    #[error(
        "failed to trust the time of {server}: it would move the clock by {offset:.0} s, and other servers disagree"
    )]
    Disagreement {
        /// The first server, as it was configured.
        server: String,
        /// Seconds to add to this host's clock, as it says.
        offset: f64,
    },
}

impl Error {
    /// Whether the server asked not to be asked again (kiss of death, RFC 4330 §8).
    pub fn is_kiss_of_death(&self) -> bool {
        matches!(self, Self::Query { source, .. } if source.is_kiss_of_death())
    }

    /// Whether servers answered, but a great step lacks a second one that agrees.
    pub fn is_unconfirmed(&self) -> bool {
        matches!(self, Self::Alone { .. } | Self::Disagreement { .. })
    }
}

/// Asks the servers (names or addresses) in order until one answers soundly; times before `built` or long after are
/// bogus. More than [`GREAT_STEP`] is believed only when two servers agree on it.
///
/// # Errors
/// The last server's, when none answered soundly; [`Error::Alone`] and [`Error::Disagreement`] for a great step.
pub async fn query(servers: &[String], built: SystemTime) -> Result<Measurement, Error> {
    let servers: Vec<_> = servers.iter().map(|server| (server.as_str(), NTP_PORT)).collect();
    query_all(&servers, built).await
}

async fn query_all(servers: &[(&str, u16)], built: SystemTime) -> Result<Measurement, Error> {
    let (mut last, mut doubtful) = (Error::NoServer, Vec::<Measurement>::new());
    for &(server, port) in servers {
        let addresses = match resolve(server, port).await {
            Ok(addresses) => addresses,
            Err(error) => {
                last = not_used(server, error);
                continue;
            }
        };
        for address in addresses {
            // The same host under two names is one server.
            if doubtful.iter().any(|earlier| earlier.address == address) {
                continue;
            }
            match query_address(server, address, built).await {
                Ok(measured) if measured.offset.abs() <= GREAT_STEP => return Ok(measured),
                Ok(measured) => {
                    let agrees =
                        |earlier: &&Measurement| (earlier.offset - measured.offset).abs() <= AGREEMENT;
                    if let Some(first) = doubtful.iter().find(agrees) {
                        return Ok(first.clone());
                    }
                    doubtful.push(measured);
                }
                Err(error) => last = not_used(server, error),
            }
        }
    }
    Err(verdict(doubtful, last))
}

fn not_used(server: &str, error: Error) -> Error {
    tracing::debug!(%server, error = %bloomery_base::chain(&error), "time server not used");
    error
}

/// The error to report when no answer was believed.
fn verdict(doubtful: Vec<Measurement>, last: Error) -> Error {
    let is_alone = doubtful.len() == 1;
    match doubtful.into_iter().next() {
        None => last,
        Some(Measurement { server, offset, .. }) if is_alone => Error::Alone { server, offset },
        Some(Measurement { server, offset, .. }) => Error::Disagreement { server, offset },
    }
}

async fn resolve(server: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let failed = |source| Error::Resolve { server: server.to_owned(), source };
    let lookup = tokio::net::lookup_host((server, port));
    let addresses: Vec<SocketAddr> = match tokio::time::timeout(RESOLVE_LIMIT, lookup).await {
        Ok(found) => found.map_err(failed)?.take(ADDRESSES_PER_NAME).collect(),
        Err(_elapsed) => return Err(failed(std::io::ErrorKind::TimedOut.into())),
    };
    if addresses.is_empty() {
        return Err(failed(std::io::Error::other("the name has no address")));
    }
    Ok(addresses)
}

async fn query_address(server: &str, address: SocketAddr, built: SystemTime) -> Result<Measurement, Error> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    if since_1970.is_err() || since_1970.is_ok_and(|age| age > LATEST_CLOCK) {
        return Err(Error::LocalClock);
    }
    let any: SocketAddr = if address.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let client = AsyncSntpClient::with_config(Config::default().bind_address(any).timeout(ANSWER_LIMIT));
    let answer = client.synchronize(address).await.map_err(|source| Error::Query {
        server: server.to_owned(),
        address,
        source,
    })?;
    let measurement = Measurement {
        server: server.to_owned(),
        address,
        offset: answer.clock_offset().as_secs_f64(),
        delay: answer.round_trip_delay().as_secs_f64(),
        stratum: answer.stratum(),
    };
    check(measurement, SystemTime::now(), built)
}

/// The sanity checks that the protocol itself does not ask for.
fn check(measurement: Measurement, now: SystemTime, built: SystemTime) -> Result<Measurement, Error> {
    let server = || measurement.server.clone();
    if !(MIN_DELAY..=MAX_DELAY).contains(&measurement.delay) {
        return Err(Error::Delay { server: server(), delay: measurement.delay });
    }
    match measurement.corrected(now) {
        Some(corrected) if corrected < built => Err(Error::BeforeBuild { server: server() }),
        Some(corrected) if corrected <= built + LATEST_AFTER_BUILD => Ok(measurement),
        None if measurement.offset < 0.0 => Err(Error::BeforeBuild { server: server() }),
        Some(_) | None => Err(Error::TooLate { server: server() }),
    }
}

fn shift(time: SystemTime, seconds: f64) -> Option<SystemTime> {
    let distance = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    if seconds < 0.0 { time.checked_sub(distance) } else { time.checked_add(distance) }
}

#[cfg(test)]
#[path = "sntp/tests.rs"]
mod tests;
