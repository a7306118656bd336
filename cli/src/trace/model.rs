//! The boot services' traces as they come (`GET /v1/traces`).

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// All machines, the one seen last first.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Traces {
    pub(crate) machines: Vec<Machine>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Machine {
    pub(crate) uuid: Option<String>,
    #[serde(default)]
    pub(crate) macs: Vec<String>,
    #[serde(default)]
    pub(crate) addresses: Vec<String>,
    pub(crate) verdict: Verdict,
    #[serde(default)]
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verdict {
    /// `booting`, `done` or `failed`.
    pub(crate) state: String,
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) advice: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) at: String,
    #[serde(default)]
    pub(crate) last: String,
    #[serde(rename = "step")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) count: u32,
}

impl Machine {
    /// The name to show: its UUID, else its first MAC or address.
    pub(crate) fn name(&self) -> &str {
        let known = self.uuid.as_ref().or_else(|| self.macs.first()).or_else(|| self.addresses.first());
        known.map_or("-", String::as_str)
    }

    /// Whether it stopped on the way. Who has neither UUID nor MAC only fetched a file and is no machine that boots.
    pub(crate) fn failed(&self) -> bool {
        self.verdict.state == "failed" && (self.uuid.is_some() || !self.macs.is_empty())
    }
}

pub(crate) fn read(traces: Value) -> anyhow::Result<Traces> {
    serde_json::from_value(traces).context("failed to read the boot traces (-o json shows them as they are)")
}

/// The machines that are meant by a UUID or how it begins, a MAC or an address.
pub(super) fn select(traces: &Value, wanted: &str) -> anyhow::Result<Value> {
    let lower = wanted.trim().to_lowercase();
    let mac = lower.replace('-', ":");
    let machines = traces.get("machines").and_then(Value::as_array).cloned().unwrap_or_default();
    let known = machines.len();
    let listed = |machine: &Value, field: &str, text: &str| {
        machine.get(field).and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == text))
    };
    let meant: Vec<Value> = machines
        .into_iter()
        .filter(|machine| {
            let uuid = machine.get("uuid").and_then(Value::as_str);
            uuid.is_some_and(|uuid| !lower.is_empty() && uuid.starts_with(&lower))
                || listed(machine, "macs", &mac)
                || listed(machine, "addresses", &lower)
        })
        .collect();
    ensure!(
        !meant.is_empty(),
        "failed to find {wanted:?} among the {known} machines that asked what to boot since the boot services \
         started; a machine that is missing sent no DHCPDISCOVER that arrived here: check its boot order, cable and VLAN"
    );
    Ok(json!({ "machines": meant }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_found_by_any_of_their_names() {
        let machine = |uuid: &str, mac: &str, address: &str| {
            json!({ "uuid": uuid, "macs": [mac], "addresses": [address],
                "verdict": { "state": "done", "what": "x" } })
        };
        let all = json!({ "machines": [
            machine("0ef10000-0000-4000-8000-000000000001", "52:54:00:77:01:01", "10.77.0.101"),
            machine("0ef20000-0000-4000-8000-000000000002", "52:54:00:77:01:02", "10.77.0.10"),
        ] });
        for (wanted, count) in
            [("0EF1", 1), ("0ef", 2), ("52-54-00-77-01-02", 1), ("10.77.0.10", 1), ("52:54:00:77:01:01", 1)]
        {
            let found = read(select(&all, wanted).unwrap()).unwrap();
            assert_eq!(found.machines.len(), count, "{wanted}");
        }
        for unknown in ["", "10.77.0", "ff"] {
            let error = select(&all, unknown).unwrap_err();
            assert!(error.to_string().contains("among the 2 machines"), "{error}");
        }
    }
}
