//! Keeps one interface configured: waits for it, then DHCP or the fixed address, for ever.

use super::choose;
use crate::context::Context;
use crate::sysctl;
use crate::words::human;
use bloomery_base::chain;
use bloomery_config::{Addressing, Config, StaticAddress};
use bloomery_hostnet::dhcp::{self, Client, Event};
use bloomery_hostnet::fixed::Fixed;
use bloomery_hostnet::{Link, Netlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Drivers may bring interfaces up late, and people plug them in later still.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A message that says the same is repeated this seldom.
const REPEAT: Duration = Duration::from_mins(1);
/// A fixed address that was refused.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// The image's /etc/resolv.conf is a link to it: the root is read-only. It has a directory of its own, which programs
/// that give up all other files keep (`sys/src/confine.rs`): the file is replaced by each lease.
pub(crate) const RESOLV_CONF: &str = "/run/resolv/resolv.conf";
/// The warning about the network.
const WARNING: &str = "network";

/// Says a thing when it is new, and now and then while it lasts.
#[derive(Debug, Default)]
struct Throttle {
    said: Option<(String, Instant)>,
}

impl Throttle {
    fn is_due(&mut self, text: &str) -> bool {
        let due = self.said.as_ref().is_none_or(|(old, at)| old != text || at.elapsed() >= REPEAT);
        if due {
            self.said = Some((text.to_owned(), Instant::now()));
        }
        due
    }
}

pub(super) async fn keep_configured(
    context: Context,
    config: Arc<Config>,
    netlink: Netlink,
    time_servers: watch::Sender<Vec<String>>,
) {
    let mut throttle = Throttle::default();
    loop {
        let link =
            wait_for_link(&context, &netlink, config.network.interface.as_deref(), &mut throttle).await;
        if context.container && as_given(&context, &link, &config.network.addressing) {
            context.console.line(format!("{}: addresses as given by the container's host", link.name));
            return std::future::pending().await;
        }
        match &config.network.addressing {
            Addressing::Static(address) => {
                keep_fixed(&context, &netlink, &link, address, &mut throttle).await;
            }
            Addressing::Dhcp => {
                keep_leased(&context, &netlink, &link, &config.hostname, &time_servers, &mut throttle).await;
            }
        }
    }
}

/// In a container an interface that has an address was configured by somebody who knows better.
fn as_given(context: &Context, link: &Link, addressing: &Addressing) -> bool {
    let has_address = link.addresses.iter().any(|net| super::addresses::is_public(net.addr()));
    context.container && has_address && *addressing == Addressing::Dhcp
}

async fn wait_for_link(
    context: &Context,
    netlink: &Netlink,
    configured: Option<&str>,
    throttle: &mut Throttle,
) -> Link {
    loop {
        match netlink.links().await {
            Ok(links) => {
                if let Some(link) = choose::interface(&links, configured) {
                    return link.clone();
                }
                let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
                let wanted = configured.unwrap_or("an Ethernet interface");
                let text = format!("no network: there is no {wanted} (there are: {})", names.join(", "));
                say_trouble(context, throttle, &text, "connect one, or name another in bloomery.yaml");
            }
            Err(error) => say_trouble(context, throttle, &chain(&error), "it is tried again"),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn say_trouble(context: &Context, throttle: &mut Throttle, text: &str, hint: &str) {
    context.status.warn(WARNING, text, hint);
    if throttle.is_due(text) {
        tracing::warn!(text, hint, "network trouble");
        context.console.line(format!("{text}; {hint}"));
    }
}

async fn keep_fixed(
    context: &Context,
    netlink: &Netlink,
    link: &Link,
    address: &StaticAddress,
    throttle: &mut Throttle,
) {
    let fixed = Fixed {
        address: address.address,
        gateway: address.gateway,
        nameservers: address.nameservers.clone(),
        domain: None,
        mtu: None,
    };
    if !context.container
        && let Err(error) = sysctl::ignore_router_advertisements(Path::new(sysctl::ROOT), &link.name)
    {
        tracing::warn!(link = %link.name, %error, "routers may still configure this interface");
    }
    match fixed.apply(netlink, link.index, Path::new(RESOLV_CONF)).await {
        Ok(configured) => {
            context.console.line(format!("{}: {} (static)", link.name, address.address));
            context.clear_warning(WARNING, "the network is up");
            std::future::pending::<()>().await;
            // Kept until then: it knows what was put onto the link.
            drop(configured);
        }
        Err(error) => {
            say_trouble(
                context,
                throttle,
                &chain(&error),
                "correct `network.static` in bloomery.yaml and restart",
            );
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}

async fn keep_leased(
    context: &Context,
    netlink: &Netlink,
    link: &Link,
    hostname: &str,
    time_servers: &watch::Sender<Vec<String>>,
    throttle: &mut Throttle,
) {
    let Some(mac) = link.mac else {
        tokio::time::sleep(LOOK_AGAIN).await;
        return;
    };
    let mut config = dhcp::Config::new(link.index, &link.name, mac);
    config.hostname = Some(hostname.to_owned());
    config.resolv_conf = Some(RESOLV_CONF.into());
    let mut client = Client::start(netlink.clone(), config);
    context.console.line(format!("{}: asking for an address by DHCP", link.name));
    while let Some(event) = client.next().await {
        match event {
            Event::Bound(lease) => {
                context
                    .console
                    .line(format!("{}: {} (DHCP server {})", link.name, lease.address, lease.server));
                context.clear_warning(WARNING, "the network is up");
                time_servers.send_replace(lease.ntp_servers.iter().map(ToString::to_string).collect());
            }
            Event::Renewed(lease) => {
                tracing::debug!(address = %lease.address, "lease extended");
                context.clear_warning(WARNING, "the network is up");
                time_servers.send_replace(lease.ntp_servers.iter().map(ToString::to_string).collect());
            }
            Event::Lost { lease, reason } => {
                let text = format!("{}: the address {} is lost ({reason:?})", link.name, lease.address);
                say_trouble(
                    context,
                    throttle,
                    &text,
                    "check the site's DHCP server; it is asked again for ever",
                );
            }
            Event::NoAnswer { silent, carrier, .. } => {
                let why =
                    if carrier { "no DHCP server answers" } else { "no cable, or the other end is off" };
                let text = format!("{}: {why}", link.name);
                tracing::debug!(link = %link.name, silent = %human(silent), carrier, "no answer");
                let hint = "asking for ever; a static address can be set in bloomery.yaml";
                say_trouble(context, throttle, &text, hint);
            }
            Event::Failed { error } => {
                say_trouble(context, throttle, &format!("{}: {error}", link.name), "it is tried again");
            }
        }
    }
    tracing::error!(link = %link.name, "the DHCP client has ended; starting another one");
    tokio::time::sleep(LOOK_AGAIN).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_trouble_is_said_now_and_then() {
        let mut throttle = Throttle::default();
        assert!(throttle.is_due("no answer"));
        assert!(!throttle.is_due("no answer"));
        assert!(throttle.is_due("no cable"));
        tokio::time::advance(REPEAT).await;
        assert!(throttle.is_due("no cable"));
    }
}
