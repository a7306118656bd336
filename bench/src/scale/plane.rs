//! The plane that is measured: the image's root and its PID 1 in namespaces, taking every machine that comes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bloomery_lab::container::{Container, ContainerSpec};
use bloomery_lab::contract::PAIRING_LINE;
use bloomery_lab::dhcpd::Dhcpd;
use bloomery_lab::eventually;
use bloomery_lab::forward::Forwards;
use bloomery_lab::net::Net;
use bloomery_lab::plane;
use bloomery_lab::serving;
use bloomery_lab::simulate::join::Running;
use bloomery_lab::state::LabDir;

use super::requests;
use super::usage::Usage;
use crate::memory::processes::{Memory, Processes};
use crate::{LAUNCHER, supervisor};

/// The API, natively on a busy machine.
const API_LIMIT: Duration = Duration::from_mins(2);
/// The services that start after it.
const SERVICES_LIMIT: Duration = Duration::from_mins(3);
/// What a start leaves to be done in the background is over by then.
const QUIET: Duration = Duration::from_secs(10);
/// Every machine is taken, as there is nobody who accepts them.
const CONFIGURATION: &str = "sidero:\n  autoAcceptServers: true\n  insecureWipe: true\n";

/// The running plane.
pub(crate) struct Plane {
    dir: Arc<LabDir>,
    net: Net,
    container: Container,
    forwards: Forwards,
    kubeconfig: String,
    _dhcpd: Dhcpd,
    _state: tempfile::TempDir,
}

impl Plane {
    /// Starts it, and waits until it would serve machines.
    pub(crate) async fn start(out: &Path) -> anyhow::Result<Self> {
        let dir = Arc::new(LabDir::open(&out.join("bench/scale"), false).await?);
        let net = Net::start(Arc::clone(&dir), &supervisor()?).await?;
        let dhcpd = Dhcpd::start(&dir, &net).await?;
        let forwards = Forwards::open(&dir).await?;
        let state = tempfile::tempdir_in(dir.root()).context("failed to make a folder for the state")?;
        let boot = state.path().join("boot");
        std::fs::create_dir_all(&boot)
            .and_then(|()| std::fs::write(boot.join("bloomery.yaml"), CONFIGURATION))
            .context("failed to write the configuration")?;
        let program = std::env::current_exe().context("failed to find this program's own file")?;
        let spec = ContainerSpec {
            root: out.join("rootfs"),
            launcher: program.with_file_name(LAUNCHER),
            var: state.path().join("var"),
            boot,
        };
        let mut container = Container::build(&net, &dir, spec).await?;
        let console = container.power_on(&net).await?;
        let line = console.wait_for(PAIRING_LINE, API_LIMIT).await?;
        let kubeconfig = eventually!("pairing", API_LIMIT, Some(&console), async {
            plane::pair(&line, &forwards).await.map(Some)
        })?;
        for service in ["controllers", "bootsvc"] {
            console.wait_for(&format!("{service}: ready after"), SERVICES_LIMIT).await?;
        }
        eventually!("the boot script is served", SERVICES_LIMIT, Some(&console), async {
            serving::boot_script(&dir, &net).await.map(|served| served.then_some(()))
        })?;
        let appliance = plane::appliance(&kubeconfig, &forwards).await?;
        eventually!("the plane acts on machines", SERVICES_LIMIT, Some(&console), async {
            serving::machines(&appliance).await.map(Some)
        })?;
        tokio::time::sleep(QUIET).await;
        Ok(Self { dir, net, container, forwards, kubeconfig, _dhcpd: dhcpd, _state: state })
    }

    /// The lab that it is in.
    pub(crate) fn running(&self) -> anyhow::Result<Running> {
        Running::find(self.dir.root())
    }

    /// An administrator's, for the forwarded port.
    pub(crate) fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// CPU time of each process so far.
    pub(crate) async fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for process in self.container.processes(&self.net).await? {
            let stat = self.net.run(&["cat", &format!("/proc/{}/stat", process.pid)], "").await?;
            usage.add(&process.program, &stat)?;
        }
        Ok(usage)
    }

    /// Memory of each process, PSS in MiB.
    pub(crate) async fn memory(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut processes = Processes::default();
        for process in self.container.processes(&self.net).await? {
            let rollup = self.net.run(&["cat", &format!("/proc/{}/smaps_rollup", process.pid)], "").await?;
            processes.add(&process.program, Memory::parse(&rollup)?);
        }
        Ok(processes.parts())
    }

    /// Most that each of the programs had resident at once, in MiB.
    pub(crate) async fn peaks(&self, programs: &[&str]) -> anyhow::Result<BTreeMap<String, f64>> {
        let mut peaks = BTreeMap::new();
        for process in self.container.processes(&self.net).await? {
            if !programs.contains(&process.program.as_str()) {
                continue;
            }
            let status = self.net.run(&["cat", &format!("/proc/{}/status", process.pid)], "").await?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kibibytes = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok());
            let peak = kibibytes.context("failed to read a process's peak")? / 1024.0;
            peaks.insert(format!("{}, RSS at its peak", process.program), peak);
        }
        Ok(peaks)
    }

    /// Requests that the API server has answered so far.
    pub(crate) async fn requests(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let client = plane::client(&self.kubeconfig).await?;
        let request = http::Request::get("/metrics").body(Vec::new()).context("failed to make a request")?;
        let text = client.request_text(request).await.context("failed to read the API server's metrics")?;
        Ok(requests::parse(&text))
    }

    /// Ends everything; after a failure the console's end is shown.
    pub(crate) async fn stop(mut self, failed: bool) -> anyhow::Result<()> {
        if failed {
            let console = std::fs::read_to_string(self.dir.console("plane")).unwrap_or_default();
            let lines: Vec<&str> = console.lines().rev().take(20).collect();
            eprintln!("bench: the plane's console ends with:");
            lines.into_iter().rev().for_each(|line| eprintln!("  | {line}"));
        }
        drop(self.forwards);
        // Nothing of it is kept, so that an orderly stop would only take time.
        self.container.cut_power(&self.net).await?;
        self.net.stop().await
    }
}
