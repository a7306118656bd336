//! Where a boot stands: a pure function of its steps and the time.
//!
//! A step that has a usual successor and has waited for it too long is where the boot failed; the
//! text says what a person can do. Waits are generous, as slow firmware is no failure.

use std::time::{Duration, Instant};

use super::step::{Decided, FileKind, Moment, Recorded, Step, Via};

/// Firmware asks for the file within seconds of its lease; some try a minute for the lease.
const AFTER_OFFER: Duration = Duration::from_secs(90);
/// A second request follows a size probe at once.
const AFTER_PROBE: Duration = Duration::from_secs(20);
/// A transfer of one loader; at 100 kB/s a megabyte takes ten seconds.
const LOADER_TRANSFER: Duration = Duration::from_mins(2);
/// iPXE starts, finds its cards and a lease; waiting for IPv6 alone takes 17 s in old builds.
const AFTER_LOADER: Duration = Duration::from_secs(90);
/// The script tries each card for some seconds.
const AFTER_SCRIPT: Duration = Duration::from_secs(90);
/// iPXE fetches the kernel as soon as it has the script.
const AFTER_DECISION: Duration = Duration::from_secs(30);
/// 150 MB at the 2.5 MB/s of an UNDI driver take a minute; ten allow for a rack at once.
const FILE_TRANSFER: Duration = Duration::from_mins(10);
/// The initramfs is asked for right after the kernel.
const AFTER_KERNEL: Duration = Duration::from_secs(30);
/// Linux unpacks the initramfs, loads drivers and gets a lease; big servers need minutes.
const AFTER_INITRAMFS: Duration = Duration::from_mins(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Within the usual time of its step.
    Booting,
    /// As far as it can be seen from here.
    Done,
    /// Stopped.
    Failed,
}

/// What is to be said of a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub state: State,
    pub what: &'static str,
    /// What to do about it; empty when there is nothing to do.
    pub advice: &'static str,
}

/// What follows from a last step: at once, or when nothing came within the time.
enum Rule {
    Done(&'static str),
    Failed(&'static str, &'static str),
    Within(Duration, &'static str, &'static str, &'static str),
}

/// The verdict on a machine's steps, oldest first; `named` when more is known of it than an address.
pub fn verdict(steps: &[Recorded], named: bool, now: Instant) -> Verdict {
    let Some(last) = steps.last() else {
        return Verdict { state: State::Booting, what: "seen", advice: "" };
    };
    // No name, no loader, nothing after it: mostly somebody who looks whether the plane serves.
    if !named && steps.iter().all(|recorded| recorded.step == Step::Script) {
        const WHAT: &str =
            "fetched the boot script and no more: a check, or a machine with iPXE in its ROM that stopped";
        return Verdict { state: State::Done, what: WHAT, advice: "" };
    }
    let told = steps.iter().rev().find_map(|recorded| match recorded.step {
        Step::Decision(decided) => Some(decided),
        _ => None,
    });
    match rule(last.step, told) {
        Rule::Done(what) => Verdict { state: State::Done, what, advice: "" },
        Rule::Failed(what, advice) => Verdict { state: State::Failed, what, advice },
        Rule::Within(limit, waiting, what, advice) => {
            // A request repeated for ever is no progress, so the first of a row counts; but a
            // machine that began anew some time later gets its time again.
            let since = if last.last.saturating_duration_since(last.first) > limit * 2 {
                last.last
            } else {
                last.first
            };
            if now.saturating_duration_since(since) > limit {
                Verdict { state: State::Failed, what, advice }
            } else {
                Verdict { state: State::Booting, what: waiting, advice: "" }
            }
        }
    }
}

fn rule(step: Step, told: Option<Decided>) -> Rule {
    match step {
        Step::Discover => Rule::Within(
            AFTER_OFFER,
            "asked who can boot it",
            "asked who can boot it and got no answer from this plane",
            "see the log of bootsvc for this MAC: the plane may be fenced, the loader file missing, or the answer refused by the network",
        ),
        Step::Silent => Rule::Failed(
            "asked who can boot it and was left without an answer on purpose",
            "the step names the reason: an architecture without a loader (32-bit UEFI, say), a malformed machine identifier, a loader that is missing in the image, or a plane that is not in charge",
        ),
        Step::Offer(via) | Step::Ack(via) => after_offer(via),
        Step::Loader(via, moment) => loader(via, moment),
        Step::Script => Rule::Within(
            AFTER_SCRIPT,
            "runs the boot script",
            "has the boot script but never asked what to boot",
            "iPXE found no network card or got no lease: look at the machine's screen; check that the site's DHCP server has free addresses and that the switch port forwards at once (portfast)",
        ),
        Step::Decision(decided) => decision(decided),
        Step::File(kind, moment) => file(kind, moment, told),
        Step::Configuration(true) => Rule::Done("has its machine configuration"),
        // A node asks again until it is there.
        Step::Configuration(false) => Rule::Failed(
            "asked for its machine configuration, which could not be made",
            "see the condition ConfigurationReady of its Server; the node asks again by itself",
        ),
        Step::AgentHello => Rule::Done("runs the agent, which has called"),
    }
}

fn after_offer(via: Option<Via>) -> Rule {
    match via {
        Some(Via::Tftp) => Rule::Within(
            AFTER_OFFER,
            "was offered a loader by TFTP",
            "was offered a loader by TFTP and never asked for it",
            "another DHCP or PXE server answers first, the machine got no address from the site's DHCP server, or a firewall or VLAN between it and this plane drops UDP port 69",
        ),
        Some(Via::Http) => Rule::Within(
            AFTER_OFFER,
            "was offered a loader by HTTP",
            "was offered a loader by HTTP and never asked for it",
            "another DHCP server answers first, the machine got no address, its firmware refuses plain http (allow HTTP boot without TLS in its set-up), or a firewall drops the plane's HTTP port",
        ),
        None => Rule::Within(
            AFTER_OFFER,
            "is iPXE and was offered the boot script",
            "is iPXE, was offered the boot script and never fetched it",
            "iPXE got no address, or cannot reach the plane's HTTP port: check the route and firewall between them, and --api-endpoint if it is set",
        ),
    }
}

fn loader(via: Via, moment: Moment) -> Rule {
    match moment {
        Moment::Started => Rule::Within(
            LOADER_TRANSFER,
            "loads iPXE",
            "takes very long to load iPXE",
            "the network between machine and plane is slow or loses packets: check cable, duplex and switch port",
        ),
        Moment::Complete => Rule::Within(
            AFTER_LOADER,
            "starts iPXE",
            "has iPXE but never fetched the boot script",
            "Secure Boot is on and refuses unsigned iPXE (switch it off in the firmware's set-up), or iPXE cannot use the card: look at the machine's screen",
        ),
        Moment::Aborted => Rule::Failed(
            "ended the transfer of iPXE in the middle",
            match via {
                Via::Tftp => {
                    "the firmware ran out of memory or refuses the file; the code it sent is in bootsvc's log; update the card's firmware or use HTTP boot"
                }
                Via::Http => "the firmware dropped the connection: check its HTTP boot settings, or use PXE",
            },
        ),
        Moment::Probed => Rule::Within(
            AFTER_PROBE,
            "asked for the loader's size",
            "asked for the loader's size and then did not load it",
            "the firmware refuses the file for its size or name: update the card's firmware, or use HTTP boot",
        ),
        Moment::TimedOut => Rule::Failed(
            "went silent in the middle of loading iPXE",
            "packets are lost on the way: check cable and duplex; if it always stops at the start, a smaller MTU between them drops full packets",
        ),
        Moment::NotTakenUp => Rule::Failed(
            "asked for iPXE by TFTP and never acknowledged the first packet",
            "the answer does not reach it: a firewall or NAT between them does not let TFTP answers through, or the reply leaves by another route",
        ),
        Moment::Refused => Rule::Failed(
            "asked for a loader that this plane cannot read",
            "the file is missing in the image or damaged: see [loaders] in /readyz, and boot a complete image",
        ),
    }
}

fn decision(decided: Decided) -> Rule {
    match decided {
        Decided::Disk => Rule::Done("was told to boot from its disk"),
        Decided::Agent | Decided::Environment => Rule::Within(
            AFTER_DECISION,
            "was told what to boot",
            "was told what to boot and never fetched the kernel",
            "iPXE stopped at the script: look at the machine's screen; an old iPXE in the card's ROM may not know a command in it",
        ),
        Decided::NotFound => Rule::Failed(
            "was told that there is nothing for it",
            "the Environment or ServerClass that its Server or binding names does not exist: create it, or correct the reference",
        ),
        Decided::NotReady => Rule::Failed(
            "was told that its Environment is not ready",
            "the assets are not downloaded yet: see the conditions of the Environment; the machine asks again after its next reset",
        ),
        Decided::Unavailable => Rule::Failed(
            "could not be told what to boot, as the Kubernetes API gave no answer or this plane is not in charge",
            "see /readyz of bootsvc and of the API server; the machine asks again by itself for a minute, then reset it",
        ),
    }
}

fn file(kind: FileKind, moment: Moment, told: Option<Decided>) -> Rule {
    match (kind, moment) {
        (_, Moment::Started) => Rule::Within(
            FILE_TRANSFER,
            "loads the kernel or initramfs",
            "takes very long to load the kernel or initramfs",
            "the network is slow, or the UNDI driver is (2.5 MB/s): prefer UEFI to BIOS boot",
        ),
        (FileKind::Kernel, Moment::Complete) => Rule::Within(
            AFTER_KERNEL,
            "has the kernel",
            "has the kernel but never asked for the initramfs",
            "iPXE refused the kernel: its architecture is not the machine's (set an Environment for arm64), or the file is no kernel",
        ),
        (FileKind::Initramfs, Moment::Complete) if told == Some(Decided::Environment) => {
            Rule::Done("has kernel and initramfs of its Environment")
        }
        (FileKind::Initramfs, Moment::Complete) => Rule::Within(
            AFTER_INITRAMFS,
            "starts the agent",
            "has kernel and initramfs of the agent, which never called",
            "the agent found no driver for the card or got no lease, or cannot reach the plane's HTTP port: look at the machine's console",
        ),
        (_, Moment::Aborted | Moment::Probed | Moment::TimedOut | Moment::NotTakenUp) => Rule::Failed(
            "dropped the download of the kernel or initramfs",
            "the machine ran out of memory (2 GiB are enough for Talos), was reset, or lost its link",
        ),
        (_, Moment::Refused) => Rule::Failed(
            "asked for a kernel or initramfs that this plane cannot read",
            "see the conditions of its Environment, or boot a complete image when it is the agent's",
        ),
    }
}
