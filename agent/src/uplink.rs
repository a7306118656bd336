//! The network card that the machine booted from, up and with an address for ever.
//!
//! It must never configure another card, and never give up waiting.

use std::path::PathBuf;
use std::time::Duration;

use bloomery_hostnet::dhcp::{Client, Config, Event};
use bloomery_hostnet::link::Error;
use bloomery_hostnet::{Link, MacAddr, Netlink};
use tokio::sync::watch;

use crate::console::{Screen, dhcp_event, waiting_for_card};

/// glibc's resolver reads it; the initramfs is writable.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// A card is looked for at every device event, and this often in case one is missed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often the wait for a card is shown.
const REMIND: Duration = Duration::from_mins(1);
/// Drivers need a moment; before this nothing is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for the card with this hardware address.
pub async fn find_card(
    netlink: &Netlink,
    mac: MacAddr,
    mut devices: watch::Receiver<u64>,
    screen: &Screen,
) -> Result<Link, Error> {
    let mut remind_at = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(link) = netlink.find_by_mac(mac).await? {
            return Ok(link);
        }
        if tokio::time::Instant::now() >= remind_at {
            screen.show(&waiting_for_card(mac, &netlink.links().await?));
            remind_at += REMIND;
        }
        // Both ends of the wait lead to another look.
        let _ = tokio::time::timeout(LOOK_AGAIN, devices.changed()).await;
    }
}

/// Starts the client for the card; it runs until it is dropped.
pub fn configure(netlink: Netlink, link: &Link, mac: MacAddr) -> Client {
    let mut config = Config::new(link.index, &link.name, mac);
    config.resolv_conf = Some(PathBuf::from(RESOLV_CONF));
    Client::start(netlink, config)
}

/// Shows what happens to the address, and takes the host name that comes with it. Ends only if the client dies.
pub async fn follow(client: &mut Client, link: &str, screen: &Screen) {
    while let Some(event) = client.next().await {
        if let Some(text) = dhcp_event(link, &event) {
            screen.show(&text);
        }
        if let Event::Bound(lease) | Event::Renewed(lease) = &event
            && let Some(hostname) = &lease.hostname
            && let Err(error) = bloomery_sys::host::set_name(hostname)
        {
            let error = bloomery_base::chain(&error);
            tracing::warn!(%error, "host name of the lease not used");
        }
    }
}
