//! Keeps the clock right by SNTP, in the background.
//!
//! It must never hold up anything, and never set the clock before the image's build date.

use crate::certificates;
use crate::context::Context;
use crate::pki::authority;
use bloomery_base::chain;
use bloomery_hostnet::sntp;
use std::time::{Duration, SystemTime};

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

/// Asks and sets for ever.
pub async fn keep_right(context: Context) {
    let mut answered = false;
    loop {
        let servers = servers(&context);
        if !servers.is_empty() {
            match sntp::query(&servers, context.release.built).await {
                Ok(measurement) => {
                    answered = true;
                    context.clear_warning("clock", "a time server answers again");
                    set(&context, &measurement);
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

/// The configured ones, or those that DHCP has named.
fn servers(context: &Context) -> Vec<String> {
    let configured = context.config().ntp_servers.clone();
    if !configured.is_empty() {
        return configured;
    }
    let network = context.facts().network.clone();
    network.map(|network| network.time_servers().borrow().clone()).unwrap_or_default()
}

fn set(context: &Context, measurement: &sntp::Measurement) {
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
                certificates::renew(context);
            }
        }
        Err(error) => tracing::warn!(error = %chain(&error), "the clock was not set"),
    }
}
