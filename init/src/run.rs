//! The life of PID 1: boot, wait for a request to end, shut down.
//!
//! It must never return in a machine: what comes after its end is a kernel panic.

use crate::console::Console;
use crate::context::Context;
use crate::layout::Layout;
use crate::requests::{self, Request};
use crate::sequence::boot::{self, Booted};
use crate::sequence::shutdown;
use crate::status::Stage;
use crate::supervise::reaper::Reaper;
use crate::words::human;
use bloomery_sys::power::{self, Action};
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// After a refused reboot, before it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Boots, serves and shuts down. Returns only where PID 1 may: in a container, or when it is not PID 1 at all.
pub async fn run(layout: Layout, container: bool, console: Console) -> ExitCode {
    let started = Instant::now();
    let reaper = Reaper::default();
    // Supervised by itself: a bug in it must not leave the dead around.
    tokio::spawn(for_ever(reaper.clone()));
    let context = Context::new(layout, container, console, reaper);
    context.console.line(format!("Bloomery {}", context.release.version));
    if !container && let Err(error) = power::disable_ctrl_alt_del() {
        tracing::warn!(%error, "ctrl-alt-del is not orderly");
    }
    let mut requests = requests::listen(container);
    let (request, booted) = boot_and_wait(&context, &mut requests, started).await;
    let action = request.as_ref().map_or(Action::PowerOff, |request| request.action);
    if let Some(Request { by, .. }) = request {
        context.console.line(format!("going down, asked by {by} (again to force it)"));
    }
    tokio::select! {
        () = go_down(&context, booted) => {}
        () = forced(&mut requests) => context.console.line("forced: not waiting any longer"),
    }
    end(&context, action).await
}

/// Boots, and goes on until a request comes, which also ends a boot under way.
async fn boot_and_wait(
    context: &Context,
    requests: &mut mpsc::Receiver<Request>,
    started: Instant,
) -> (Option<Request>, Booted) {
    let (stop, stopped) = watch::channel(false);
    let boot = boot::run(context, stopped);
    tokio::pin!(boot);
    let booted = tokio::select! {
        booted = &mut boot => booted,
        request = requests.recv() => {
            stop.send_replace(true);
            return (request, boot.await);
        }
    };
    context.status.update(|status| status.stage = Stage::Up);
    context.console.line(format!("boot phases done after {}", human(started.elapsed())));
    (requests.recv().await, booted)
}

async fn go_down(context: &Context, booted: Booted) {
    context.status.update(|status| {
        status.stage = Stage::Stopping;
        status.phases.clear();
    });
    shutdown::run(context, booted).await;
}

async fn forced(requests: &mut mpsc::Receiver<Request>) {
    if requests.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The end of the machine's run; in a container, of the process.
async fn end(context: &Context, action: Action) -> ExitCode {
    context.console.line(match action {
        Action::Restart => "restarting",
        Action::PowerOff => "power off",
        Action::Halt => "halted",
    });
    context.console.flush();
    loop {
        match power::reboot(action) {
            Err(power::Error::Container { .. } | power::Error::NotInit { .. }) => return ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "the machine goes on");
                context.console.line(format!("{error}; switch the machine off by hand"));
            }
            Ok(()) => {}
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Starts the reaper again should it ever end.
async fn for_ever(reaper: Reaper) {
    loop {
        if let Err(error) = tokio::spawn(reaper.clone().run()).await {
            tracing::error!(%error, "a bug in the reaper; starting it again");
        }
        tokio::time::sleep(TRY_AGAIN / 50).await;
    }
}
