//! What /var is: asked of the kernel, and tried.
//!
//! It must never format or repair anything: that was decided before the root was mounted.

use crate::context::Context;
use crate::outcome::{Outcome, Shortfall};
use bloomery_base::chain;
use bloomery_sys::mount::{self, Flags, Mount};
use std::fs;
use std::path::Path;

/// Written and removed to see whether the state can be written to.
const TRIAL: &str = ".bloomery-trial";
/// What the initramfs found, in one line.
const REPORT: &str = "state-report";
/// A quarter of the memory: etcd with few machines needs 100 MB.
const VOLATILE_OPTIONS: &str = "mode=0755,size=25%";

/// Where the state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// On a partition, or given by the container's host.
    Kept,
    /// In memory.
    Volatile,
    /// There, and not usable; nothing may be started on top of it.
    Damaged,
}

/// The state cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to use the state: {0}")]
struct Damaged(String);

/// The phase: a partition that the initramfs has found, checked and mounted, or memory, or what a container's host
/// gives. Memory is said loudly.
pub fn open(context: &Context) -> Outcome<State> {
    let found = find(context);
    context.status.update(|status| status.volatile = matches!(found, Found::Volatile(_)));
    match found {
        Found::Kept => Ok(State::Kept),
        Found::Volatile(why) => {
            context.warn(
                "volatile",
                &format!("the state is in memory and WILL BE LOST at the next restart: {why}"),
                "give the machine a disk of 1 GiB or more with the image on it, and restart",
            );
            Ok(State::Volatile)
        }
        Found::Damaged(why) => Err(Shortfall::with(Damaged(why), State::Damaged)),
    }
}

/// What there is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// State that stays.
    Kept,
    /// Memory, and why.
    Volatile(String),
    /// State that cannot be used, and why.
    Damaged(String),
}

/// Looks, and mounts memory where there is nothing.
fn find(context: &Context) -> Found {
    let var = &context.layout.var;
    if !context.container && !mount::is_mount_point(var) {
        return volatile(
            var,
            &report(context).unwrap_or_else(|| "no state partition was mounted".to_owned()),
        );
    }
    let on_memory = mount::table()
        .unwrap_or_default()
        .iter()
        .any(|mounted| mounted.target == *var && matches!(mounted.fstype.as_str(), "tmpfs" | "ramfs"));
    let trial = var.join(TRIAL);
    let tried = fs::write(&trial, b"").and_then(|()| fs::remove_file(&trial));
    match tried {
        Ok(()) if on_memory => Found::Volatile("it is not on a disk".to_owned()),
        Ok(()) => Found::Kept,
        // A full disk can still be read, and room can be made; it has its own warning.
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => Found::Kept,
        Err(error) => Found::Damaged(
            report(context).unwrap_or_else(|| format!("{} cannot be written to: {error}", var.display())),
        ),
    }
}

/// The initramfs's own words; it is the one that has looked at the disks.
fn report(context: &Context) -> Option<String> {
    if context.container {
        return None;
    }
    let path = context.layout.run.parent()?.join(REPORT);
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn volatile(var: &Path, why: &str) -> Found {
    let memory = Mount {
        source: Path::new("tmpfs"),
        target: var,
        fstype: "tmpfs",
        flags: Flags::MS_NOSUID | Flags::MS_NODEV | Flags::MS_NOEXEC,
        data: VOLATILE_OPTIONS,
    };
    match memory.mount() {
        Ok(()) => Found::Volatile(why.to_owned()),
        Err(error) => {
            Found::Damaged(format!("{why}, and there is no memory for it either: {}", chain(&error)))
        }
    }
}
