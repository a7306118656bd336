//! The status as people read it: a summary, then what deserves attention, then services and machines.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bloomery_api::{ServerSpec, ServerStatus};
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;

use super::Report;
use super::clusters::text::cluster_tables;
use super::model::{Controller, Phase, Service, Status, UnderWay, Warning};
use super::waiting::{Waiting, waiting};
use crate::output::{age, age_since, table};
use crate::trace::model::Traces;
use crate::trace::text::advice;

/// Shown where there is nothing to show.
const NONE: &str = "-";
/// Boots that stopped and are told in full; a rack behind a wrong VLAN has many.
const MOST_FAILED_BOOTS: usize = 5;
/// Outcome of a phase that needs no words.
const DONE: &str = "done";

/// Seconds after which a reconcile is slow: a BMC that does not answer costs less.
const SLOW: u64 = 120;
/// State of a service that is held.
const HELD: &str = "held";

/// Renders everything; `now` is for ages.
pub(super) fn render(report: &Report, now: SystemTime) -> String {
    let mut text = String::new();
    match serde_json::from_value::<Status>(report.appliance.clone()) {
        Ok(status) => appliance(&mut text, &status, now),
        // A much newer appliance: better raw than nothing.
        Err(_) => line(&mut text, &report.appliance.to_string()),
    }
    text.push_str(&trouble_of_controllers(report));
    match (&report.clusters, &report.clusters_error, &report.servers_error) {
        (Some(clusters), ..) => text.push_str(&cluster_tables(clusters, now)),
        // One reason for both is told once.
        (None, error, other) if error == other => {}
        (None, error, _) => {
            let _ = writeln!(text, "\nClusters: {}", error.as_deref().unwrap_or("unknown"));
        }
    }
    text.push('\n');
    match (&report.servers, &report.servers_error) {
        (Some(servers), _) if servers.is_empty() => line(&mut text, "No machine has registered yet."),
        (Some(servers), _) => text.push_str(&server_table(servers, now)),
        (None, error) => line(&mut text, &format!("Machines: {}", error.as_deref().unwrap_or("unknown"))),
    }
    text.push_str(&failed_boots(report));
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn appliance(text: &mut String, status: &Status, now: SystemTime) {
    let Status { version, stage, volatile, hostname, phases, services, addresses, api_url, warnings } =
        status;
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "Appliance:  {} (version {}), {}",
        or_none(hostname),
        or_none(version),
        or_none(stage)
    );
    let _ = writeln!(text, "API:        {}", api_url.as_deref().unwrap_or("no address yet"));
    let _ = writeln!(text, "Addresses:  {}", or_none(&addresses.join(", ")));
    let _ = writeln!(text, "Boot:       {}", boot(phases));
    if *volatile {
        line(text, "State:      in memory; it will be lost at the next boot");
    }
    for Phase { name, outcome, message, .. } in phases.iter().filter(|phase| phase.outcome != DONE) {
        let _ = writeln!(
            text,
            "Phase {name}: {outcome}{}",
            message.as_ref().map_or_else(String::new, |m| format!(": {m}"))
        );
    }
    for Warning { text: what, hint } in warnings {
        let _ = writeln!(
            text,
            "Warning:    {what}{}",
            if hint.is_empty() { String::new() } else { format!(" ({hint})") }
        );
    }
    text.push('\n');
    text.push_str(&service_table(services, now));
}

fn boot(phases: &[Phase]) -> String {
    let total: Duration =
        phases.iter().filter_map(|phase| phase.duration_ms).map(Duration::from_millis).sum();
    let done = phases.iter().filter(|phase| phase.outcome == DONE).count();
    format!("{done} of {} phases done in {:.1} s", phases.len(), total.as_secs_f64())
}

fn service_table(services: &[Service], now: SystemTime) -> String {
    let mut rows = vec![["SERVICE", "STATE", "SINCE", "RESTARTS", "LAST EXIT"].map(str::to_owned)];
    rows.extend(services.iter().map(|service| {
        let Service { name, state, since, restarts, last_exit, hold_refused: _ } = service;
        [
            name.clone(),
            or_none(state).to_owned(),
            age_since(since, now),
            restarts.to_string(),
            last_exit.clone().unwrap_or_else(|| NONE.to_owned()),
        ]
    }));
    let held = services.iter().filter(|service| service.state == HELD).map(|service| {
        let name = &service.name;
        format!("Held: {name}; `bloomery service start {name}` starts it again\n")
    });
    std::iter::once(table(&rows)).chain(held).collect()
}

/// A line for each controller that fails, waits or is slow.
fn trouble_of_controllers(report: &Report) -> String {
    let controllers: Vec<Controller> =
        report.controllers.clone().and_then(|table| serde_json::from_value(table).ok()).unwrap_or_default();
    let mut text = String::new();
    for Controller { name, failing, longest_under_way, waits_for, last_error } in controllers {
        let mut trouble = Vec::new();
        trouble.extend(waits_for.map(|what| format!("waits for {what}")));
        if failing > 0 {
            let last = last_error.map(|last| format!(", last {}: {}", last.object, last.error));
            trouble.push(format!("{failing} failing{}", last.unwrap_or_default()));
        }
        let slow = longest_under_way.filter(|longest| longest.seconds >= SLOW);
        trouble.extend(slow.map(|UnderWay { object, seconds }| format!("at {object} for {seconds} s")));
        if !trouble.is_empty() {
            line(&mut text, &format!("Controller {name}: {}", trouble.join("; ")));
        }
    }
    text
}

fn server_table(servers: &[DynamicObject], now: SystemTime) -> String {
    let headings = ["SERVER", "HOSTNAME", "ACCEPTED", "ALLOCATED", "CLEAN", "POWER", "WAITS FOR", "AGE"];
    let mut rows = vec![headings.map(str::to_owned)];
    let mut notes = Vec::new();
    rows.extend(servers.iter().map(|server| {
        // Fields of an object that cannot be read are shown as unset; kubectl shows it in full.
        let spec: ServerSpec = part(server, "spec");
        let status: ServerStatus = part(server, "status");
        let Waiting { waits_for, notes: said } = waiting(&spec, &status);
        let name = server.metadata.name.clone().unwrap_or_default();
        notes.extend(said.into_iter().map(|note| format!("{name}: {note}")));
        let created = server.metadata.creation_timestamp.as_ref().map(|time| SystemTime::from(time.0));
        [
            name,
            or_none(&spec.hostname).to_owned(),
            yes_no(spec.accepted),
            yes_no(status.in_use),
            yes_no(status.is_clean),
            or_none(&status.power).to_owned(),
            waits_for,
            created.map_or_else(|| NONE.to_owned(), |created| age(created, now)),
        ]
    }));
    let mut text = table(&rows);
    for note in notes {
        text.push('\n');
        line(&mut text, &note);
    }
    text
}

/// Machines that stopped on their way over the network; `bloomery trace` shows them step by step.
fn failed_boots(report: &Report) -> String {
    let traces: Traces =
        report.traces.clone().and_then(|traces| serde_json::from_value(traces).ok()).unwrap_or_default();
    let failed: Vec<_> = traces.machines.iter().filter(|machine| machine.failed()).collect();
    let mut text = String::new();
    for machine in failed.iter().take(MOST_FAILED_BOOTS) {
        let _ = write!(text, "\nBoot of {} stopped: it {}\n", machine.name(), advice(machine));
    }
    if failed.len() > MOST_FAILED_BOOTS {
        let more = failed.len() - MOST_FAILED_BOOTS;
        let _ = write!(text, "\nand {more} more boots that stopped: `bloomery trace` lists all\n");
    }
    text
}

fn part<T: DeserializeOwned + Default>(server: &DynamicObject, field: &str) -> T {
    let value = server.data.get(field).cloned();
    value.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> SystemTime {
        humantime::parse_rfc3339("2026-11-23T02:00:00Z").unwrap()
    }

    fn report(servers: serde_json::Value) -> Report {
        let appliance = json!({
            "version": "0.1.0", "stage": "up", "hostname": "forge", "volatile": true,
            "phases": [
                {"name": "mounts", "outcome": "done", "durationMs": 300},
                {"name": "network", "outcome": "degraded", "durationMs": 1200, "message": "no DHCP answer"},
            ],
            "services": [
                {"name": "etcd", "state": "running", "since": "2026-11-23T00:47:30Z", "pid": 7, "restarts": 0},
                {"name": "bootsvc", "state": "backingOff", "since": "", "restarts": 3, "lastExit": "exit code 1"},
                {"name": "controllers", "state": "held", "since": "2026-11-23T01:59:00Z", "restarts": 0},
            ],
            "addresses": ["192.0.2.7"], "apiUrl": "https://192.0.2.7:6443",
            "warnings": [{"id": "network", "text": "no lease", "hint": "check the cable"}],
            "later": {"unknown": true},
        });
        Report {
            appliance,
            servers: serde_json::from_value(servers).unwrap(),
            servers_error: None,
            clusters: Some(Vec::new()),
            clusters_error: None,
            controllers: None,
            traces: None,
        }
    }

    #[test]
    fn shows_what_matters() {
        let server = json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server",
            "metadata": {"name": "0ef1", "creationTimestamp": "2026-11-23T01:59:10Z"},
            "spec": {"accepted": true, "hostname": "node"},
            "status": {"isClean": false, "power": "on", "conditions": [{"type": "Ready", "status": "False",
                "severity": "Warning", "reason": "NotConfirmed", "message": "say so",
                "lastTransitionTime": "2026-11-23T01:59:10Z"}]},
        });
        let expected = "\
Appliance:  forge (version 0.1.0), up
API:        https://192.0.2.7:6443
Addresses:  192.0.2.7
Boot:       1 of 2 phases done in 1.5 s
State:      in memory; it will be lost at the next boot
Phase network: degraded: no DHCP answer
Warning:    no lease (check the cable)

SERVICE      STATE       SINCE   RESTARTS  LAST EXIT
etcd         running     1h 12m  0         -
bootsvc      backingOff  -       3         exit code 1
controllers  held        1m      0         -
Held: controllers; `bloomery service start controllers` starts it again

SERVER  HOSTNAME  ACCEPTED  ALLOCATED  CLEAN  POWER  WAITS FOR                 AGE
0ef1    node      yes       no         no     on     confirmation (see below)  50s

0ef1: say so
";
        assert_eq!(render(&report(json!([server])), now()), expected);
    }

    #[test]
    fn controllers_are_told_that_fail_wait_or_are_slow() {
        let controllers = json!([
            {"name": "serverclasses", "failing": 0, "waitsFor": "another plane", "later": 1},
            {"name": "servers", "failing": 2, "longestUnderWay": {"object": "0ef1", "seconds": 180},
             "lastError": {"object": "0ef2", "at": "2026-11-23T01:59:10Z", "error": "no answer"}},
            {"name": "environments", "failing": 0, "longestUnderWay": {"object": "default", "seconds": 3},
             "lastError": {"object": "default", "error": "over"}},
        ]);
        let report = Report { controllers: Some(controllers), ..report(json!([])) };
        let expected = "starts it again\n\
            Controller serverclasses: waits for another plane\n\
            Controller servers: 2 failing, last 0ef2: no answer; at 0ef1 for 180 s\n\n\
            No machine";
        let text = render(&report, now());
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn boots_that_stopped_are_told_with_what_to_do() {
        let machine = json!({"uuid": null, "macs": ["52:54:00:77:01:01"], "verdict":
            {"state": "failed", "what": "never asked for the loader", "advice": "check port 69"}});
        let done = json!({"uuid": "0ef1", "verdict": {"state": "done", "what": "runs the agent"}});
        let few = Report { traces: Some(json!({"machines": [machine, done]})), ..report(json!([])) };
        let text = render(&few, now());
        assert!(text.ends_with(
            "\nBoot of 52:54:00:77:01:01 stopped: it never asked for the loader; check port 69\n"
        ));
        let many = Report { traces: Some(json!({"machines": vec![machine; 8]})), ..report(json!([])) };
        assert!(
            render(&many, now()).ends_with("\nand 3 more boots that stopped: `bloomery trace` lists all\n")
        );
    }

    #[test]
    fn survives_objects_that_it_cannot_read_and_an_api_that_is_away() {
        let odd = json!({"apiVersion": "v9", "kind": "Server", "metadata": {"name": "odd"}, "spec": 3});
        assert!(render(&report(json!([odd])), now()).contains("odd     -"));
        assert!(render(&report(json!([])), now()).ends_with("No machine has registered yet.\n"));
        let away = Report { servers_error: Some("away".to_owned()), ..report(json!(null)) };
        assert!(render(&away, now()).ends_with("Machines: away\n"));
        let novel = Report { appliance: json!({"services": "novel"}), ..report(json!([])) };
        assert!(render(&novel, now()).starts_with(r#"{"services":"novel"}"#));
    }
}
