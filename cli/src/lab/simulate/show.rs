//! How a simulation goes, for people: a live line on a terminal, a line now and then elsewhere, a table at the end.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use bloomery_lab::simulate::fleet::{End, Summary};
use bloomery_lab::simulate::tally::{Snapshot, Times};
use indicatif::ProgressBar;

use crate::output;

/// Seconds between lines where there is no terminal.
const LINE_EVERY: f64 = 5.0;
const MIB: u64 = 1 << 20;

pub(super) struct Live {
    /// `None` when standard error is no terminal.
    bar: Option<ProgressBar>,
    last: Option<Snapshot>,
    printed: f64,
}

impl Live {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
        Self { bar, last: None, printed: f64::NEG_INFINITY }
    }

    /// Called each second.
    pub(super) fn show(&mut self, snapshot: &Snapshot) {
        let text = line(snapshot, self.last.as_ref());
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        } else if snapshot.seconds - self.printed >= LINE_EVERY || self.last.is_none() {
            eprintln!("{text}");
            self.printed = snapshot.seconds;
        }
        self.last = Some(snapshot.clone());
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `12 s: 40/50 registered (8/s), 12 clean | firmware 3, waiting 28 | errors 4: no-offer 4`.
fn line(now: &Snapshot, before: Option<&Snapshot>) -> String {
    let rate = before.map_or(0.0, |before| {
        let seconds = now.seconds - before.seconds;
        let more = f64::from(now.registered - before.registered.min(now.registered));
        if seconds > 0.0 { more / seconds } else { 0.0 }
    });
    let phases: Vec<String> = now.phases.iter().map(|(phase, count)| format!("{phase} {count}")).collect();
    let mut text = format!(
        "{:.0} s: {}/{} registered ({rate:.0}/s), {} clean | {}",
        now.seconds,
        now.registered,
        now.machines,
        now.clean,
        phases.join(", ")
    );
    if !now.errors.is_empty() {
        let errors: Vec<String> =
            now.errors.iter().map(|(kind, errors)| format!("{kind} {}", errors.count)).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, " | errors: {}", errors.join(", "));
    }
    text
}

pub(super) fn summary(summary: &Summary) -> String {
    let snapshot = &summary.snapshot;
    let end = match summary.end {
        End::Done => "done",
        End::Stopped => "stopped",
        End::TimeOver => "time is over",
    };
    let mut text = format!(
        "{} machines, {end} after {:.1} s: {} registered, {} clean\n\n",
        snapshot.machines, snapshot.seconds, snapshot.registered, snapshot.clean
    );
    let mut rows = vec![["", "FIRST", "MEDIAN", "95 %", "LAST"].map(str::to_owned)];
    for (name, times) in [("registered", &summary.registered_at), ("clean", &summary.clean_at)] {
        if let Some(Times { first, median, p95, last }) = times {
            let seconds = |value: &f64| format!("{value:.2} s");
            rows.push([name.to_owned(), seconds(first), seconds(median), seconds(p95), seconds(last)]);
        }
    }
    if rows.len() > 1 {
        text.push_str(&output::table(&rows));
    }
    let count = |name: &str| snapshot.counts.get(name).copied().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n{} DHCP requests, {} offers, {} MiB by TFTP, {} HTTP requests ({} MiB), {} agent rounds, {} heartbeats, {} power commands",
        count("discovers"),
        count("offers"),
        count("tftpBytes") / MIB,
        count("httpRequests"),
        count("httpBytes") / MIB,
        count("rounds"),
        count("heartbeats"),
        count("powerCommands"),
    );
    for (kind, errors) in &snapshot.errors {
        let _ = writeln!(text, "{} × {kind}: {}", errors.count, errors.last);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_lab::simulate::tally::Errors;

    fn snapshot(seconds: f64, registered: u32) -> Snapshot {
        Snapshot {
            machines: 50,
            seconds,
            registered,
            clean: 1,
            phases: [("off", 20), ("waiting", 30)].into(),
            counts: [("discovers", 60)].into(),
            errors: [("no-offer".to_owned(), Errors { count: 2, last: "failed".to_owned() })].into(),
        }
    }

    #[test]
    fn the_line_has_rate_phases_and_errors() {
        let text = line(&snapshot(4.0, 30), Some(&snapshot(2.0, 10)));
        assert_eq!(text, "4 s: 30/50 registered (10/s), 1 clean | off 20, waiting 30 | errors: no-offer 2");
        assert!(line(&snapshot(0.0, 0), None).starts_with("0 s: 0/50 registered (0/s)"));
    }

    #[test]
    fn the_summary_says_how_it_ended() {
        let times = Times { first: 1.0, median: 2.0, p95: 3.0, last: 4.0 };
        let summary = Summary {
            end: End::TimeOver,
            snapshot: snapshot(4.0, 30),
            registered_at: Some(times),
            clean_at: None,
            own_cpu_seconds: 0.5,
        };
        let text = super::summary(&summary);
        assert!(
            text.starts_with("50 machines, time is over after 4.0 s: 30 registered, 1 clean\n"),
            "{text}"
        );
        assert!(text.contains("registered  1.00 s  2.00 s  3.00 s  4.00 s\n"), "{text}");
        assert!(text.ends_with("2 × no-offer: failed\n"), "{text}");
    }
}
