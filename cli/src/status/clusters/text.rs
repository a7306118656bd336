//! Clusters and their machines as people read them.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::{ClusterRow, MachineRow, Replicas, Wait};
use crate::output::{age_since, table};

/// Shown where there is nothing to show.
const NONE: &str = "-";
/// What is shown where nothing is waited for.
const NOTHING: &str = "nothing";
/// Sentences that are told in full; a hall without servers has many machines that say the same.
const MOST_NOTES: usize = 8;
/// Names before a sentence that concerns several.
const MOST_NAMES: usize = 2;

/// A table of the clusters, one of their machines, and below what their conditions say; empty without clusters.
pub(in crate::status) fn cluster_tables(clusters: &[ClusterRow], now: SystemTime) -> String {
    if clusters.is_empty() {
        return String::new();
    }
    let (mut rows, mut machines) = (Vec::new(), Vec::new());
    let mut notes = Notes::default();
    rows.push(["CLUSTER", "CONTROL PLANE", "WORKERS", "WAITS FOR", "AGE"].map(str::to_owned));
    machines.push(["MACHINE", "ROLE", "PHASE", "SERVER", "WAITS FOR", "AGE"].map(str::to_owned));
    for cluster in clusters {
        let ClusterRow { namespace, name, created, control_plane, workers, waits_for, machines: own } =
            cluster;
        let cluster = format!("{namespace}/{name}");
        notes.add(&cluster, waits_for.as_ref());
        rows.push([
            cluster,
            replicas(control_plane),
            replicas(workers),
            words(waits_for.as_ref()),
            since(created.as_deref(), now),
        ]);
        for machine in own {
            let MachineRow { name, created, is_control_plane, phase, server, node: _, waits_for } = machine;
            let machine = format!("{namespace}/{name}");
            notes.add(&machine, waits_for.as_ref());
            machines.push([
                machine,
                if *is_control_plane { "control plane" } else { "worker" }.to_owned(),
                phase.as_deref().unwrap_or(NONE).to_owned(),
                server.as_deref().unwrap_or(NONE).to_owned(),
                words(waits_for.as_ref()),
                since(created.as_deref(), now),
            ]);
        }
    }
    let mut text = format!("\n{}", table(&rows));
    if machines.len() > 1 {
        text.push('\n');
        text.push_str(&table(&machines));
    }
    text.push_str(&notes.render());
    text
}

fn replicas(Replicas { desired, ready }: &Replicas) -> String {
    match desired {
        Some(desired) => format!("{} of {desired}", ready.unwrap_or_default()),
        None => NONE.to_owned(),
    }
}

fn words(wait: Option<&Wait>) -> String {
    match wait {
        None => NOTHING.to_owned(),
        Some(Wait { what, reason: Some(reason), .. }) => format!("{what} ({reason})"),
        Some(Wait { what, reason: None, .. }) => what.clone(),
    }
}

fn since(created: Option<&str>, now: SystemTime) -> String {
    created.map_or_else(|| NONE.to_owned(), |created| age_since(created, now))
}

/// Sentences, each with those that say it, in the order in which they came.
#[derive(Default)]
struct Notes(Vec<(String, Vec<String>)>);

impl Notes {
    fn add(&mut self, name: &str, wait: Option<&Wait>) {
        let Some(message) = wait.and_then(|wait| wait.message.as_deref()) else { return };
        match self.0.iter_mut().find(|(said, _)| said == message) {
            Some((_, names)) => names.push(name.to_owned()),
            None => self.0.push((message.to_owned(), vec![name.to_owned()])),
        }
    }

    fn render(&self) -> String {
        let mut text = String::new();
        for (message, names) in self.0.iter().take(MOST_NOTES) {
            let more = names.len().saturating_sub(MOST_NAMES);
            let shown = names.iter().take(MOST_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            // Messages of Cluster API are lists of lines. Writing to a String cannot fail.
            let separator = if message.contains('\n') { "\n  " } else { " " };
            let _ = writeln!(text, "\n{shown}{more}:{separator}{}", message.replace('\n', "\n  "));
        }
        if self.0.len() > MOST_NOTES {
            let more = self.0.len() - MOST_NOTES;
            let _ = writeln!(text, "\nand {more} more: `bloomery status -o json` has all");
        }
        text
    }
}
