//! `bloomery lab power`: a machine's switch, by hand.

use anyhow::bail;
use bloomery_lab::control::{self, Request};
use bloomery_lab::state;

use super::folder::Folder;
use super::{PowerAction, PowerArgs};
use crate::output;

pub(super) async fn run(args: &PowerArgs) -> anyhow::Result<()> {
    if state::holder_of(&args.out).is_none() {
        bail!("failed to find a running lab in {}; start one with `bloomery lab run`", args.out.display());
    }
    let request = match args.action {
        PowerAction::On => Request::HandOn,
        PowerAction::Off => Request::HandOff,
        PowerAction::Cycle => Request::HandCycle,
        PowerAction::Status => Request::Power,
    };
    let folder = Folder::open(&args.out)?;
    let answer = control::ask(&folder.socket(), &args.name, request).await?;
    if args.action == PowerAction::Status {
        output::text(if answer == "1" { "on\n" } else { "off\n" })?;
    }
    Ok(())
}
