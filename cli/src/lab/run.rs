//! `bloomery lab run`: from nothing to registered machines, then on until Ctrl-C.
//!
//! Whatever happens, nothing is left running.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use bloomery_lab::console::Console;
use bloomery_lab::contract;
use bloomery_lab::dhcpd::Dhcp;
use bloomery_lab::journey::{self, Access};
use bloomery_lab::lab::{Lab, LabConfig};
use bloomery_lab::machine::Machine;
use bloomery_lab::patience::POLL;
use bloomery_lab::plane;
use bloomery_lab::servers;
use bloomery_lab::talos::cluster::{Cluster, Running};
use bloomery_lab::vm::Vm;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::steps::Steps;
use super::{RunArgs, cluster, helper, machines};
use crate::output;

/// Exit code after an interruption, as shells give it: 128 + SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

/// What has to be taken down.
#[derive(Default)]
struct Session {
    lab: Option<Lab>,
    appliance: Option<Vm>,
    machines: Vec<Machine>,
    cluster: Option<Cluster>,
    /// Keeps the ports of the cluster open.
    running: Option<Running>,
}

/// How a run ended that did not fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// All that was asked for has happened.
    Done,
    /// A signal came before that.
    Interrupted,
}

pub(super) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let mut stop_signals = StopSignals::new()?;
    let steps = Steps::new();
    let mut session = Session::default();
    let outcome = tokio::select! {
        outcome = drive(&args, &steps, &mut session) => outcome.map(|()| End::Done),
        () = stop_signals.next() => Ok(End::Interrupted),
    };
    let outcome = match outcome {
        Ok(End::Done) if !args.until_registered => stay(&session, &mut stop_signals).await,
        other => other,
    };
    let had_machines = session.appliance.is_some();
    let stopped = stop(session, outcome.is_ok(), &steps, &mut stop_signals).await;
    let consoles = format!("the consoles are in {}/*.console.log", args.out.display());
    let end = if had_machines { outcome.context(consoles) } else { outcome }?;
    stopped?;
    Ok(match end {
        End::Done => ExitCode::SUCCESS,
        End::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

/// All steps up to the table of servers.
async fn drive(args: &RunArgs, steps: &Steps, session: &mut Session) -> anyhow::Result<()> {
    let shape = cluster::shape(args)?;
    let config = LabConfig {
        out: args.out.clone(),
        image: args.image.clone(),
        helper: helper()?,
        keep_state: args.keep_state,
        dhcp: Dhcp::Isc,
    };
    let network = steps.run("private network and DHCP server", Lab::start(config), |lab| {
        format!("{}/{}, guests run by {}", contract::SUBNET, contract::PREFIX, lab.site.accel)
    });
    let lab = &*session.lab.insert(network.await?);
    if let Some(shape) = shape {
        // First: what this computer lacks is told before anything has booted.
        session.cluster = Some(cluster::build(args, lab, steps, shape).await?);
    }
    let power_on = lab.power_on_appliance(args.firmware.into(), args.memory);
    let power_on = steps.run("appliance: power on", power_on, |_| {
        format!("{} MiB, console {}", args.memory, args.out.join("appliance.console.log").display())
    });
    let appliance = &*session.appliance.insert(power_on.await?);
    let access = tokio::select! {
        access = appliance_up(args, steps, lab, appliance) => access?,
        never = relay(&appliance.console, steps) => match never {},
    };
    machines::bring_up(args, steps, lab, &access, &mut session.machines).await?;
    if let Some(machines) = &session.cluster {
        session.running = Some(cluster::bring_up(args, steps, lab, &access, machines).await?);
    }
    let registered = servers::list(&access.client).await?;
    output::text(&summary(args, lab, &servers::table(&registered), session.running.is_some()))
}

/// The appliance from power-on to ready for machines; writes the kubeconfig on the way.
async fn appliance_up(args: &RunArgs, steps: &Steps, lab: &Lab, appliance: &Vm) -> anyhow::Result<Access> {
    steps.run("appliance: PID 1 starts", journey::pid1(appliance), |()| String::new()).await?;
    let announced = journey::pairing_line(appliance);
    let line = steps.run("appliance: API is announced", announced, |_| address_line(appliance)).await?;
    let save = async {
        let access = journey::access(lab, appliance, &line).await?;
        plane::save(&access.kubeconfig, &kubeconfig(args)).map(|()| access)
    };
    let access = steps.run("appliance: pairing", save, |_| kubeconfig(args).display().to_string()).await?;
    let served = journey::servers_are_served(&access, appliance);
    steps
        .run("appliance: API lists servers", served, |()| format!("https://{}", lab.forwards.api.local))
        .await?;
    let serving = journey::boot_services(lab, &access, appliance);
    let address = |(): &()| format!("http://{}", lab.forwards.boot.local);
    steps.run("appliance: boot services answer", serving, address).await?;
    Ok(access)
}

fn kubeconfig(args: &RunArgs) -> PathBuf {
    args.out.join("kubeconfig")
}

/// The address in the appliance's own words.
fn address_line(appliance: &Vm) -> String {
    appliance.console.find(contract::API_LINE).map(|line| line.trim().to_owned()).unwrap_or_default()
}

/// Shows what PID 1 reports: phases that ended, services that became ready or did not, warnings.
async fn relay(console: &Console, steps: &Steps) -> std::convert::Infallible {
    let mut follower = console.follow();
    // Before that the boot loader draws its menu.
    let mut pid1_runs = false;
    loop {
        for line in follower.lines() {
            if pid1_runs && contract::is_progress(&line) {
                steps.note(line.trim());
            }
            pid1_runs |= line.contains(contract::PID1_STARTED);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits for a signal, or for the end of something that must run.
async fn stay(session: &Session, stop_signals: &mut StopSignals) -> anyhow::Result<End> {
    let (Some(lab), Some(appliance)) = (&session.lab, &session.appliance) else {
        return Ok(End::Interrupted);
    };
    let mut dhcpd = lab.dhcpd.process.clone();
    tokio::select! {
        // The lab was complete, so that stopping it is its proper end.
        () = stop_signals.next() => Ok(End::Done),
        error = appliance.ended() => Err(error.into()),
        status = dhcpd.ended() => {
            let log = lab.dir.path("dhcpd.log");
            Err(anyhow!("the lab's DHCP server ended ({status}), see {}", log.display()))
        }
    }
}

/// Takes the lab down: in order after a good run, at once after a failure or a second signal.
async fn stop(
    session: Session,
    in_order: bool,
    steps: &Steps,
    stop_signals: &mut StopSignals,
) -> anyhow::Result<()> {
    let Some(lab) = session.lab else { return Ok(()) };
    if let Some(cluster) = &session.cluster {
        steps.run("cluster: power off", cluster.stop(), |()| String::new()).await?;
    }
    // Before it is up it has nothing to lose, and a firmware prompt does not know the power button.
    let is_up = |vm: &Vm| vm.exit().is_none() && vm.console.find(contract::PAIRING_LINE).is_some();
    let appliance = session.appliance.filter(|vm| in_order && is_up(vm));
    let name = if appliance.is_some() { "stop (again Ctrl-C: at once)" } else { "stop" };
    tokio::select! {
        stopped = steps.run(name, lab.stop(appliance), |()| String::new()) => stopped,
        // Dropping the lab ends it.
        () = stop_signals.next() => Ok(()),
    }
}

/// The program of this build, or the one in the path.
fn kubectl(args: &RunArgs) -> String {
    let built = args.out.parent().map(|parent| parent.join("kubectl")).filter(|path| path.is_file());
    built.as_deref().unwrap_or(Path::new("kubectl")).display().to_string()
}

/// The table and what to do next.
fn summary(args: &RunArgs, lab: &Lab, table: &str, has_cluster: bool) -> String {
    let out = args.out.display();
    let kubectl = kubectl(args);
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).display();
    let further = if has_cluster {
        cluster::commands(args, &kubectl)
    } else {
        let accept =
            "patch server NAME --type merge -p '{\"spec\":{\"accepted\":true}}'   # wiped, then switched off";
        format!("  {kubectl} {accept}\n")
    };
    let end = if args.until_registered { "" } else { "\nCtrl-C stops the lab.\n" };
    format!(
        "\n{table}\nGo on with:\n  export KUBECONFIG={out}/kubeconfig\n  {kubectl} get servers\n  \
         {program} status\n  {program} trace\n  {program} lab console appliance --out {out}\n{further}\n\
         Kubernetes API   https://{}\nAppliance        https://{}\nBoot services    http://{}\n{end}",
        lab.forwards.api.local, lab.forwards.appliance.local, lab.forwards.boot.local
    )
}

/// The signals that end a run in order.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    fn new() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("failed to watch for signals");
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
