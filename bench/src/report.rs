//! Figures, their goals and their peers; as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: &'static str,
    /// In which unit.
    pub(crate) unit: Unit,
    /// All measurements, in their order; the median counts.
    pub(crate) ours: Vec<f64>,
    /// The same of the peer, from the same run.
    pub(crate) peer: Option<Peer>,
    /// What is promised.
    pub(crate) goal: Option<Goal>,
    /// What the figure is made of.
    pub(crate) parts: BTreeMap<String, f64>,
}

/// Something else that does the same.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// What it is.
    pub(crate) name: &'static str,
    /// All measurements.
    pub(crate) values: Vec<f64>,
    /// What they are made of.
    pub(crate) parts: BTreeMap<String, f64>,
}

/// Units of figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// 10⁶ bytes, as images are advertised.
    #[serde(rename = "MB")]
    Megabytes,
    /// 2²⁰ bytes, as memory is counted.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Wall-clock seconds.
    #[serde(rename = "s")]
    Seconds,
    /// How often in a second.
    #[serde(rename = "/s")]
    PerSecond,
    /// 10⁶ bytes a second.
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    /// Time, of CPUs or on the clock.
    #[serde(rename = "ms")]
    Milliseconds,
    /// CPU time.
    #[serde(rename = "µs")]
    Microseconds,
    /// Requests answered.
    #[serde(rename = "requests")]
    Requests,
    /// Of one core.
    #[serde(rename = "%")]
    Percent,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Megabytes => "MB",
            Self::Mebibytes => "MiB",
            Self::Seconds => "s",
            Self::PerSecond => "/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Requests => "requests",
            Self::Percent => "%",
        })
    }
}

/// What is promised of a figure.
// Each is a bound of some kind.
#[allow(clippy::enum_variant_names)]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    /// Not more than this.
    AtMost(f64),
    /// Not more than the peer's, times this.
    AtMostTimesPeer(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Not less than the peer's, times this.
    AtLeastTimesPeer(f64),
}

/// Everything of one run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

impl Figure {
    fn value(&self) -> f64 {
        median(&self.ours)
    }

    /// Ours divided by the peer's.
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|peer| self.value() / median(&peer.values))
    }

    /// None when nothing is promised.
    fn is_met(&self) -> Option<bool> {
        match self.goal? {
            Goal::AtMost(limit) => Some(self.value() <= limit),
            Goal::AtMostTimesPeer(limit) => Some(self.ratio().is_some_and(|ratio| ratio <= limit)),
            Goal::AtLeast(limit) => Some(self.value() >= limit),
            Goal::AtLeastTimesPeer(limit) => Some(self.ratio().is_some_and(|ratio| ratio >= limit)),
        }
    }
}

impl Report {
    /// Whether everything that is promised was measured and is so.
    pub(crate) fn all_met(&self) -> bool {
        self.failures.is_empty() && self.figures.iter().all(|figure| figure.is_met() != Some(false))
    }

    /// Writes the JSON file.
    pub(crate) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("failed to write the figures as JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("failed to write {}", path.display()))
    }

    /// The table that people read.
    pub(crate) fn table(&self) -> String {
        let mut rows = vec![["FIGURE", "OURS", "PEER", "RATIO", "GOAL", "", "PEER IS"].map(str::to_owned)];
        for figure in &self.figures {
            rows.push(row(figure));
            let peers = figure.peer.as_ref().map(|peer| &peer.parts);
            let names: std::collections::BTreeSet<_> =
                figure.parts.keys().chain(peers.into_iter().flat_map(BTreeMap::keys)).collect();
            for name in names {
                let shown =
                    |value: Option<&f64>| value.map_or_else(String::new, |value| number(*value, figure.unit));
                let (ours, peer) = (figure.parts.get(name), peers.and_then(|parts| parts.get(name)));
                rows.push([format!("  {name}"), shown(ours), shown(peer)].into_array());
            }
        }
        let mut text = align(&rows);
        for failure in &self.failures {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "NOT MEASURED  {failure}");
        }
        text
    }
}

/// Pads a short row with empty cells.
trait IntoArray {
    fn into_array(self) -> [String; 7];
}

impl IntoArray for [String; 3] {
    fn into_array(self) -> [String; 7] {
        let [a, b, c] = self;
        [a, b, c, String::new(), String::new(), String::new(), String::new()]
    }
}

fn row(figure: &Figure) -> [String; 7] {
    let unit = figure.unit;
    let peer = figure.peer.as_ref();
    [
        figure.name.to_owned(),
        spread(&figure.ours, unit),
        peer.map_or_else(String::new, |peer| spread(&peer.values, unit)),
        figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        match figure.goal {
            Some(Goal::AtMost(limit)) => format!("≤ {}", number(limit, unit)),
            Some(Goal::AtMostTimesPeer(limit)) => format!("≤ {limit:.2} × peer"),
            Some(Goal::AtLeast(limit)) => format!("≥ {}", number(limit, unit)),
            Some(Goal::AtLeastTimesPeer(limit)) => format!("≥ {limit:.2} × peer"),
            None => String::new(),
        },
        match figure.is_met() {
            Some(true) => "met".to_owned(),
            Some(false) => "MISSED".to_owned(),
            None => String::new(),
        },
        peer.map_or_else(String::new, |peer| peer.name.to_owned()),
    ]
}

/// The median, and the range when there is one.
fn spread(values: &[f64], unit: Unit) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = number(median(values), unit);
    if values.len() > 1 { format!("{middle} ({low:.1}–{high:.1})") } else { middle }
}

fn number(value: f64, unit: Unit) -> String {
    format!("{value:.1} {unit}")
}

/// The middle value; the mean of the two middle ones when there is no single one.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

fn align(rows: &[[String; 7]]) -> String {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(ours: &[f64], peer: &[f64], goal: Goal) -> Figure {
        let peer = Peer { name: "peer", values: peer.to_vec(), parts: BTreeMap::new() };
        Figure {
            name: "boot",
            unit: Unit::Seconds,
            ours: ours.to_vec(),
            peer: Some(peer),
            goal: Some(goal),
            parts: BTreeMap::new(),
        }
    }

    #[test]
    fn the_median_counts_and_goals_can_be_missed() {
        let met = figure(&[9.0, 50.0, 11.0], &[10.0, 10.0], Goal::AtMostTimesPeer(1.1));
        assert_eq!(met.is_met(), Some(true));
        assert_eq!(figure(&[11.5], &[10.0], Goal::AtMostTimesPeer(1.1)).is_met(), Some(false));
        assert_eq!(figure(&[11.5], &[10.0], Goal::AtMost(11.0)).is_met(), Some(false));
        assert_eq!(figure(&[20.0], &[10.0], Goal::AtLeastTimesPeer(2.0)).is_met(), Some(true));
        assert_eq!(figure(&[19.0], &[10.0], Goal::AtLeastTimesPeer(2.0)).is_met(), Some(false));
        assert_eq!(figure(&[9.0], &[10.0], Goal::AtLeast(9.5)).is_met(), Some(false));
        assert_eq!(
            figure(&[1.0], &[], Goal::AtMostTimesPeer(1.1)).is_met(),
            Some(false),
            "no peer, no proof"
        );
        let report = Report { figures: vec![met], failures: vec!["memory: no".to_owned()] };
        assert!(!report.all_met(), "what was not measured is not met");
        let table = report.table();
        assert!(
            table.contains("11.0 s (9.0–50.0)") && table.contains("1.10") && table.contains("met"),
            "{table}"
        );
        assert!(table.ends_with("NOT MEASURED  memory: no\n"), "{table}");
    }
}
