//! The running services with what their declarations depend on: addresses, certificates and etcd's reserve. When one
//! of these changes, the supervisor gets the declarations anew and restarts the services that differ.
//!
//! The API server and the appliance read new serving certificates by themselves; everything else is restarted when
//! its certificates are made anew, which is at half of their life or after a great step of the clock.

use crate::announce;
use crate::certificates::{Credentials, make_all, provisioner};
use crate::context::Context;
use crate::disk_state::State;
use crate::outcome::Outcome;
use crate::pki::identities::{CLIENTS, LIFETIME, SHORT_LIFETIME};
use crate::pki::provision::Names;
use crate::pki::{self, Pki, people};
use crate::service_requests::ServiceRequests;
use crate::services::{self, Inputs};
use crate::supervise::cgroup::Cgroups;
use crate::supervise::limits::total_memory;
use crate::supervise::service::Service;
use crate::supervise::{Shared, Supervisor};
use bloomery_base::chain;
use bloomery_config::Config;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug)]
pub struct Plane {
    pub context: Context,
    pub supervisor: Arc<Supervisor>,
    config: Arc<Config>,
    credentials: Credentials,
    changing: Mutex<Changing>,
}

/// What changes while the plane runs.
#[derive(Debug)]
struct Changing {
    addresses: Vec<IpAddr>,
    etcd_reserve: bool,
    /// How often all certificates were made; services of an older generation are restarted.
    generation: u64,
}

/// The phase: starts the service graph, which runs by itself from here on, and answers the appliance server. Nothing is
/// started on top of damaged state.
pub fn start(
    context: &Context,
    state: State,
    config: Arc<Config>,
    credentials: Option<Credentials>,
) -> Outcome<Option<Arc<Plane>>> {
    let credentials = credentials.filter(|_| state != State::Damaged);
    let Some(credentials) = credentials else {
        context.warn(
            "state",
            "the control plane is not started: its state is damaged",
            "look at the messages of the phases `state` and `pki` above; restore a backup, or flash the image anew",
        );
        return Ok(None);
    };
    let shared = Shared {
        reaper: context.reaper.clone(),
        cgroups: Cgroups::detect(context.container),
        logs: context.logs.clone(),
        console: context.console.clone(),
        status: context.status.clone(),
    };
    if !shared.cgroups.limit_memory() {
        context.console.line("the kernel counts no memory of groups here: each process is limited by itself");
    }
    for line in announce::effect(&config) {
        context.console.line(line);
    }
    let changing = Changing { addresses: Vec::new(), etcd_reserve: false, generation: 0 };
    let declared = declarations(context, &config, &credentials, &changing);
    let supervisor = Arc::new(Supervisor::start(declared, &shared)?);
    let requests = ServiceRequests::new(Arc::clone(&supervisor), context.layout.logs());
    let changing = Mutex::new(changing);
    let plane = Arc::new(Plane { context: context.clone(), supervisor, config, credentials, changing });
    match people::listen(&plane.credentials.people, requests, &context.layout, context.accounts()) {
        Ok(()) => Ok(Some(plane)),
        Err(error) => Err(crate::outcome::Shortfall::with(error, Some(plane))),
    }
}

/// The phase: ends all services, each after those that depend on it, and writes the last of their output.
pub async fn stop(context: Context, plane: Option<Arc<Plane>>) -> Outcome {
    if let Some(plane) = plane {
        plane.supervisor.stop().await;
    }
    context.logs.flush().await;
    Ok(())
}

fn declarations(
    context: &Context,
    config: &Config,
    credentials: &Credentials,
    changing: &Changing,
) -> Vec<Service> {
    let Changing { addresses, etcd_reserve, generation } = changing;
    services::all(&Inputs {
        layout: &context.layout,
        accounts: context.accounts(),
        config,
        address: addresses.first().copied(),
        encryption_key: Some(credentials.encryption_key.clone()),
        memory: total_memory(),
        cpus: std::thread::available_parallelism().map_or(1, NonZero::get),
        etcd_reserve: *etcd_reserve,
        generation: *generation,
    })
}

impl Plane {
    pub fn pki(&self) -> &Pki {
        &self.credentials.pki
    }

    /// Whether etcd has more than its usual quota.
    pub fn etcd_reserve(&self) -> bool {
        self.changing.lock().etcd_reserve
    }

    /// Gives etcd its reserve or takes it back; either restarts it.
    pub fn set_etcd_reserve(&self, reserve: bool) {
        self.changing.lock().etcd_reserve = reserve;
        self.declare();
    }

    /// Makes everything anew and restarts what does not notice by itself.
    pub fn renew(&self) {
        match make_all(&self.context, self.pki(), &self.names()) {
            Ok(()) => {
                self.changing.lock().generation += 1;
                self.declare();
            }
            Err(error) => self.complain(&error),
        }
    }

    fn names(&self) -> Names {
        Names { addresses: self.changing.lock().addresses.clone(), ..self.credentials.names.clone() }
    }

    /// Gives the supervisor the services as they should be now.
    fn declare(&self) {
        for service in declarations(&self.context, &self.config, &self.credentials, &self.changing.lock()) {
            self.supervisor.change(service);
        }
    }

    fn set_addresses(&self, addresses: Vec<IpAddr>) {
        self.changing.lock().addresses = addresses;
        match provisioner(&self.context, self.pki()).serving(&self.names()) {
            Ok(()) => tracing::info!("serving certificates follow the addresses"),
            Err(error) => self.complain(&error),
        }
        self.declare();
    }

    /// What holds for a day only, and people's certificates that have expired since.
    async fn renew_short(&self) {
        let provisioner = provisioner(&self.context, self.pki());
        let short = CLIENTS.iter().filter(|client| client.lifetime == SHORT_LIFETIME);
        for outcome in short.map(|client| provisioner.client(client)) {
            if let Err(error) = outcome {
                self.complain(&error);
            }
        }
        if let Err(error) = people::publish(&self.credentials.people).await {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &pki::Error) {
        self.context.warn(
            "certificates",
            &chain(error),
            "it is tried again; if it lasts, restart the machine",
        );
    }
}

/// Follows addresses and time, for ever. Without a network there are no addresses to follow.
pub async fn follow(plane: Arc<Plane>, addresses: Option<watch::Receiver<Vec<IpAddr>>>) {
    let mut addresses = addresses.unwrap_or_else(|| watch::channel(Vec::new()).1);
    let short = SHORT_LIFETIME.unsigned_abs() / 2;
    let long = LIFETIME.unsigned_abs() / 2;
    let started = Instant::now();
    let (mut next_short, mut next_long) = (started + short, started + long);
    loop {
        tokio::select! {
            changed = addresses.changed() => match changed {
                Ok(()) => {
                    let now = addresses.borrow_and_update().clone();
                    plane.set_addresses(now);
                }
                // The network has been stopped: the machine goes down.
                Err(_) => tokio::time::sleep(Duration::from_hours(1)).await,
            },
            () = tokio::time::sleep_until(next_short) => {
                next_short += short;
                plane.renew_short().await;
            }
            () = tokio::time::sleep_until(next_long) => {
                next_long += long;
                plane.context.console.line("certificates have lived half of their life; making new ones");
                plane.renew();
            }
        }
    }
}
