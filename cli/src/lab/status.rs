//! `bloomery lab status`: what runs in a lab folder.

use std::path::Path;

use bloomery_lab::console::Console;
use bloomery_lab::contract::APPLIANCE;
use bloomery_lab::control::{self, Machine};
use bloomery_lab::state;

use super::StatusArgs;
use super::folder::Folder;
use crate::output;

const HEADING: [&str; 6] = ["MACHINE", "POWER", "BMC", "ENDPOINT", "BMC STATE", "LAST CONSOLE LINE"];
/// What is not there, or not known.
const NOTHING: &str = "-";

pub(super) async fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let out = args.out.display();
    let holder = state::holder_of(&args.out);
    let mut text = match holder {
        Some(pid) => format!("A lab runs in {out} (process {pid}).\n"),
        None => format!("No lab runs in {out}; start one with `bloomery lab run --out {out}`.\n"),
    };
    let folder = holder.map(|_| Folder::open(&args.out)).transpose()?;
    let mut rows = vec![HEADING.map(str::to_owned)];
    let mut remarks = Vec::new();
    for name in state::machines(&args.out) {
        let machine = match &folder {
            Some(folder) if name != APPLIANCE => match control::describe(&folder.socket(), &name).await {
                Ok(machine) => Some(machine),
                Err(error) => {
                    remarks.push(format!("\nNothing is known of {name}'s BMC: {error:#}\n"));
                    None
                }
            },
            _ => None,
        };
        let on =
            folder.is_some() && machine.as_ref().map_or_else(|| state::is_on(&args.out, &name), |it| it.on);
        rows.push(row(&args.out, name, on, machine.as_ref()));
    }
    if rows.len() > 1 {
        text.push('\n');
        text.push_str(&output::table(&rows));
    }
    text.push_str(&remarks.concat());
    if holder.is_some() && args.out.join("kubeconfig").is_file() {
        text.push_str("\nexport KUBECONFIG=");
        text.push_str(&args.out.join("kubeconfig").display().to_string());
        text.push('\n');
    }
    output::text(&text)
}

fn row(out: &Path, name: String, on: bool, machine: Option<&Machine>) -> [String; HEADING.len()] {
    let last = Console::whole(&state::console_path(out, &name)).tail().pop().unwrap_or_default();
    let power = if on { "on" } else { "off" }.to_owned();
    let [kind, endpoint, state] = bmc(machine);
    [name, power, kind, endpoint, state, last]
}

/// Kind, endpoint and state of a machine's BMC.
fn bmc(machine: Option<&Machine>) -> [String; 3] {
    let Some(Machine { on: _, network_next, bmc }) = machine else { return [NOTHING; 3].map(str::to_owned) };
    if bmc.endpoint.is_empty() {
        return [&bmc.kind, NOTHING, NOTHING].map(str::to_owned);
    }
    let state = match (&bmc.ended, network_next) {
        (Some(how), _) => format!("ended ({how})"),
        (None, true) => "answers, next boot: network".to_owned(),
        (None, false) => "answers".to_owned(),
    };
    [bmc.kind.clone(), bmc.endpoint.clone(), state]
}

#[cfg(test)]
mod tests {
    use bloomery_lab::control::BmcState;

    use super::*;

    #[test]
    fn a_bmc_is_shown_with_its_kind_endpoint_and_state() {
        let shown = |kind: &str, endpoint: &str, network_next, ended: Option<&str>| {
            let bmc = BmcState {
                kind: kind.to_owned(),
                endpoint: endpoint.to_owned(),
                ended: ended.map(str::to_owned),
            };
            super::bmc(Some(&Machine { on: true, network_next, bmc }))
        };
        let address = "10.77.0.11:623";
        assert_eq!(shown("ipmi", address, false, None), ["ipmi", address, "answers"]);
        assert_eq!(shown("ipmi", address, true, None), ["ipmi", address, "answers, next boot: network"]);
        assert_eq!(shown("ipmi", address, true, Some("killed")), ["ipmi", address, "ended (killed)"]);
        assert_eq!(shown("none", "", false, None), ["none", "-", "-"]);
        assert_eq!(super::bmc(None), ["-", "-", "-"]);
    }
}
