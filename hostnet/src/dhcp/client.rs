//! Drives a [`Machine`] with a socket, a clock and the link, and puts its leases onto the link.
//!
//! It must never stop by itself, and never tell of a lease before the link has it.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::message::MAX_MESSAGE;
use super::{Config, Event, Identity, Lease, Machine, Output, socket};
use crate::link::{Change, Link, Netlink, Watch};
use crate::network::Configured;
use crate::resolv;
use bloomery_base::chain;

/// How long to wait after this host itself failed (no socket, link refused).
const RETRY: Duration = Duration::from_secs(5);
/// Events an owner may leave unread; they come at most every few seconds.
const EVENTS: usize = 64;
/// The client's seed differs from machine to machine and from start to start.
fn seed() -> u64 {
    rand::random()
}

/// A running client. Dropping it ends it and leaves the link as it is; nothing is released to the server,
/// so that a restart gets the same address again.
#[derive(Debug)]
pub struct Client {
    events: mpsc::Receiver<Event>,
    lease: watch::Receiver<Option<Lease>>,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts a client that runs until it is dropped. Must be called inside a tokio runtime.
    pub fn start(netlink: Netlink, config: Config) -> Self {
        let (event_sender, events) = mpsc::channel(EVENTS);
        let (lease_sender, lease) = watch::channel(None);
        let owner = Owner { events: event_sender, lease: lease_sender };
        let task = tokio::spawn(Driver::new(netlink, config, owner).run());
        Self { events, lease, task }
    }

    /// The next event; none only if the client died of a bug. Safe to drop while waiting.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The lease on the link, now and whenever it changes.
    pub fn lease(&self) -> watch::Receiver<Option<Lease>> {
        self.lease.clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Readers of the events.
#[derive(Debug)]
struct Owner {
    events: mpsc::Sender<Event>,
    lease: watch::Sender<Option<Lease>>,
}

impl Owner {
    fn tell(&self, event: Event) {
        match &event {
            Event::Bound(lease) | Event::Renewed(lease) => {
                self.lease.send_replace(Some(lease.clone()));
            }
            Event::Lost { .. } => {
                self.lease.send_replace(None);
            }
            Event::NoAnswer { .. } | Event::Failed { .. } => {}
        }
        if let Err(error) = self.events.try_send(event) {
            tracing::debug!(%error, "dhcp event not delivered");
        }
    }

    fn failed(&self, error: &dyn std::error::Error) {
        self.tell(Event::Failed { error: chain(error) });
    }
}

struct Driver {
    netlink: Netlink,
    config: Config,
    owner: Owner,
    machine: Machine,
    configured: Configured,
    /// The link's count when it was last looked at.
    carrier_ups: u32,
    /// A lease that the link does not have yet, and when to try again.
    unapplied: Option<(Event, Instant)>,
}

impl Driver {
    fn new(netlink: Netlink, config: Config, owner: Owner) -> Self {
        let identity = Identity { mac: config.mac, hostname: config.hostname.clone() };
        let machine = Machine::new(identity, config.timing, seed(), Instant::now().into_std());
        let configured = Configured::nothing(config.index);
        Self { netlink, config, owner, machine, configured, carrier_ups: 0, unapplied: None }
    }

    async fn run(mut self) {
        loop {
            match self.open().await {
                Ok((socket, watch)) => self.serve(&socket, watch).await,
                Err(error) => self.owner.tell(Event::Failed { error }),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn open(&mut self) -> Result<(UdpSocket, Watch), String> {
        // Subscribed before the link is looked at, so that no change falls between.
        let watch = Watch::open().map_err(|error| chain(&error))?;
        let index = self.config.index;
        self.netlink.set_up(index).await.map_err(|error| chain(&error))?;
        let link = self.netlink.link(index).await.map_err(|error| chain(&error))?;
        let socket = socket::open(&self.config.name).map_err(|error| chain(&error))?;
        self.carrier_ups = link.carrier_ups;
        let outputs = self.machine.carrier_changed(now(), link.carrier);
        self.carry_out(outputs, &socket).await;
        Ok((socket, watch))
    }

    /// Serves until the socket or the watch breaks.
    async fn serve(&mut self, socket: &UdpSocket, mut watch: Watch) {
        let mut buffer = [0; MAX_MESSAGE as usize];
        loop {
            let deadline = self.machine.deadline();
            let outputs = tokio::select! {
                received = socket.recv(&mut buffer) => match received {
                    Ok(length) => self.machine.receive(now(), buffer.get(..length).unwrap_or_default()),
                    Err(source) => return self.owner.failed(&source),
                },
                () = until(deadline.map(Instant::from_std)) => self.machine.poll(now()),
                () = until(self.unapplied.as_ref().map(|(_, at)| *at)) => {
                    if let Some((event, _)) = self.unapplied.take() {
                        self.apply(event).await;
                    }
                    Vec::new()
                }
                change = watch.next() => match change {
                    Ok(Change::Link(link)) if link.index == self.config.index => {
                        self.link_changed(&link)
                    }
                    Ok(Change::LinkGone { index }) if index == self.config.index => {
                        return self.owner.failed(&crate::link::Error::NoLink { index });
                    }
                    Ok(_) => Vec::new(),
                    Err(error) => return self.owner.failed(&error),
                },
            };
            self.carry_out(outputs, socket).await;
        }
    }

    fn link_changed(&mut self, link: &Link) -> Vec<Output> {
        // The kernel tells of a carrier late and only of the last state: a cable that was replugged within
        // a second shows in the count alone.
        if link.carrier && link.carrier_ups != self.carrier_ups {
            self.machine.carrier_changed(now(), false);
        }
        self.carrier_ups = link.carrier_ups;
        self.machine.carrier_changed(now(), link.carrier)
    }

    async fn carry_out(&mut self, outputs: Vec<Output>, socket: &UdpSocket) {
        for output in outputs {
            match output {
                Output::Send { payload, to } => {
                    let destination = socket::destination(to);
                    if let Err(error) = socket.send_to(&payload, destination).await {
                        // The machine repeats it in time.
                        tracing::debug!(link = %self.config.name, %destination, %error, "dhcp packet not sent");
                    }
                }
                Output::Event(event) => self.apply(event).await,
            }
        }
    }

    /// Changes the link as the event says, then tells of it.
    async fn apply(&mut self, event: Event) {
        let outcome = match &event {
            Event::Bound(lease) | Event::Renewed(lease) => self.put(lease).await,
            Event::Lost { .. } => self.configured.clear(&self.netlink).await.map_err(|error| chain(&error)),
            Event::NoAnswer { .. } | Event::Failed { .. } => return self.owner.tell(event),
        };
        self.unapplied = match outcome {
            Ok(()) => {
                self.owner.tell(event);
                None
            }
            Err(error) => {
                self.owner.tell(Event::Failed { error });
                Some((event, Instant::now() + RETRY))
            }
        };
    }

    async fn put(&mut self, lease: &Lease) -> Result<(), String> {
        let config = lease.ipv4(self.config.metric);
        self.configured.apply(&self.netlink, config).await.map_err(|error| chain(&error))?;
        if let Some(path) = &self.config.resolv_conf
            && let Err(error) = resolv::write(path, &lease.resolver())
        {
            // An address without name servers is worth having; the next renewal writes again.
            self.owner.failed(&error);
        }
        Ok(())
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
