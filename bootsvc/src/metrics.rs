//! Counters of what was served, in the Prometheus text format.
//!
//! Never labelled by machine, nor by anything a packet may hold freely: the number of series must
//! not grow with what arrives.

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::trace::{Decided, Moment, Via};

/// Architectures that are named in labels; RFC 4578 and its registry know more, and a packet any.
const ARCHITECTURES: [(u16, &str); 11] = [
    (0, "0"),
    (6, "6"),
    (7, "7"),
    (9, "9"),
    (10, "10"),
    (11, "11"),
    (15, "15"),
    (16, "16"),
    (18, "18"),
    (19, "19"),
    (27, "27"),
];

/// Counters that differ by so many labels, each a name and a value.
type By<const N: usize> = Family<[(&'static str, &'static str); N], Counter>;

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $visible:vis $name:ident: $kind:ty,)+) => {
        /// All counters of this process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $doc])+ $visible $name: $kind,)+
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("bootsvc");
                $(
                    let $name = <$kind>::default();
                    // The encoder writes the full stop itself.
                    let help = concat!($($doc),+).trim().trim_end_matches('.');
                    registry.register(stringify!($name), help, $name.clone());
                )+
                Self { registry, $($name,)+ }
            }
        }
    };
}

metrics! {
    /// Datagrams on the DHCP ports that are no DHCP requests.
    pub dhcp_malformed: Counter,
    /// DHCP requests answered.
    dhcp_answers: By<3>,
    /// DHCP requests not answered.
    dhcp_ignored: By<2>,
    /// TFTP requests by how they ended.
    tftp_transfers: By<1>,
    /// Octets of files that TFTP clients acknowledged.
    pub tftp_bytes: Counter,
    /// Datagrams on the TFTP port that no client has reason to send.
    pub tftp_malformed: Counter,
    /// Scripts and decisions served by HTTP.
    pub http_scripts: Counter,
    /// Files asked for by HTTP.
    pub http_files: Counter,
    /// Files sent by HTTP.
    http_downloads: By<2>,
    /// Octets of files sent by HTTP.
    pub http_bytes: Counter,
    /// Answers to machines that asked what to boot.
    decisions: By<1>,
    /// Decisions that could not be made because the Kubernetes API gave no answer.
    pub http_undecided: Counter,
    /// Connections turned away because too many were open.
    pub http_refused_connections: Counter,
    /// Machine configurations given to machines.
    pub configurations_given: Counter,
    /// Clients that asked for a machine configuration and may not have it.
    pub configurations_refused: Counter,
    /// Machines registered for the first time.
    pub registrations: Counter,
    /// Times an agent was told to wipe its machine, repetitions included.
    pub wipes_ordered: Counter,
    /// Machines that an agent reported wiped, and that were recorded as clean.
    pub wipes_complete: Counter,
    /// Reports of disks that could not be wiped.
    pub wipes_failed: Counter,
    /// Calls of the agent API that failed.
    pub agent_failures: Counter,
    /// Machines that showed the marks of a Server whose machine they are not.
    pub identity_conflicts: Counter,
    /// Registrations refused because too many machines wait for acceptance.
    pub registrations_refused_full: Counter,
    /// Registrations refused because too many came at once, of one address or in all.
    pub registrations_refused_rate: Counter,
    /// Questions and calls refused because too many waited for their turn.
    pub turns_refused: Counter,
    /// Calls of agents without a boot token that could have had orders.
    pub agents_without_token: Counter,
}

/// The label of an architecture; `none` and `other` are two of them.
fn architecture_label(architecture: Option<u16>) -> &'static str {
    let Some(architecture) = architecture else { return "none" };
    let known = ARCHITECTURES.iter().find(|(known, _)| *known == architecture);
    known.map_or("other", |(_, name)| name)
}

impl Metrics {
    /// The Prometheus text exposition (format 0.0.4).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut text, &self.registry);
        text
    }

    /// Counts a DHCP answer: `offer` or `ack`, of a loader by TFTP or HTTP, or of the script.
    pub fn dhcp_answered(&self, r#type: &'static str, architecture: Option<u16>, via: Option<Via>) {
        let (architecture, by) = (architecture_label(architecture), via.map_or("script", Via::name));
        let labels = [("type", r#type), ("architecture", architecture), ("by", by)];
        self.dhcp_answers.get_or_create(&labels).inc();
    }

    /// Counts a DHCP request that is left without answer.
    pub fn dhcp_ignored(&self, reason: &'static str, architecture: Option<u16>) {
        let labels = [("reason", reason), ("architecture", architecture_label(architecture))];
        self.dhcp_ignored.get_or_create(&labels).inc();
    }

    /// Counts the end of a TFTP request.
    pub fn tftp_transfer(&self, end: Moment) {
        let result = if end == Moment::Probed { "probe" } else { end.name() };
        self.tftp_transfers.get_or_create(&[("result", result)]).inc();
    }

    /// Counts the end of an HTTP download of a `loader`, `kernel`, `initramfs` or `other`.
    pub fn http_download(&self, file: &'static str, complete: bool, bytes: u64) {
        let result = if complete { "complete" } else { "aborted" };
        self.http_downloads.get_or_create(&[("file", file), ("result", result)]).inc();
        self.http_bytes.inc_by(bytes);
    }

    /// Counts a decision.
    pub fn decided(&self, decided: Decided) {
        self.decisions.get_or_create(&[("answer", decided.name())]).inc();
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
        metrics.http_files.inc();
        let text = metrics.render();
        assert!(text.contains("# HELP bootsvc_http_files Files asked for by HTTP.\n"), "{text}");
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
        metrics.tftp_transfer(Moment::Complete);
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
