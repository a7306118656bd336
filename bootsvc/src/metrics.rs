//! Counters of what was served, in the Prometheus text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// All counters of this process.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        impl Metrics {
            /// The Prometheus text exposition (format 0.0.4).
            pub fn render(&self) -> String {
                let mut text = String::new();
                $(
                    let name = concat!("bootsvc_", stringify!($name), "_total");
                    // Writing to a string cannot fail.
                    let _ = writeln!(
                        text,
                        "# HELP {name}{}\n# TYPE {name} counter\n{name} {}",
                        concat!($($doc),+),
                        self.$name.get(),
                    );
                )+
                text
            }
        }
    };
}

metrics! {
    /// DHCP requests answered on port 67.
    dhcp_offers,
    /// DHCP requests answered on port 4011.
    dhcp_acks,
    /// DHCP requests that are not for us.
    dhcp_ignored,
    /// Datagrams on the DHCP ports that are no DHCP requests.
    dhcp_malformed,
    /// Files sent completely by TFTP.
    tftp_complete,
    /// TFTP transfers given up because the client went silent.
    tftp_timed_out,
    /// TFTP requests refused.
    tftp_refused,
    /// Datagrams on the TFTP port that no client has reason to send.
    tftp_malformed,
    /// Scripts and decisions served by HTTP.
    http_scripts,
    /// Files served by HTTP.
    http_files,
    /// Decisions that could not be made because the Kubernetes API gave no answer.
    http_undecided,
    /// Connections turned away because too many were open.
    http_refused_connections,
    /// Machines registered for the first time.
    registrations,
    /// Calls of the agent API that failed.
    agent_failures,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_every_counter_with_its_help() {
        let metrics = Metrics::default();
        metrics.dhcp_offers.increment();
        let text = metrics.render();
        assert!(text.starts_with("# HELP bootsvc_dhcp_offers_total DHCP requests answered on port 67.\n"));
        assert!(text.contains("\nbootsvc_dhcp_offers_total 1\n"));
        assert!(text.contains("\nbootsvc_registrations_total 0\n"));
    }
}
