//! When and how this machine's run ends: signals and the power button.
//!
//! The agent holds no state, so it ends at once but for what disks still hold. It must never end the run of a machine that it is not PID 1 of.

use std::future::pending;
use std::os::fd::AsFd as _;
use std::time::Duration;

use bloomery_sys::power::{Action, reboot};
use bloomery_sys::power_button::PowerButton;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// Wait before the end is tried again, should the kernel refuse it.
const RETRY: Duration = Duration::from_secs(5);
/// Wait for the disks before the end.
const SYNC_LIMIT: Duration = Duration::from_secs(10);
/// New buttons and the end of the wait are noticed this late.
const POLL_MILLISECONDS: u16 = 1000;

/// Waits until somebody wants the machine to end. `devices` changes when input devices may have come.
///
/// SIGTERM and SIGINT (ctrl-alt-del) restart, SIGUSR2 and the power button switch off.
pub async fn requested(devices: watch::Receiver<u64>) -> Action {
    tokio::select! {
        () = received(SignalKind::terminate()) => Action::Restart,
        () = received(SignalKind::interrupt()) => Action::Restart,
        () = received(SignalKind::user_defined2()) => Action::PowerOff,
        () = button(devices) => Action::PowerOff,
    }
}

/// Gives disks the time to write what they hold; one that does not answer must not keep the machine from its end.
fn sync() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("sync".to_owned());
    let started = thread.spawn(move || {
        nix::unistd::sync();
        drop(done);
    });
    if started.is_ok() {
        // Either way the wait is over.
        let _ = wait.recv_timeout(SYNC_LIMIT);
    }
}

/// Ends the run; returns only where that is refused for good (not PID 1, a container).
#[expect(clippy::disallowed_methods, reason = "all that is left to do is to try again")]
pub fn end(action: Action) -> bloomery_sys::power::Error {
    sync();
    loop {
        match reboot(action) {
            Err(error @ bloomery_sys::power::Error::Refused { .. }) => {
                let error = bloomery_base::chain(&error);
                tracing::error!(%error, ?action, "trying again");
            }
            Err(error) => return error,
            Ok(()) => {}
        }
        std::thread::sleep(RETRY);
    }
}

async fn received(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signal) => wait(&mut signal).await,
        Err(error) => {
            tracing::warn!(%error, ?kind, "signal not heard");
            pending::<()>().await;
        }
    }
}

async fn wait(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        pending::<()>().await;
    }
}

/// Waits for a press of any power button there is or will be. A thread of its own polls: the buttons are
/// plain descriptors, and the async runtime takes those only through `unsafe`.
async fn button(devices: watch::Receiver<u64>) {
    let (pressed, press) = oneshot::channel();
    let thread = std::thread::Builder::new().name("power-button".to_owned());
    if let Err(error) = thread.spawn(move || watch_buttons(devices, pressed)) {
        tracing::warn!(%error, "power button not watched");
    }
    if press.await.is_err() {
        pending::<()>().await;
    }
}

/// Returns after a press, which it reports, or when nobody waits for one any more.
fn watch_buttons(mut changes: watch::Receiver<u64>, pressed: oneshot::Sender<()>) {
    let mut buttons = PowerButton::open_all();
    while !pressed.is_closed() {
        if changes.has_changed().unwrap_or(false) {
            changes.mark_unchanged();
            buttons = PowerButton::open_all();
        }
        let mut fds: Vec<PollFd<'_>> =
            buttons.iter().map(|button| PollFd::new(button.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::from(POLL_MILLISECONDS)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return tracing::warn!(%error, "power button no longer watched"),
        }
        // A button that fails is gone; the next device event opens those that are there.
        let mut any = false;
        buttons.retain_mut(|button| match button.pressed() {
            Ok(press) => {
                any |= press;
                true
            }
            Err(_gone) => false,
        });
        if any {
            let _ = pressed.send(());
            return;
        }
    }
}
