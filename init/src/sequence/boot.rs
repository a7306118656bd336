//! The boot, top to bottom: what the control plane needs, the control plane, and while that starts, everything else.

use super::{Phase, Sequence, When};
use crate::announce::{self, Announcement};
use crate::context::Context;
use crate::disk_state::{self, State};
use crate::network::{self, Network};
use crate::plane::{self, Plane};
use crate::{certificates, clock, configuration, drivers, etcd, mounts, space, sysctl};
use bloomery_config::Config;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What only talks to the kernel and to memory.
const QUICK: Duration = Duration::from_secs(30);
/// Checking a damaged state partition on a slow stick.
const DISK: Duration = Duration::from_mins(15);
/// Drivers that wait for their devices.
const DEVICES: Duration = Duration::from_mins(2);

/// All phases. State comes before the configuration, because the last good one is on it; drivers and the network come
/// after the services, because the API server needs neither to start and takes longest.
pub const PHASES: [Phase; 13] = [
    Phase {
        name: "mounts",
        when: When::Always,
        limit: QUICK,
        without: "services that need the missing file system will not start; check the kernel",
    },
    Phase {
        name: "hardening",
        when: When::Always,
        limit: QUICK,
        without: "some of the kernel's settings are looser than they should be; see the kernel's log for which",
    },
    Phase {
        name: "state",
        when: When::Always,
        limit: DISK,
        without: "the control plane is not started on doubtful state; check the disk, or restore a backup",
    },
    Phase {
        name: "config",
        when: When::Always,
        limit: QUICK,
        without: "the last good configuration (or the default) is used; correct bloomery.yaml and restart",
    },
    Phase { name: "hostname", when: When::Always, limit: QUICK, without: "the kernel's host name is used" },
    Phase {
        name: "loopback",
        when: When::Always,
        limit: QUICK,
        without: "no service gets ready; restart the machine, and report this",
    },
    Phase {
        name: "logs",
        when: When::Always,
        limit: QUICK,
        without: "services run without log files; the console shows their last lines after a crash",
    },
    Phase {
        name: "clock",
        when: When::Always,
        limit: QUICK,
        without: "certificates may look expired or not valid yet to other machines; set the machine's clock",
    },
    Phase {
        name: "pki",
        when: When::Always,
        limit: QUICK,
        without: "the control plane is not started; check the files in /var/lib/bloomery/pki, or restore a backup",
    },
    Phase {
        name: "services",
        when: When::Always,
        limit: QUICK,
        without: "nothing is served; restart the machine, and report this",
    },
    Phase {
        name: "modules",
        when: When::Machine,
        limit: DEVICES,
        without: "some hardware will not work; see the kernel's log for the driver",
    },
    Phase {
        name: "network",
        when: When::Always,
        limit: QUICK,
        without: "the control plane starts on loopback; the network is tried again in the background",
    },
    Phase { name: "announce", when: When::Always, limit: QUICK, without: "the pairing code is not shown" },
];

/// What the shutdown has to end.
#[derive(Debug, Default)]
pub struct Booted {
    pub plane: Option<Arc<Plane>>,
    pub network: Option<Network>,
}

/// Boots. Each phase gets what earlier ones found; where one found nothing, the line says what stands in for it.
pub async fn run(context: &Context, stop: watch::Receiver<bool>) -> Booted {
    let [
        mounts,
        hardening,
        state,
        config,
        hostname,
        loopback,
        logs,
        clock,
        pki,
        services,
        modules,
        network,
        announce,
    ] = PHASES;
    let mut boot = Sequence::new(context, &PHASES, stop);
    boot.call(mounts, mounts::mount_all).await;
    boot.call(hardening, sysctl::harden).await;
    let state = boot.call(state, disk_state::open).await.unwrap_or(State::Damaged);
    let config = boot.call(config, move |with| configuration::load(with, state)).await.unwrap_or_default();
    let settings = Arc::clone(&config);
    let hostname = boot.call(hostname, move |with| network::set_hostname(with, &settings)).await;
    boot.run(loopback, network::bring_up_loopback()).await;
    boot.call(logs, space::open_logs).await;
    boot.call(clock, clock::set_floor).await;
    let names = certificates::names(hostname, &config);
    let credentials = boot.run(pki, certificates::establish(context.clone(), state, names)).await;
    let declared = Arc::clone(&config);
    let plane =
        boot.call(services, move |with| plane::start(with, state, declared, credentials)).await.flatten();
    if let Some(plane) = &plane {
        tokio::spawn(etcd::watch(Arc::clone(plane)));
    }
    boot.run(modules, drivers::load()).await;
    let configured = Arc::clone(&config);
    let network = boot.call(network, move |with| network::start(with, configured)).await;
    let booted = Booted { plane, network };
    clock::keep_right(context.clone(), &config, booted.network.as_ref(), booted.plane.clone());
    let (plane, network) = (booted.plane.clone(), booted.network.clone());
    boot.call(announce, move |with| {
        if let Some(plane) = &plane {
            follow(with, state, &config, plane, network.as_ref());
        }
        Ok(())
    })
    .await;
    booted
}

/// Certificates keep up with the addresses, and the `API:` line and the pairing code are shown as soon as
/// there is something to show.
fn follow(context: &Context, state: State, config: &Config, plane: &Arc<Plane>, network: Option<&Network>) {
    let addresses = network.map(Network::addresses);
    let endpoint = config.advertised_endpoint.clone();
    let fingerprint = plane.pki().appliance_fingerprint();
    let announcement = Announcement { context: context.clone(), state, endpoint, fingerprint };
    // Without a network there is nothing to show but what is configured.
    let shown = addresses.clone().unwrap_or_else(|| watch::channel(Vec::new()).1);
    tokio::spawn(announce::keep_shown(announcement, plane.supervisor.snapshots(), shown));
    tokio::spawn(plane::follow(Arc::clone(plane), addresses));
}
