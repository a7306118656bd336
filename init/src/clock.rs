//! Keeps the clock right by SNTP, in the background.
//!
//! It must never set the clock before the image's build date.

use crate::context::Context;
use crate::network::Network;
use crate::outcome::Outcome;
use crate::pki::authority;
use crate::plane::Plane;
use bloomery_base::chain;
use bloomery_config::Config;
use bloomery_hostnet::sntp;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// While no server has answered yet.
const FIRST_TRIES: Duration = Duration::from_secs(15);
/// Quartz drifts a second in a day.
const INTERVAL: Duration = Duration::from_mins(30);
/// Less than this is the network's, not the clock's.
const TOLERANCE: f64 = 0.05;
/// The certificates of the plane's own authority must outlast any time that is believed.
const _: () = assert!(sntp::LATEST_AFTER_BUILD.as_secs() < authority::LIFETIME.unsigned_abs().as_secs());

/// What a person does about a great step that one server alone asks for.
const UNCONFIRMED: &str = "name a second time server under `ntp.servers` in bloomery.yaml, or set the machine's clock in \
                           its firmware; the clock is moved by more than an hour only when two servers agree";

/// The phase: the clock is never before the image was built. In a container it is the host's.
pub fn set_floor(context: &Context) -> Outcome {
    if !context.container && bloomery_sys::clock::ensure_not_before(context.release.built)? {
        context.console.line("the clock was before the image's build date; set to that for now");
    }
    Ok(())
}

/// Keeps the clock right in the background; not in a container.
pub fn keep_right(context: Context, config: &Config, network: Option<&Network>, plane: Option<Arc<Plane>>) {
    if context.container {
        return;
    }
    let servers = match network {
        Some(network) if config.ntp_servers.is_empty() => network.time_servers(),
        _ => watch::channel(config.ntp_servers.clone()).1,
    };
    tokio::spawn(ask_and_set(context, servers, plane));
}

async fn ask_and_set(context: Context, servers: watch::Receiver<Vec<String>>, plane: Option<Arc<Plane>>) {
    let mut answered = false;
    loop {
        let servers = servers.borrow().clone();
        if !servers.is_empty() {
            match sntp::query(&servers, context.release.built).await {
                Ok(measurement) => {
                    answered = true;
                    context.clear_warning("clock", "a time server answers again");
                    set(&context, &measurement, plane.as_deref());
                }
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "no time server answers");
                    if error.is_unconfirmed() {
                        let text = format!("the clock may be wrong, and is left as it is: {}", chain(&error));
                        context.warn("clock", &text, UNCONFIRMED);
                    } else if !answered {
                        let text = format!("no time server answers ({})", servers.join(", "));
                        context.status.warn(
                            "clock",
                            &text,
                            "set `ntp.servers` in bloomery.yaml to one that can be reached",
                        );
                    }
                }
            }
        }
        tokio::time::sleep(if answered { INTERVAL } else { FIRST_TRIES }).await;
    }
}

fn set(context: &Context, measurement: &sntp::Measurement, plane: Option<&Plane>) {
    if measurement.offset.abs() < TOLERANCE {
        return;
    }
    let Some(time) = measurement.corrected(SystemTime::now()) else { return };
    match bloomery_sys::clock::set(time) {
        Ok(()) => {
            tracing::info!(server = %measurement.server, offset = measurement.offset, "clock set");
            if measurement.offset.abs() > sntp::GREAT_STEP {
                context.console.line(format!(
                    "the clock was wrong by {:.0} s; set by {}",
                    measurement.offset, measurement.server
                ));
                if let Some(plane) = plane {
                    plane.renew();
                }
            }
        }
        Err(error) => tracing::warn!(error = %chain(&error), "the clock was not set"),
    }
}
