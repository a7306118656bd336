//! The realtime clock. It never steps the clock by itself: the caller decides when and to what.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_settime};

/// Why the clock was not set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The time lies before 1970 or beyond what the kernel can hold.
    #[error("failed to set the clock: the time lies outside of what the kernel can hold")]
    Range,
    /// `clock_settime(2)` refused; `EPERM` in a container.
    #[error("failed to set the clock")]
    Set(#[source] Errno),
}

/// Sets `CLOCK_REALTIME`.
pub fn set(time: SystemTime) -> Result<(), Error> {
    let since: Duration = time.duration_since(UNIX_EPOCH).map_err(|_| Error::Range)?;
    let tv_sec = i64::try_from(since.as_secs()).map_err(|_| Error::Range)?;
    let timespec = Timespec { tv_sec, tv_nsec: i64::from(since.subsec_nanos()) };
    clock_settime(ClockId::Realtime, timespec).map_err(Error::Set)
}

/// Makes sure that the clock does not stand before `floor` (the build date, or the last time seen on disk).
///
/// Returns whether it had to be set.
pub fn ensure_not_before(floor: SystemTime) -> Result<bool, Error> {
    if SystemTime::now() >= floor {
        return Ok(false);
    }
    set(floor)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_time_before_the_epoch() {
        assert!(matches!(set(UNIX_EPOCH - Duration::from_secs(1)), Err(Error::Range)));
    }

    #[test]
    fn leaves_a_clock_alone_that_is_late_enough() {
        assert!(!ensure_not_before(UNIX_EPOCH).unwrap());
    }
}
