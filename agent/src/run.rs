//! The agent from the kernel's hand-over to its end, in order.
//!
//! It must never return without an action or an error that a person can read.

use std::path::Path;
use std::time::Duration;

use bloomery_hostnet::Netlink;
use bloomery_sys::power::Action;
use tokio::sync::{mpsc, watch};

use crate::console::{self, Screen};
use crate::contents::Survey;
use crate::disks::Places;
use crate::follow::{Follower, Waits, settle};
use crate::inventory::{self, Inventory, SYSFS};
use crate::orders::Answer;
use crate::plane::Plane;
use crate::register::{Pace, Report, keep_registered};

use crate::{cmdline, devices, power, uplink};

/// Wait before a restart that may help (the boot script may say the right thing next time).
const RESTART_WAIT: Duration = Duration::from_mins(1);
/// Reports a slow console may be behind.
const REPORTS: usize = 8;
/// What the kernel calls a host that was given no name.
const UNNAMED: [&str; 3] = ["", "(none)", "localhost"];

/// What keeps the agent from working at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read {}", cmdline::PATH)]
    ReadArguments(#[source] std::io::Error),
    #[error("failed to start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("failed to look at the network cards")]
    Network(#[source] bloomery_hostnet::link::Error),
    #[error("failed to keep {task} running")]
    Ended { task: &'static str },
}

/// Loads drivers, brings the network up, registers and keeps registered, until somebody wants the machine to end.
pub fn run(screen: &Screen) -> Result<Action, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let cmdline = std::fs::read_to_string(cmdline::PATH).map_err(Error::ReadArguments)?;
    let devices = devices::serve();
    let outcome = runtime.block_on(async {
        tokio::select! {
            action = power::requested(devices.clone()) => Ok(action),
            outcome = work(&cmdline, devices, screen) => outcome,
        }
    });
    // A name look-up that hangs in a thread must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn work(cmdline: &str, devices: watch::Receiver<u64>, screen: &Screen) -> Result<Action, Error> {
    let arguments = match cmdline::parse(cmdline) {
        Ok(arguments) => arguments,
        Err(error) => {
            let wait = RESTART_WAIT.as_secs();
            let next =
                format!("this machine must be started by the plane's boot script; restarting in {wait} s");
            screen.show(&console::fatal(&error, &next));
            tokio::time::sleep(RESTART_WAIT).await;
            return Ok(Action::Restart);
        }
    };
    screen.show(&format!(
        "START  Bloomery agent {}, plane {}",
        env!("CARGO_PKG_VERSION"),
        arguments.endpoint
    ));
    let netlink = Netlink::connect().map_err(Error::Network)?;
    let card =
        uplink::find_card(&netlink, arguments.mac, devices.clone(), screen).await.map_err(Error::Network)?;
    screen.show(&format!("OK     network card {} {}", card.name, arguments.mac));
    let mut client = uplink::configure(netlink.clone(), &card, arguments.mac);
    let mut lease = client.lease();
    let (reports, shown) = mpsc::channel(REPORTS);
    tokio::select! {
        () = uplink::follow(&mut client, &card.name, screen) => Err(Error::Ended { task: "the DHCP client" }),
        () = show(shown, &arguments.endpoint, screen) => Err(Error::Ended { task: "the console" }),
        action = async {
            let waits = Waits::default();
            // Without an address every try would only fail; after a lost lease they are made and fail with a reason.
            // What the plane is told first is what it decides on: not before all disks have come up.
            let _ = tokio::join!(lease.wait_for(Option::is_some), settle(devices.clone(), waits));
            let survey = Survey::new(Places::default());
            let read = || read(netlink.clone(), survey.clone());
            let cmdline::Arguments { endpoint, token, plane: fingerprint, mac: _ } = arguments.clone();
            let plane = Plane { endpoint, token, fingerprint };
            let mut follower =
                Follower::new(plane.clone(), screen.clone(), devices, survey.clone(), waits);
            keep_registered(&plane, Pace::default(), hostname, read, reports, &mut follower).await
        } => action.ok_or(Error::Ended { task: "the registration" }),
    }
}

async fn read(netlink: Netlink, survey: Survey) -> Inventory {
    let links = netlink.links().await.unwrap_or_else(|error| {
        let error = bloomery_base::chain(&error);
        tracing::warn!(%error, "network cards not listed");
        Vec::new()
    });
    // Firmware behind sysfs can be slow to answer.
    let inventory = tokio::task::spawn_blocking(move || inventory::read(Path::new(SYSFS), &links)).await;
    let mut inventory = inventory.unwrap_or_else(|error| {
        tracing::error!(%error, "hardware not read");
        Inventory::default()
    });
    survey.describe(inventory.hardware.storage.get_or_insert_default()).await;
    inventory
}

fn hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    given(&name).to_owned()
}

/// The name if somebody gave it; the kernel's own words for none are none.
fn given(name: &str) -> &str {
    let name = name.trim();
    let host = name.split('.').next().unwrap_or_default();
    if UNNAMED.iter().any(|none| host.eq_ignore_ascii_case(none)) { "" } else { name }
}

/// Shows what is new: the whole block when the machine or the plane's answer changed, else nothing.
async fn show(mut reports: mpsc::Receiver<Report>, endpoint: &str, screen: &Screen) {
    let mut last: Option<(Inventory, Answer)> = None;
    let mut failing = false;
    while let Some(report) = reports.recv().await {
        match report {
            Report::Registered { inventory, answer } => {
                let now = (*inventory, answer);
                if last.as_ref() != Some(&now) {
                    screen.show(&console::machine(endpoint, &now.0, &now.1));
                    let uuid = now.0.uuid().unwrap_or_default();
                    screen.show(&format!("OK     registered {uuid} with the plane at {endpoint}"));
                } else if failing {
                    screen.show(&format!("OK     the plane at {endpoint} answers again"));
                }
                last = Some(now);
                failing = false;
            }
            Report::Failed { error, attempt, retry_in } => {
                screen.show(&console::register_failed(&error, attempt, retry_in));
                failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::given;

    #[test]
    fn a_host_without_a_name_has_none() {
        for none in ["", "(none)", "(none).(none)", " (none)\n", "localhost", "Localhost.localdomain"] {
            assert_eq!(given(none), "", "{none:?}");
        }
        assert_eq!(given("node-7.rack.example"), "node-7.rack.example");
    }
}
