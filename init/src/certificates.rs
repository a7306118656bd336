//! Keeps certificates in step with addresses and time, and services in step with both.
//!
//! The API server and the appliance read new serving certificates by themselves; everything else is restarted when
//! its certificates are made anew, which is at half of their life or after a great step of the clock.

use crate::context::Context;
use crate::pki::identities::{CLIENTS, LIFETIME, SHORT_LIFETIME};
use crate::pki::provision::{Names, Provisioner};
use crate::pki::{self, Pki, people};
use crate::services::{self, Inputs};
use bloomery_base::chain;
use bloomery_config::Config;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often the certificates of everything have been made; services of an older generation are restarted.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// What the plane is called now.
fn names(context: &Context) -> Names {
    Names {
        hostname: context.status.get().hostname,
        addresses: addresses(context),
        endpoint: context.config().advertised_endpoint.clone(),
    }
}

fn addresses(context: &Context) -> Vec<IpAddr> {
    let network = context.facts().network.clone();
    network.map(|network| network.addresses().borrow().clone()).unwrap_or_default()
}

fn provisioner<'a>(context: &'a Context, pki: &'a Pki) -> Provisioner<'a> {
    Provisioner { pki, layout: &context.layout, accounts: context.accounts(), now: OffsetDateTime::now_utc() }
}

/// All certificates, at boot.
///
/// # Errors
/// The first one.
pub fn make_all(context: &Context, pki: &Pki) -> Result<(), pki::Error> {
    provisioner(context, pki).everything(&names(context))
}

/// What the services' declarations depend on, now.
pub fn inputs<'a>(context: &'a Context, config: &'a Config, generation: u64) -> Inputs<'a> {
    let address = addresses(context).first().copied();
    let encryption_key = context.facts().encryption_key.clone();
    let (layout, accounts) = (&context.layout, context.accounts());
    let etcd_reserve = context.facts().etcd_reserve;
    Inputs { layout, accounts, config, address, encryption_key, etcd_reserve, generation }
}

/// Makes everything anew and restarts what does not notice by itself.
pub fn renew(context: &Context) {
    let pki = context.facts().pki.clone();
    let Some(pki) = pki else { return };
    match make_all(context, &pki) {
        Ok(()) => {
            GENERATION.fetch_add(1, Ordering::Relaxed);
            redeclare(context);
        }
        Err(error) => complain(context, &error),
    }
}

/// Gives the supervisor the services as they should be now; it restarts those that differ.
pub(crate) fn redeclare(context: &Context) {
    let supervisor = context.facts().supervisor.clone();
    let Some(supervisor) = supervisor else { return };
    let config = context.config();
    for service in services::all(&inputs(context, &config, GENERATION.load(Ordering::Relaxed))) {
        supervisor.change(service);
    }
}

fn complain(context: &Context, error: &pki::Error) {
    context.warn("certificates", &chain(error), "it is tried again; if it lasts, restart the machine");
}

/// Follows addresses and time, for ever.
pub async fn follow(context: Context) {
    let network = context.facts().network.clone();
    let pki: Option<Arc<Pki>> = context.facts().pki.clone();
    let Some(pki) = pki else { return };
    let mut addresses = match network {
        Some(network) => network.addresses(),
        None => watch::channel(Vec::new()).1,
    };
    let short = SHORT_LIFETIME.unsigned_abs() / 2;
    let long = LIFETIME.unsigned_abs() / 2;
    let started = Instant::now();
    let (mut next_short, mut next_long) = (started + short, started + long);
    loop {
        // Addresses that came between the making of the certificates and now are still to be followed.
        if addresses.has_changed().unwrap_or(false) {
            addresses.mark_unchanged();
            follow_addresses(&context, &pki);
        }
        tokio::select! {
            changed = addresses.changed() => match changed {
                Ok(()) => follow_addresses(&context, &pki),
                // The network has been stopped: the machine goes down.
                Err(_) => tokio::time::sleep(Duration::from_hours(1)).await,
            },
            () = tokio::time::sleep_until(next_short) => {
                next_short += short;
                renew_short(&context, &pki);
                publish_people(&context).await;
            }
            () = tokio::time::sleep_until(next_long) => {
                next_long += long;
                context.console.line("certificates have lived half of their life; making new ones");
                renew(&context);
            }
        }
    }
}

fn follow_addresses(context: &Context, pki: &Pki) {
    match provisioner(context, pki).serving(&names(context)) {
        Ok(()) => tracing::info!("serving certificates follow the addresses"),
        Err(error) => complain(context, &error),
    }
    redeclare(context);
}

/// Takes people's certificates that have expired from the servers.
async fn publish_people(context: &Context) {
    let people = context.facts().people.clone();
    let Some(people) = people else { return };
    if let Err(error) = people::publish(&people).await {
        complain(context, &error);
    }
}

/// What holds for a day only.
fn renew_short(context: &Context, pki: &Pki) {
    let provisioner = provisioner(context, pki);
    let short = CLIENTS.iter().filter(|client| client.lifetime == SHORT_LIFETIME);
    for outcome in short.map(|client| provisioner.client(client)) {
        if let Err(error) = outcome {
            complain(context, &error);
        }
    }
}
