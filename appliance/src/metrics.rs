//! What the server counts, in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of the process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) paired: Counter,
    pub(crate) renewed: Counter,
    pub(crate) revoked: Counter,
    pub(crate) wrong_codes: Counter,
    pub(crate) rate_limited: Counter,
    pub(crate) reissued: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_refused: Counter,
    pub(crate) connections_displaced: Counter,
    pub(crate) handshakes_failed: Counter,
    pub(crate) certificate_reloads: Counter,
    pub(crate) certificate_reloads_failed: Counter,
}

impl Metrics {
    /// The text, with the figures that are not counters passed in.
    pub(crate) fn render(&self, open_connections: usize, certificate_expires: i64) -> String {
        let mut text = String::new();
        for (name, help, counter) in [
            ("appliance_paired_total", "Certificates handed out for the pairing code.", &self.paired),
            ("appliance_renewed_total", "Certificates renewed.", &self.renewed),
            ("appliance_revoked_total", "Pairings revoked.", &self.revoked),
            ("appliance_wrong_codes_total", "Pairing requests with a wrong code.", &self.wrong_codes),
            (
                "appliance_rate_limited_total",
                "Pairing requests with a wrong code over the limit.",
                &self.rate_limited,
            ),
            ("appliance_reissued_total", "Pairing codes re-issued.", &self.reissued),
            ("appliance_connections_total", "Connections accepted.", &self.connections),
            ("appliance_connections_refused_total", "Connections over the cap.", &self.connections_refused),
            (
                "appliance_connections_displaced_total",
                "Connections ended to make room for another network's.",
                &self.connections_displaced,
            ),
            ("appliance_handshakes_failed_total", "TLS handshakes that failed.", &self.handshakes_failed),
            ("appliance_certificate_reloads_total", "Certificates taken anew.", &self.certificate_reloads),
            (
                "appliance_certificate_reloads_failed_total",
                "Changed certificates that could not be used.",
                &self.certificate_reloads_failed,
            ),
        ] {
            // Writing to a String cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}\n", counter.value());
        }
        for (name, help, value) in [
            (
                "appliance_connections_open",
                "Connections open now.",
                i64::try_from(open_connections).unwrap_or(i64::MAX),
            ),
            (
                "appliance_certificate_expiry_timestamp_seconds",
                "When the serving certificate expires.",
                certificate_expires,
            ),
        ] {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
        text
    }
}
