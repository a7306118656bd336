//! `bloomery lab power`: a machine's switch, by hand.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bloomery_lab::control::{self, Request};
use bloomery_lab::state;

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
    // The address of a unix socket holds only 108 bytes.
    let folder = File::open(&args.out).with_context(|| format!("failed to open {}", args.out.display()))?;
    let socket = PathBuf::from(format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), control::SOCKET));
    let answer = control::ask(&socket, &args.name, request).await?;
    if args.action == PowerAction::Status {
        output::text(if answer == "1" { "on\n" } else { "off\n" })?;
    }
    Ok(())
}
