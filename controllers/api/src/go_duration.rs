//! Durations as Go's flags write them (`20m`, `1h30m`, `1.5s`), since that is how upstream's flag is set.

use std::time::Duration;

/// Longest duration taken: Go's own limit is about 292 years; nothing here is meant to last that long.
const MAX_SECONDS: f64 = 366.0 * 24.0 * 3600.0;

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Empty, or not numbers with units.
    #[error("failed to read duration {0:?}: write it like 20m or 1h30m")]
    Syntax(String),
    /// A number without its unit.
    #[error("failed to read duration {0:?}: unit missing, one of ns, us, ms, s, m, h")]
    Unit(String),
    /// Negative.
    #[error("failed to accept duration {0:?}: negative")]
    Negative(String),
    /// Over a year.
    #[error("failed to accept duration {0:?}: longer than a year")]
    TooLong(String),
}

/// Reads a Go duration that is not negative.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let syntax = || DurationError::Syntax(text.to_owned());
    if text.starts_with('-') {
        return Err(DurationError::Negative(text.to_owned()));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(syntax());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| syntax())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(DurationError::Unit(text.to_owned())),
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    if seconds > MAX_SECONDS {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| syntax())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_writes() {
        for (text, milliseconds) in [
            ("20m", 1_200_000),
            ("20m0s", 1_200_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            (".5s", 500),
            ("300ms", 300),
            ("2000us", 2),
            ("2000µs", 2),
            ("+3s", 3000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn rejects_the_rest_with_a_reason() {
        for text in ["", "m", ".", ".s", "1..5s", "20 m", "twenty"] {
            assert!(
                matches!(parse(text), Err(DurationError::Syntax(_) | DurationError::Unit(_))),
                "{text:?}"
            );
        }
        assert_eq!(parse("20"), Err(DurationError::Unit("20".to_owned())));
        assert_eq!(parse("1d"), Err(DurationError::Unit("1d".to_owned())));
        assert_eq!(parse("-1s"), Err(DurationError::Negative("-1s".to_owned())));
        assert_eq!(parse("99999h"), Err(DurationError::TooLong("99999h".to_owned())));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn reads_back_sums(hours in 0u64..100, minutes in 0u64..60, seconds in 0u64..60) {
            let text = format!("{hours}h{minutes}m{seconds}s");
            let expected = Duration::from_secs(hours * 3600 + minutes * 60 + seconds);
            proptest::prop_assert_eq!(parse(&text), Ok(expected));
        }
    }
}
