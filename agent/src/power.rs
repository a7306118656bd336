//! When and how this machine's run ends: signals and the power button.
//!
//! The agent holds no state, so it ends at once. It must never end the run of a machine that it is not PID 1 of.

use std::future::pending;
use std::time::Duration;

use bloomery_sys::power::{Action, reboot};
use bloomery_sys::power_button::PowerButton;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Wait before the end is tried again, should the kernel refuse it.
const RETRY: Duration = Duration::from_secs(5);

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

/// Ends the run; returns only where that is refused for good (not PID 1, a container).
pub fn end(action: Action) -> bloomery_sys::power::Error {
    loop {
        match reboot(action) {
            Err(error @ bloomery_sys::power::Error::Refused { .. }) => {
                let error = bloomery_hostnet::network::chain(&error);
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
            pending().await
        }
    }
}

async fn wait(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        pending::<()>().await;
    }
}

/// Waits for a press of any power button there is or will be.
async fn button(mut devices: watch::Receiver<u64>) {
    loop {
        // Opened anew at each change: descriptors of buttons that stay are cheap, those of gone ones useless.
        let mut presses: JoinSet<()> = PowerButton::open_all().into_iter().map(pressed).collect();
        if presses.is_empty() {
            presses.spawn(pending());
        }
        tokio::select! {
            Some(_) = presses.join_next() => return,
            changed = devices.changed() => {
                if changed.is_err() {
                    // No more events: what there is stays.
                    let _ = presses.join_next().await;
                    return;
                }
            }
        }
    }
}

async fn pressed(button: PowerButton) {
    let Ok(mut button) = AsyncFd::register_with_interest(button, Interest::READABLE) else {
        return pending().await;
    };
    loop {
        let Ok(mut ready) = button.readable_mut().await else { return pending().await };
        match ready.get_inner_mut().pressed() {
            Ok(true) => return,
            Ok(false) => ready.clear_ready(),
            // The device is gone; the next event opens those that are there.
            Err(_) => return pending().await,
        }
    }
}
