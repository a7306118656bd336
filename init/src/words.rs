//! Spans in words, for people.

use std::time::Duration;

/// 85 ms, 1.2 s, 3 min.
pub fn human(span: Duration) -> String {
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
    fn spans_are_readable() {
        let spans = [(85, "85 ms"), (1_234, "1.2 s"), (119_000, "119.0 s"), (180_000, "3 min")];
        for (millis, text) in spans {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }
}
