//! A lab whose appliance runs in namespaces at native speed, for tests of what it does to machines.
//!
//! Only the machines are emulated. The appliance is the root tree that `make image` leaves in `out/rootfs`.

use crate::{
    accel::Accel,
    console::Console,
    container::{Container, ContainerSpec},
    contract::PAIRING_LINE,
    dhcpd::{Dhcp, Dhcpd},
    eventually,
    forward::Forwards,
    machine::Site,
    net::{Helper, Net},
    plane, serving,
    state::LabDir,
};
use anyhow::{Context, Result, bail};
use kube::Client;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// From nothing to the pairing line: three seconds on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_mins(4);
/// A few handshakes.
const PAIR_LIMIT: Duration = Duration::from_mins(1);
/// From the announced API to answering boot services.
const SERVICES_LIMIT: Duration = Duration::from_mins(4);

/// What it is made of.
#[derive(Debug, Clone)]
pub struct NativeConfig {
    /// Folder of consoles and disks.
    pub out: PathBuf,
    /// The appliance's root tree.
    pub root: PathBuf,
    /// The program that supervises the namespaces.
    pub helper: Helper,
    /// A program that calls [`crate::container::enter::run`].
    pub launcher: PathBuf,
    /// Text of the appliance's `bloomery.yaml`.
    pub config: String,
    /// The site's DHCP server.
    pub dhcp: Dhcp,
}

impl NativeConfig {
    /// This build's root tree beside ISC dhcpd, with default options.
    ///
    /// # Errors
    /// There is no root tree.
    pub fn of_build(out: &Path, supervisor: &str, launcher: &str) -> Result<Self> {
        Ok(Self {
            out: out.to_owned(),
            root: root_tree()?,
            helper: Helper { program: supervisor.into(), arguments: Vec::new() },
            launcher: launcher.into(),
            config: String::new(),
            dhcp: Dhcp::Isc,
        })
    }
}

/// A running plane with a site for machines.
pub struct Native {
    /// Where machines are built.
    pub site: Site,
    /// The site's DHCP server.
    pub dhcpd: Dhcpd,
    /// The plane's ports on the host.
    pub forwards: Forwards,
    /// The appliance.
    pub appliance: Container,
    /// Its console.
    pub console: Console,
    /// An administrator's client.
    pub client: Client,
}

impl Native {
    /// Starts everything up to boot services that answer machines.
    ///
    /// # Errors
    /// The root tree is missing, or something does not start.
    pub async fn start(config: NativeConfig) -> Result<Self> {
        if !config.root.join("sbin/init").exists() {
            bail!("failed to find a root tree in {}; make it with `make image`", config.root.display());
        }
        let dir = Arc::new(LabDir::open(&config.out, false).await?);
        let net = Arc::new(Net::start(Arc::clone(&dir), &config.helper).await?);
        let dhcpd = Dhcpd::start_as(&dir, &net, config.dhcp).await?;
        let forwards = Forwards::open(&dir).await?;
        let boot = dir.path("plane-boot");
        std::fs::create_dir_all(&boot).context("failed to make the configuration's folder")?;
        std::fs::write(boot.join("bloomery.yaml"), &config.config)
            .context("failed to write the configuration")?;
        let spec =
            ContainerSpec { root: config.root, launcher: config.launcher, var: dir.path("plane-var"), boot };
        let mut appliance = Container::build(&net, &dir, spec).await?;
        let console = appliance.power_on(&net).await?;
        let line = console.wait_for(PAIRING_LINE, BOOT_LIMIT).await?;
        let kubeconfig = eventually!("pairing", PAIR_LIMIT, Some(&console), async {
            plane::pair(&line, &forwards).await.map(Some)
        })?;
        plane::save(&kubeconfig, &dir.path("kubeconfig"))?;
        let client = plane::client(&kubeconfig).await?;
        let site = Site::open(Arc::clone(&dir), Arc::clone(&net), Accel::detect().await)?;
        let native = Self { site, dhcpd, forwards, appliance, console, client };
        eventually!("the boot script is served", SERVICES_LIMIT, Some(&native.console), async {
            serving::boot_script(&native.site.dir, &native.site.net).await.map(|served| served.then_some(()))
        })?;
        let appliance = plane::appliance(&kubeconfig, &native.forwards).await?;
        eventually!("machines are answered", SERVICES_LIMIT, Some(&native.console), async {
            serving::machines(&appliance).await.map(Some)
        })?;
        Ok(native)
    }

    /// Ends everything at once.
    ///
    /// # Errors
    /// Something does not end.
    pub async fn stop(mut self) -> Result<()> {
        self.appliance.cut_power(&self.site.net).await?;
        self.site.net.stop().await
    }
}

/// The root tree of this build, or the one that `BLOOMERY_ROOTFS` names.
///
/// # Errors
/// There is none.
fn root_tree() -> Result<PathBuf> {
    let named = std::env::var_os("BLOOMERY_ROOTFS").map(PathBuf::from);
    let root = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/rootfs"));
    root.canonicalize().with_context(|| {
        format!("failed to find a root tree in {}; make it with `make image`", root.display())
    })
}
