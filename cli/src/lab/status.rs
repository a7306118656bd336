//! `bloomery lab status`: what runs in a lab folder.

use bloomery_lab::console::Console;
use bloomery_lab::state;

use super::StatusArgs;
use crate::output;

pub(super) fn run(args: &StatusArgs) -> anyhow::Result<()> {
    let out = args.out.display();
    let holder = state::holder_of(&args.out);
    let mut text = match holder {
        Some(pid) => format!("A lab runs in {out} (process {pid}).\n"),
        None => format!("No lab runs in {out}.\n"),
    };
    let mut rows = vec![["MACHINE", "STATE", "LAST CONSOLE LINE"].map(str::to_owned)];
    for name in state::machines(&args.out) {
        let running = holder.is_some() && state::is_on(&args.out, &name);
        let last = Console::whole(&state::console_path(&args.out, &name)).tail().pop().unwrap_or_default();
        rows.push([name, if running { "on" } else { "off" }.to_owned(), last]);
    }
    if rows.len() > 1 {
        text.push('\n');
        text.push_str(&output::table(&rows));
    }
    if holder.is_some() && args.out.join("kubeconfig").is_file() {
        text.push_str("\nexport KUBECONFIG=");
        text.push_str(&args.out.join("kubeconfig").display().to_string());
        text.push('\n');
    }
    Ok(output::text(&text)?)
}
