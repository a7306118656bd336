//! Ends and spans in words, for the console.

use bloomery_sys::process::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// "exited with status 1", "killed by SIGSEGV".
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// A span as people read it: 85 ms, 1.2 s, 3 min.
pub(crate) fn human(span: Duration) -> String {
    match span.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{:.1} s", span.as_secs_f64()),
        _ => format!("{} min", span.as_secs() / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_described_in_words() {
        assert_eq!(describe(ExitStatus::from_raw(1 << 8)), "exited with status 1");
        assert_eq!(describe(ExitStatus::from_raw(9)), "killed by SIGKILL");
        assert_eq!(describe(ExitStatus::from_raw(40)), "killed by signal 40");
    }

    #[test]
    fn spans_are_readable() {
        let spans = [(85, "85 ms"), (1_234, "1.2 s"), (119_000, "119.0 s"), (180_000, "3 min")];
        for (millis, text) in spans {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }
}
