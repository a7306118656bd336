//! The answer to `/ipxe` as status and script, made from a decision (spec/sidero.md §3.4).
//!
//! It never decides which machine gets what: `bloomery_api::decision` does.

use std::net::IpAddr;

use bloomery_api::Environment;
use bloomery_api::arch::Arch;
use bloomery_api::boot_method::BootFromDiskMethod;
use bloomery_api::condition::ConditionStatus;
use bloomery_api::decision::boot::BootAnswer;
use bloomery_api::environment::{self, INITRD_FILE, KERNEL_FILE};
use http::StatusCode;

use super::query::Platform;
use crate::advertise::Endpoint;
use crate::directories::Directories;
use crate::kernel_args::{self, NodeArgs};

/// Status and body; the body is a script or a line of plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    /// Text, may be empty.
    pub body: String,
}

/// What an answer is made from besides the decision.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Where the client reaches us.
    pub endpoint: &'a Endpoint,
    pub mac: Option<&'a str>,
    /// The client's firmware, if it says.
    pub platform: Option<Platform>,
    /// What ties the agent to this boot.
    pub token: Option<&'a str>,
    /// Fingerprint of the plane's sealing key, for the agent.
    pub plane: Option<&'a str>,
    /// The Server and the token of this boot, for a node system.
    pub grant: Option<(&'a str, &'a str)>,
    /// The plane's address in its own network.
    pub link: Option<IpAddr>,
    /// `--extra-agent-kernel-args`.
    pub extra_agent_args: &'a str,
    pub directories: &'a Directories,
}

impl Answer {
    fn empty(status: StatusCode) -> Self {
        Self { status, body: String::new() }
    }

    fn script(lines: &[&str]) -> Self {
        Self { status: StatusCode::OK, body: format!("#!ipxe\n{}\n", lines.join("\n")) }
    }

    fn not_ready(name: &str) -> Self {
        let body = format!("environment \"{name}\" is not ready");
        Self { status: StatusCode::PRECONDITION_FAILED, body }
    }
}

/// Writes the answer. A script names only files that can be served now.
pub fn answer(decision: &BootAnswer, environment: Option<&Environment>, at: &Surroundings<'_>) -> Answer {
    match decision {
        BootAnswer::Agent { arch } => agent(*arch, at),
        BootAnswer::Environment { name } => match environment {
            Some(environment) if is_as_asked(environment) && at.directories.has_environment(name) => {
                let node = NodeArgs { endpoint: at.endpoint, grant: at.grant, link: at.link };
                let args = kernel_args::environment(&environment.spec.kernel.args, &node);
                boot(name, &args)
            }
            Some(_) => Answer::not_ready(name),
            None => Answer::empty(StatusCode::INTERNAL_SERVER_ERROR),
        },
        BootAnswer::BootFromDisk { method } => boot_from_disk(*method, at.platform),
        BootAnswer::NotFound => Answer::empty(StatusCode::NOT_FOUND),
        BootAnswer::NotReady { name } => Answer::not_ready(name),
        BootAnswer::Unavailable => Answer::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The way to the local disk. A client that does not name its firmware gets upstream's scripts to the letter.
///
/// On UEFI a bare `exit` ends in the firmware's menu, where a machine stands until somebody comes. `sanboot`
/// boots the disk at once with an iPXE since 2021 and fails with older ones; `exit 1` then tells the firmware
/// to go on with its next boot option.
fn boot_from_disk(method: BootFromDiskMethod, platform: Option<Platform>) -> Answer {
    match (method, platform) {
        (BootFromDiskMethod::Http404, _) => Answer::empty(StatusCode::NOT_FOUND),
        (BootFromDiskMethod::IpxeExit, None | Some(Platform::Bios)) => Answer::script(&["exit"]),
        (BootFromDiskMethod::IpxeSanboot, None) => Answer::script(&["sanboot --no-describe --drive 0x80"]),
        (BootFromDiskMethod::IpxeExit, Some(Platform::Efi)) | (BootFromDiskMethod::IpxeSanboot, Some(_)) => {
            Answer::script(&["sanboot --no-describe --drive 0x80 || exit 1"])
        }
    }
}

/// Whether the status was written for the very files that are asked for: same URL, same digest.
fn is_as_asked(environment: &Environment) -> bool {
    let conditions = environment.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let verified = |url: &str, sha512: &str| {
        url.is_empty()
            || conditions.iter().any(|seen| {
                seen.url == url
                    && seen.type_ == environment::READY
                    && seen.status == ConditionStatus::True
                    && seen.sha512.eq_ignore_ascii_case(sha512)
            })
    };
    let (kernel, initrd) = (&environment.spec.kernel, &environment.spec.initrd);
    verified(&kernel.url, &kernel.sha512) && verified(&initrd.url, &initrd.sha512)
}

fn agent(arch: Arch, at: &Surroundings<'_>) -> Answer {
    let name = arch.agent_environment();
    if !at.directories.has_agent(arch) {
        return Answer::not_ready(name);
    }
    boot(name, &kernel_args::agent(arch, at.mac, at.endpoint, (at.token, at.plane), at.extra_agent_args))
}

fn boot(name: &str, args: &[String]) -> Answer {
    // A line break in an argument would begin a new command.
    let args = args.join(" ").replace(|c: char| c.is_control(), " ");
    let kernel = format!("kernel /env/{name}/{KERNEL_FILE} {args}");
    let initrd = format!("initrd /env/{name}/{INITRD_FILE}");
    Answer::script(&[kernel.trim_end(), &initrd, "boot"])
}
