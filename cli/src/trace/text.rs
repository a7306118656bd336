//! Traces as people read them.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::model::{Machine, Step, Traces};
use crate::output;

/// All machines in a table, the advice for those that stopped below it.
pub(super) fn table(traces: &Traces, now: SystemTime) -> String {
    if traces.machines.is_empty() {
        return "No machine has asked what to boot since the boot services started.\n".to_owned();
    }
    let mut rows = vec![["MACHINE", "MAC", "ADDRESS", "STATE", "SEEN", "STATUS"].map(str::to_owned)];
    rows.extend(traces.machines.iter().map(|machine| {
        let last = machine.steps.last();
        [
            machine.name().to_owned(),
            or_none(machine.macs.first()),
            or_none(machine.addresses.last()),
            machine.verdict.state.clone(),
            last.map_or_else(|| "-".to_owned(), |step| ago(step, now)),
            machine.verdict.what.clone(),
        ]
    }));
    let mut text = output::table(&rows);
    for machine in traces.machines.iter().filter(|machine| machine.failed()) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}: {}\n", machine.name(), advice(machine));
    }
    text
}

/// One machine step by step.
pub(super) fn steps(machine: &Machine) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Machine:    {}", machine.name());
    let _ = writeln!(text, "MACs:       {}", machine.macs.join(", "));
    let _ = writeln!(text, "Addresses:  {}", machine.addresses.join(", "));
    let _ = writeln!(text, "State:      {}: it {}", machine.verdict.state, machine.verdict.what);
    if !machine.verdict.advice.is_empty() {
        let _ = writeln!(text, "To do:      {}", machine.verdict.advice);
    }
    text.push('\n');
    let mut rows = vec![["TIME", "STEP", "TIMES", "DETAIL"].map(str::to_owned)];
    rows.extend(machine.steps.iter().map(|step| {
        let Step { at, last: _, name, detail, count } = step;
        [at.clone(), name.clone(), count.to_string(), detail.clone()]
    }));
    text.push_str(&output::table(&rows));
    text
}

/// What happened and what to do, in one sentence.
pub(crate) fn advice(machine: &Machine) -> String {
    let verdict = &machine.verdict;
    if verdict.advice.is_empty() {
        return verdict.what.clone();
    }
    format!("{}; {}", verdict.what, verdict.advice)
}

fn or_none(text: Option<&String>) -> String {
    text.cloned().unwrap_or_else(|| "-".to_owned())
}

fn ago(step: &Step, now: SystemTime) -> String {
    let text = if step.last.is_empty() { &step.at } else { &step.last };
    let Ok(then) = humantime::parse_rfc3339(text) else { return "-".to_owned() };
    format!("{} ago", crate::output::age(then, now))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn traces() -> Traces {
        let machines = json!({ "machines": [{
            "uuid": "0ef1", "macs": ["52:54:00:77:01:01"], "addresses": ["10.77.0.101"],
            "verdict": { "state": "failed", "what": "was offered a loader and never asked for it",
                "advice": "check port 69", "step": "offer-tftp" },
            "steps": [
                { "at": "2026-11-23T01:59:00Z", "last": "2026-11-23T01:59:10Z", "step": "discover", "detail": "", "count": 3 },
                { "at": "2026-11-23T01:59:10Z", "last": "2026-11-23T01:59:10Z", "step": "offer-tftp", "detail": "snp.efi", "count": 1 },
            ],
        }]});
        serde_json::from_value(machines).unwrap()
    }

    #[test]
    fn the_table_shows_who_stopped_where_and_what_to_do() {
        let now = humantime::parse_rfc3339("2026-11-23T02:00:00Z").unwrap();
        let expected = "\
MACHINE  MAC                ADDRESS      STATE   SEEN     STATUS
0ef1     52:54:00:77:01:01  10.77.0.101  failed  50s ago  was offered a loader and never asked for it

0ef1: was offered a loader and never asked for it; check port 69
";
        assert_eq!(table(&traces(), now), expected);
        assert!(table(&Traces::default(), now).starts_with("No machine"));
    }

    #[test]
    fn one_machine_is_shown_step_by_step() {
        let expected = "\
Machine:    0ef1
MACs:       52:54:00:77:01:01
Addresses:  10.77.0.101
State:      failed: it was offered a loader and never asked for it
To do:      check port 69

TIME                  STEP        TIMES  DETAIL
2026-11-23T01:59:00Z  discover    3
2026-11-23T01:59:10Z  offer-tftp  1      snp.efi
";
        assert_eq!(steps(&traces().machines[0]), expected);
    }
}
