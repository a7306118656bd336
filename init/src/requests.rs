//! Requests to take the machine down: signals and the power button.
//!
//! It only passes requests on.

use bloomery_sys::power::Action;
use bloomery_sys::power_button::PowerButton;
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// systemd's signals to PID 1: SIGRTMIN+4 powers off, SIGRTMIN+5 restarts.
const POWER_OFF_OFFSET: i32 = 4;
/// See [`POWER_OFF_OFFSET`].
const RESTART_OFFSET: i32 = 5;
/// Drivers of power buttons may come late.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// It polls and sends.
const WATCHER_STACK: usize = 128 * 1024;
/// More requests than a person makes.
const QUEUE: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub action: Action,
    /// By what, for the console.
    pub by: String,
}

/// Listens to everything that can ask.
pub fn listen(container: bool) -> mpsc::Receiver<Request> {
    let (sender, requests) = mpsc::channel(QUEUE);
    let realtime = nix::libc::SIGRTMIN();
    for (kind, action, by) in [
        (SignalKind::terminate(), Action::PowerOff, "SIGTERM"),
        // The kernel's word for ctrl-alt-del.
        (SignalKind::interrupt(), Action::Restart, "ctrl-alt-del"),
        (SignalKind::from_raw(realtime + POWER_OFF_OFFSET), Action::PowerOff, "SIGRTMIN+4"),
        (SignalKind::from_raw(realtime + RESTART_OFFSET), Action::Restart, "SIGRTMIN+5"),
    ] {
        let sender = sender.clone();
        match signal(kind) {
            Ok(mut stream) => drop(tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    drop(sender.send(Request { action, by: by.to_owned() }).await);
                }
            })),
            Err(error) => tracing::warn!(signal = by, %error, "the signal is not listened to"),
        }
    }
    if !container {
        let watcher = std::thread::Builder::new().name("power-button".to_owned()).stack_size(WATCHER_STACK);
        if let Err(error) = watcher.spawn(move || watch_power_buttons(&sender)) {
            tracing::warn!(%error, "the power button is not watched");
        }
    }
    requests
}

/// Watches all power buttons, for ever, in a thread of its own; looks for new ones when there is none.
fn watch_power_buttons(sender: &mpsc::Sender<Request>) {
    loop {
        let mut buttons = PowerButton::open_all();
        let mut told = true;
        while !buttons.is_empty() && told {
            let mut descriptors: Vec<PollFd<'_>> = buttons
                .iter()
                .map(|button| PollFd::from_borrowed_fd(button.as_fd(), PollFlags::IN))
                .collect();
            told = matches!(poll(&mut descriptors, None), Ok(_) | Err(rustix::io::Errno::INTR));
            drop(descriptors);
            buttons.retain_mut(|button| match button.pressed() {
                Ok(true) => {
                    let by = "the power button".to_owned();
                    drop(sender.blocking_send(Request { action: Action::PowerOff, by }));
                    true
                }
                Ok(false) => true,
                Err(error) => {
                    tracing::debug!(path = %button.path().display(), %error, "power button gone");
                    false
                }
            });
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
}
