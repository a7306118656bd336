//! Blank machines: powered on one after the other, watched until they have registered.

use std::time::Instant;

use anyhow::bail;
use bloomery_lab::bmc::{BmcKind, MOST_MACHINES};
use bloomery_lab::console::Console;
use bloomery_lab::contract::{AGENT_STARTED, KERNEL_STARTED, LOADER_STARTED};
use bloomery_lab::dhcpd;
use bloomery_lab::journey::{self, Access};
use bloomery_lab::lab::Lab;
use bloomery_lab::machine::{Machine, MachineSpec};
use bloomery_lab::patience::POLL;
use bloomery_lab::servers;
use bloomery_lab::switch::Command;
use bloomery_lab::vm::spec::BootPath;

use super::steps::Steps;
use super::{MachineArg, RunArgs};

/// What the machines' consoles tell on the way, in order.
const MILESTONES: [(&str, &str); 3] =
    [(LOADER_STARTED, "loader runs"), (KERNEL_STARTED, "kernel starts"), (AGENT_STARTED, "agent runs")];

/// The machines that were asked for, numbered from 1.
pub(super) fn specs(args: &RunArgs) -> anyhow::Result<Vec<MachineSpec>> {
    let default = [BootPath::Uefi, BootPath::Bios].map(|path| MachineArg { path, bmc: BmcKind::None });
    let chosen = match args.machines.as_slice() {
        _ if args.no_machines => &[],
        // The cluster's are enough.
        [] if args.control_planes > 0 => &[],
        [] => default.as_slice(),
        chosen => chosen,
    };
    if chosen.len() > usize::from(MOST_MACHINES) {
        bail!("failed to build {} machines: a lab has at most {MOST_MACHINES}", chosen.len());
    }
    let numbered = (1..=MOST_MACHINES).zip(chosen);
    let spec = |(number, machine): (u8, &MachineArg)| {
        MachineSpec::new(machine.path, number, args.machine_memory, machine.bmc)
    };
    Ok(numbered.map(spec).collect())
}

/// Builds the machines and powers them on, the next one once the last one has registered (and with `--accept` is
/// clean): with software emulation on a small computer that is the quickest, and with KVM each takes only some
/// seconds. Machines that are built stay in `machines`.
pub(super) async fn bring_up(
    args: &RunArgs,
    steps: &Steps,
    lab: &Lab,
    access: &Access,
    machines: &mut Vec<Machine>,
) -> anyhow::Result<()> {
    for spec in specs(args)? {
        let name = spec.vm.name.clone();
        let made_of = format!("{} MiB, empty disk, card {}", spec.vm.memory, spec.vm.mac);
        let detail = |machine: &Machine| {
            format!("{made_of}, BMC {} {}", machine.bmc.kind, machine.bmc.endpoint()).trim_end().to_owned()
        };
        let machine = steps.run(&format!("{name}: build"), lab.build(spec), detail).await?;
        let power_on = machine.switch.obey(Command::On);
        let powered = steps.run(&format!("{name}: power on"), power_on, |()| String::new()).await;
        // It runs from here on, whatever comes next.
        machines.push(machine);
        powered?;
        let Some(machine) = machines.last() else { continue };
        registers(steps, lab, access, machine).await?;
        if args.accept {
            becomes_clean(args, steps, access, machine).await?;
        } else if let Some(registration) = registration(args, machine) {
            servers::patch_spec(&access.client, machine.uuid(), registration).await?;
        }
    }
    Ok(())
}

/// What the machine's Server is told of its BMC, if it is told.
fn registration(args: &RunArgs, machine: &Machine) -> Option<serde_json::Value> {
    let told = !args.agent_sets_up_bmc || machine.bmc.kind != BmcKind::Ipmi;
    machine.bmc.registration().filter(|_| told)
}

async fn registers(steps: &Steps, lab: &Lab, access: &Access, machine: &Machine) -> anyhow::Result<()> {
    let console = machine.switch.console().await;
    let registration = async {
        tokio::select! {
            server = journey::registered(&access.client, machine) => server,
            never = watch(lab, machine, console, steps) => match never {},
        }
    };
    let name = machine.name();
    steps
        .run(&format!("{name}: registers"), registration, |server| format!("server {}", server.name))
        .await
        .map(drop)
}

async fn becomes_clean(
    args: &RunArgs,
    steps: &Steps,
    access: &Access,
    machine: &Machine,
) -> anyhow::Result<()> {
    let name = machine.name();
    let told = registration(args, machine).is_some();
    journey::accept(&access.client, machine, told).await?;
    let show = |stage: &str| steps.note(format!("{name}: {stage}"));
    let clean = journey::clean(&access.client, machine, journey::CLEAN_LIMIT, show);
    steps
        .run(&format!("{name}: becomes clean"), clean, |_| "available in class any".to_owned())
        .await
        .map(drop)
}

/// Shows each milestone once, with the time since power-on.
async fn watch(lab: &Lab, machine: &Machine, console: Console, steps: &Steps) -> std::convert::Infallible {
    let began = Instant::now();
    let name = machine.name();
    let note = |what: &str| steps.note(format!("{name}: {what} (+{:.1} s)", began.elapsed().as_secs_f64()));
    let mut asked = false;
    let mut ahead = MILESTONES.as_slice();
    let mut follower = console.follow();
    loop {
        if !asked && dhcpd::has_asked(&lab.dir, &machine.switch.spec.mac) {
            asked = true;
            note("asks for an address");
        }
        for line in follower.lines() {
            // A later milestone stands for those before it, which a console may have garbled.
            if let Some(index) = ahead.iter().position(|(mark, _)| line.contains(mark)) {
                note(ahead[index].1);
                ahead = &ahead[index + 1..];
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
