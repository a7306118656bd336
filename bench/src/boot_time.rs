//! From the kernel's first line to a ready Kubernetes API: our image beside the same kernel, disk, boot loader and
//! programs started by the shortest shell script that does it.
//!
//! Both run in the same kind of virtual machine, one after the other, and are watched from outside in the same way.

mod image;
mod initramfs;
mod ready;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bloomery_lab::contract::KERNEL_STARTED;
use bloomery_lab::dhcpd::Dhcp;
use bloomery_lab::lab::{Lab, LabConfig};
use bloomery_lab::patience::scaled;
use bloomery_lab::vm::Vm;
use bloomery_lab::vm::spec::Firmware;

use crate::report::{Figure, Goal, Peer, Unit};
use crate::{Options, supervisor};

/// What is promised: PID 1's work costs a tenth of the boot at most.
const GOAL: f64 = 1.10;
/// The peer's fixed address: in the lab's network, outside of what its DHCP server hands out.
const PEER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 50);
/// Memory of both machines, MiB: what the plane must run in.
const MEMORY: u32 = 1024;
/// Firmware and boot loader.
const KERNEL_LIMIT: Duration = Duration::from_secs(90);
/// The API under emulation on a busy machine.
const READY_LIMIT: Duration = Duration::from_mins(6);
/// An orderly stop, which makes the next boot a repeat boot without repairs.
const STOP_LIMIT: Duration = Duration::from_secs(45);
/// How often the console is looked at for the kernel's first line: fine beside seconds.
const LOOK: Duration = Duration::from_millis(20);

/// Console lines in a failure, which has to fit on a screen with others.
const TAIL_LINES: usize = 6;

/// Where the API of a machine is; none while it is not known.
type Address<'a> = &'a dyn Fn(&Lab) -> Option<Ipv4Addr>;

/// First boots, repeat boots and the peer's boots, in turns, so that other load hits all of them.
pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Figure>> {
    let work = options.out.join("bench");
    let images = image::prepare(&options.out, &work).context("failed to prepare the images")?;
    let (mut first, mut repeat, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.boots {
        let (one, two) = ours(&images.ours, &work.join("boot")).await.context("failed to boot our image")?;
        first.push(one);
        repeat.push(two);
        let theirs = peers(&images.peer, &work.join("boot-peer")).await.context("failed to boot the peer")?;
        peer.push(theirs);
        eprintln!(
            "bench: boot {round}/{}: first {one:.1} s, repeat {two:.1} s, peer {theirs:.1} s",
            options.boots
        );
    }
    let figure = |name, values| Figure {
        name,
        unit: Unit::Seconds,
        ours: values,
        peer: Some(Peer {
            name: "same kernel, shell script, bare etcd + kube-apiserver",
            values: peer.clone(),
            parts: BTreeMap::new(),
        }),
        goal: Some(Goal::AtMostTimesPeer(GOAL)),
        parts: BTreeMap::new(),
    };
    Ok(vec![
        figure("kernel start to /readyz, first boot", first),
        figure("kernel start to /readyz, repeat boot", repeat),
    ])
}

async fn ours(image: &Path, out: &Path) -> anyhow::Result<(f64, f64)> {
    let lab = start(image, out).await?;
    let address: Address = &Lab::appliance_address;
    let mut vm = lab.power_on_appliance(Firmware::Bios, MEMORY).await?;
    let first = boot(&lab, &vm, address).await?;
    if !vm.power_button(STOP_LIMIT).await? {
        vm.pull_plug().await?;
    }
    let vm = lab.power_on_appliance(Firmware::Bios, MEMORY).await?;
    let repeat = boot(&lab, &vm, address).await?;
    lab.stop(None).await?;
    Ok((first, repeat))
}

async fn peers(image: &Path, out: &Path) -> anyhow::Result<f64> {
    let lab = start(image, out).await?;
    let vm = lab.power_on_appliance(Firmware::Bios, MEMORY).await?;
    let seconds = boot(&lab, &vm, &|_| Some(PEER_ADDRESS)).await?;
    lab.stop(None).await?;
    Ok(seconds)
}

async fn start(image: &Path, out: &Path) -> anyhow::Result<Lab> {
    let helper = supervisor()?;
    Lab::start(LabConfig {
        out: out.to_owned(),
        image: image.to_owned(),
        helper,
        keep_state: false,
        dhcp: Dhcp::Isc,
    })
    .await
}

/// Seconds from the kernel's first line to a ready API.
async fn boot(lab: &Lab, vm: &Vm, address: Address<'_>) -> anyhow::Result<f64> {
    let kernel = async {
        while vm.console.find(KERNEL_STARTED).is_none() {
            tokio::time::sleep(LOOK).await;
        }
    };
    let started = tokio::time::timeout(scaled(KERNEL_LIMIT), vm.while_running("the kernel", kernel)).await;
    started.with_context(|| format!("no kernel line; {}", tail(vm)))??;
    let since = Instant::now();
    let ready = vm.while_running("a ready API", ready::wait(lab, address));
    tokio::time::timeout(scaled(READY_LIMIT), ready)
        .await
        .with_context(|| format!("no ready API; {}", tail(vm)))??;
    Ok(since.elapsed().as_secs_f64())
}

fn tail(vm: &Vm) -> String {
    let tail = vm.console.tail();
    let last = &tail[tail.len().saturating_sub(TAIL_LINES)..];
    format!("{} ends with: {}", vm.console.path().display(), last.join(" | "))
}
