//! Counters of what was served, in the Prometheus text format.
//!
//! Never labelled by machine, nor by anything a packet may hold freely: the number of series must
//! not grow with what arrives.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter as LabelledCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::trace::{Decided, Via};

/// Architectures that are named in labels; RFC 4578 and its registry know more, and a packet any.
const ARCHITECTURES: [u16; 11] = [0, 6, 7, 9, 10, 11, 15, 16, 18, 19, 27];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds a number.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// All counters of this process.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: Counter,)+
            labelled: Labelled,
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self { $($name: Counter::default(),)+ labelled: Labelled::new() }
            }
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
                // Writing to a string cannot fail; and without labels is better than nothing.
                let _ = prometheus_client::encoding::text::encode_registry(&mut text, &self.labelled.registry);
                text
            }
        }
    };
}

metrics! {
    /// Datagrams on the DHCP ports that are no DHCP requests.
    dhcp_malformed,
    /// Octets of files that TFTP clients acknowledged.
    tftp_bytes,
    /// Datagrams on the TFTP port that no client has reason to send.
    tftp_malformed,
    /// Scripts and decisions served by HTTP.
    http_scripts,
    /// Files asked for by HTTP.
    http_files,
    /// Octets of files sent by HTTP.
    http_bytes,
    /// Decisions that could not be made because the Kubernetes API gave no answer.
    http_undecided,
    /// Connections turned away because too many were open.
    http_refused_connections,
    /// Machines registered for the first time.
    registrations,
    /// Times an agent was told to wipe its machine, repetitions included.
    wipes_ordered,
    /// Machines that an agent reported wiped, and that were recorded as clean.
    wipes_complete,
    /// Reports of disks that could not be wiped.
    wipes_failed,
    /// Calls of the agent API that failed.
    agent_failures,
    /// Machines that showed the marks of a Server whose machine they are not.
    identity_conflicts,
    /// Registrations refused because too many machines wait for acceptance.
    registrations_refused_full,
    /// Registrations refused because too many came at once, of one address or in all.
    registrations_refused_rate,
    /// Questions and calls refused because too many waited for their turn.
    turns_refused,
    /// Calls of agents without a boot token that could have had orders.
    agents_without_token,
}

/// Labels of an answered DHCP request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DhcpAnswer {
    /// `offer` or `ack`.
    r#type: &'static str,
    architecture: &'static str,
    /// `tftp`, `http`, or `script` for iPXE.
    by: &'static str,
}

/// Labels of a DHCP request without answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DhcpSilence {
    reason: &'static str,
    architecture: &'static str,
}

/// Labels of a TFTP transfer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Transfer {
    result: &'static str,
}

/// Labels of an HTTP download.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Download {
    /// `loader`, `kernel`, `initramfs` or `other`.
    file: &'static str,
    /// `complete` or `aborted`.
    result: &'static str,
}

/// Labels of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decision {
    answer: &'static str,
}

/// How a TFTP request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TftpResult {
    /// The client has all of it.
    Complete,
    /// The client ended it in the middle.
    Aborted,
    /// The client asked for the size and ended it.
    Probe,
    /// The client went silent in the middle.
    TimedOut,
    /// The client never acknowledged anything.
    NotTakenUp,
    /// No such file, or not now.
    Refused,
}

#[derive(Debug)]
struct Labelled {
    registry: Registry,
    dhcp_answers: Family<DhcpAnswer, LabelledCounter>,
    dhcp_ignored: Family<DhcpSilence, LabelledCounter>,
    tftp: Family<Transfer, LabelledCounter>,
    downloads: Family<Download, LabelledCounter>,
    decisions: Family<Decision, LabelledCounter>,
}

impl Labelled {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("bootsvc");
        let (dhcp_answers, dhcp_ignored) = (Family::default(), Family::default());
        let (tftp, downloads, decisions) = (Family::default(), Family::default(), Family::default());
        registry.register("dhcp_answers", "DHCP requests answered", dhcp_answers.clone());
        registry.register("dhcp_ignored", "DHCP requests not answered", dhcp_ignored.clone());
        registry.register("tftp_transfers", "TFTP requests by how they ended", tftp.clone());
        registry.register("http_downloads", "Files sent by HTTP", downloads.clone());
        registry.register("decisions", "Answers to machines that asked what to boot", decisions.clone());
        Self { registry, dhcp_answers, dhcp_ignored, tftp, downloads, decisions }
    }
}

/// The label of an architecture; `none` and `other` are two of them.
fn architecture_label(architecture: Option<u16>) -> &'static str {
    const NAMES: [&str; ARCHITECTURES.len()] = ["0", "6", "7", "9", "10", "11", "15", "16", "18", "19", "27"];
    let Some(architecture) = architecture else { return "none" };
    let known = ARCHITECTURES.iter().position(|known| *known == architecture);
    known.map_or("other", |index| NAMES[index])
}

impl Metrics {
    /// Counts a DHCP answer: `offer` or `ack`, of a loader by TFTP or HTTP, or of the script.
    pub fn dhcp_answered(&self, r#type: &'static str, architecture: Option<u16>, via: Option<Via>) {
        let by = via.map_or("script", Via::name);
        let labels = DhcpAnswer { r#type, architecture: architecture_label(architecture), by };
        self.labelled.dhcp_answers.get_or_create(&labels).inc();
    }

    /// Counts a DHCP request that is left without answer.
    pub fn dhcp_ignored(&self, reason: &'static str, architecture: Option<u16>) {
        let labels = DhcpSilence { reason, architecture: architecture_label(architecture) };
        self.labelled.dhcp_ignored.get_or_create(&labels).inc();
    }

    /// Counts the end of a TFTP request.
    pub fn tftp_transfer(&self, result: TftpResult) {
        let result = match result {
            TftpResult::Complete => "complete",
            TftpResult::Aborted => "aborted",
            TftpResult::Probe => "probe",
            TftpResult::TimedOut => "timed-out",
            TftpResult::NotTakenUp => "not-taken-up",
            TftpResult::Refused => "refused",
        };
        self.labelled.tftp.get_or_create(&Transfer { result }).inc();
    }

    /// Counts the end of an HTTP download.
    pub fn http_download(&self, file: &'static str, complete: bool, bytes: u64) {
        let result = if complete { "complete" } else { "aborted" };
        self.labelled.downloads.get_or_create(&Download { file, result }).inc();
        self.http_bytes.add(bytes);
    }

    /// Counts a decision.
    pub fn decided(&self, decided: Decided) {
        self.labelled.decisions.get_or_create(&Decision { answer: decided.name() }).inc();
    }

    /// The value of a series as it is rendered, name and labels as they stand there.
    #[cfg(test)]
    pub(crate) fn series(&self, name: &str) -> Option<u64> {
        let text = self.render();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_every_counter_with_its_help() {
        let metrics = Metrics::default();
        metrics.http_files.increment();
        let text = metrics.render();
        assert!(text.contains("# HELP bootsvc_http_files_total Files asked for by HTTP.\n"), "{text}");
        assert!(text.contains("\nbootsvc_http_files_total 1\n"));
        assert!(text.contains("\nbootsvc_registrations_total 0\n"));
        assert!(!text.contains("# EOF"), "more follows in the same answer");
    }

    #[test]
    fn labels_are_of_few_kinds_whatever_a_packet_holds() {
        let metrics = Metrics::default();
        for architecture in 0..=u16::MAX {
            metrics.dhcp_ignored("architecture", Some(architecture));
        }
        metrics.dhcp_answered("offer", Some(7), Some(Via::Tftp));
        metrics.tftp_transfer(TftpResult::Complete);
        metrics.http_download("kernel", false, 10);
        metrics.decided(Decided::Agent);
        let text = metrics.render();
        assert_eq!(text.matches("\nbootsvc_dhcp_ignored_total{").count(), ARCHITECTURES.len() + 1);
        for line in [
            r#"bootsvc_dhcp_answers_total{type="offer",architecture="7",by="tftp"} 1"#,
            r#"bootsvc_tftp_transfers_total{result="complete"} 1"#,
            r#"bootsvc_http_downloads_total{file="kernel",result="aborted"} 1"#,
            r#"bootsvc_decisions_total{answer="agent"} 1"#,
            "bootsvc_http_bytes_total 10",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} not in {text}");
        }
    }
}
