//! How far this host's clock is off, asked from NTP servers (SNTP, RFC 4330 / RFC 5905 §14).
//!
//! It must never set the clock (callers do, with the right to), and never believe an answer that is
//! unsynchronised, refused, too slow to be exact, or from before this program was built.

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
/// How many addresses of one name are asked before the next name.
const ADDRESSES_PER_NAME: usize = 2;

/// What a server said.
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
pub enum Error {
    /// No server was named.
    #[error("failed to ask for the time: no server is configured")]
    NoServer,
    /// The name has no address.
    #[error("failed to resolve time server {server}")]
    Resolve {
        /// The server as it was configured.
        server: String,
        /// The resolver's reason.
        #[source]
        source: std::io::Error,
    },
    /// No usable answer: none in time, not synchronised, told to go away, malformed.
    #[error("failed to get the time from {server} ({address})")]
    Query {
        /// The server as it was configured.
        server: String,
        /// The address asked.
        address: SocketAddr,
        /// What was wrong.
        #[source]
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
    /// The time is before this program was built.
    #[error("failed to trust the time of {server}: it lies before this system was built")]
    BeforeBuild {
        /// The server as it was configured.
        server: String,
    },
}

impl Error {
    /// Whether the server asked not to be asked again (kiss of death, RFC 4330 §8).
    pub fn is_kiss_of_death(&self) -> bool {
        matches!(self, Self::Query { source, .. } if source.is_kiss_of_death())
    }
}

/// Asks the servers (names or addresses) in order until one answers soundly; times before `built` are bogus.
///
/// # Errors
/// The last server's, when none answered soundly.
pub async fn query(servers: &[String], built: SystemTime) -> Result<Measurement, Error> {
    let mut last = Error::NoServer;
    for server in servers {
        match query_server(server, NTP_PORT, built).await {
            Ok(measurement) => return Ok(measurement),
            Err(error) => {
                tracing::debug!(%server, error = %crate::network::chain(&error), "time server not used");
                last = error;
            }
        }
    }
    Err(last)
}

/// Asks one server on a port of the caller's choice.
pub async fn query_server(server: &str, port: u16, built: SystemTime) -> Result<Measurement, Error> {
    let resolve = |source| Error::Resolve { server: server.to_owned(), source };
    let lookup = tokio::net::lookup_host((server, port));
    let addresses: Vec<SocketAddr> = match tokio::time::timeout(RESOLVE_LIMIT, lookup).await {
        Ok(found) => found.map_err(resolve)?.take(ADDRESSES_PER_NAME).collect(),
        Err(_elapsed) => return Err(resolve(std::io::ErrorKind::TimedOut.into())),
    };
    let mut last = resolve(std::io::Error::other("the name has no address"));
    for address in addresses {
        match query_address(server, address, built).await {
            Ok(measurement) => return Ok(measurement),
            Err(error) => last = error,
        }
    }
    Err(last)
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
        Some(corrected) if corrected >= built => Ok(measurement),
        Some(_) | None => Err(Error::BeforeBuild { server: server() }),
    }
}

fn shift(time: SystemTime, seconds: f64) -> Option<SystemTime> {
    let distance = Duration::try_from_secs_f64(seconds.abs()).ok()?;
    if seconds < 0.0 { time.checked_sub(distance) } else { time.checked_add(distance) }
}

#[cfg(test)]
#[path = "sntp/tests.rs"]
mod tests;
