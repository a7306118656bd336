//! `bloomery lab console`: a machine's console log, live.

use anyhow::bail;
use bloomery_lab::console::Console;
use bloomery_lab::patience::POLL;
use bloomery_lab::state;

use super::ConsoleArgs;
use crate::output;

pub(super) async fn run(args: &ConsoleArgs) -> anyhow::Result<()> {
    let path = state::console_path(&args.out, &args.name);
    if !path.is_file() {
        let known = state::machines(&args.out).join(", ");
        let known =
            if known.is_empty() { "none; has `bloomery lab run` been started?".to_owned() } else { known };
        bail!(
            "failed to find the console of {:?} in {}; consoles there: {known}",
            args.name,
            args.out.display()
        );
    }
    let mut follower = Console::whole(&path).follow();
    loop {
        // Asked first: what is written between the two is shown in the next round.
        let running = state::holder_of(&args.out).is_some();
        let mut lines = follower.lines().join("\n");
        if !lines.is_empty() {
            lines.push('\n');
            output::text(&lines)?;
        }
        if args.no_follow || !running {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    if let Some(rest) = follower.unfinished() {
        output::text(&format!("{rest}\n"))?;
    }
    Ok(())
}
