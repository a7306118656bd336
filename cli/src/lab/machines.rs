//! Blank machines: powered on one after the other, watched until they have registered.

use std::time::Instant;

use bloomery_lab::contract::{AGENT_STARTED, KERNEL_STARTED, LOADER_STARTED};
use bloomery_lab::dhcpd;
use bloomery_lab::journey::{self, Access};
use bloomery_lab::lab::Lab;
use bloomery_lab::patience::POLL;
use bloomery_lab::vm::Vm;
use bloomery_lab::vm::spec::{Firmware, VmSpec};

use super::steps::Steps;
use super::{FirmwareArg, RunArgs};

/// What the machines' consoles tell on the way, in order.
const MILESTONES: [(&str, &str); 3] =
    [(LOADER_STARTED, "loader runs"), (KERNEL_STARTED, "kernel starts"), (AGENT_STARTED, "agent runs")];

/// The machines that were asked for, numbered from 1.
pub(super) fn specs(args: &RunArgs) -> Vec<VmSpec> {
    let firmwares = match args.machines.as_slice() {
        _ if args.no_machines => &[],
        [] => [FirmwareArg::Uefi, FirmwareArg::Bios].as_slice(),
        chosen => chosen,
    };
    let numbered = (1..=u8::MAX).zip(firmwares);
    numbered
        .map(|(number, firmware)| VmSpec::blank(Firmware::from(*firmware), number, args.machine_memory))
        .collect()
}

/// Powers the machines on, the next one once the last one has registered: with software emulation on a small
/// computer that is the quickest, and with KVM each takes only some seconds.
pub(super) async fn bring_up(
    steps: &Steps,
    lab: &Lab,
    access: &Access,
    specs: &[VmSpec],
) -> anyhow::Result<()> {
    for spec in specs {
        let name = &spec.name;
        let made_of = |_: &Vm| format!("{} MiB, empty disk, card {}", spec.memory, spec.mac);
        let machine = steps.run(&format!("{name}: power on"), lab.power_on_blank(spec), made_of).await?;
        let registration = async {
            tokio::select! {
                server = journey::registered(&access.client, &machine) => server,
                never = watch(lab, &machine, steps) => match never {},
            }
        };
        steps
            .run(&format!("{name}: registers"), registration, |server| format!("server {}", server.name))
            .await?;
    }
    Ok(())
}

/// Shows each milestone once, with the time since power-on.
async fn watch(lab: &Lab, machine: &Vm, steps: &Steps) -> std::convert::Infallible {
    let began = Instant::now();
    let name = &machine.spec.name;
    let note = |what: &str| steps.note(format!("{name}: {what} (+{:.1} s)", began.elapsed().as_secs_f64()));
    let mut asked = false;
    let mut ahead = MILESTONES.as_slice();
    let mut follower = machine.console.follow();
    loop {
        if !asked && dhcpd::has_asked(&lab.dir, &machine.spec.mac) {
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
