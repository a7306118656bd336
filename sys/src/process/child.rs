//! What happens in the child between fork and exec.
//!
//! The child never allocates, locks or calls into libc: another thread may have held any lock at the fork.
//! [`Plan::new`] makes everything that needs memory before it.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Error, Identity, Privileges, Spec};

/// Has the kernel kill the child when the thread that starts it ends, however that ends (prctl(2), `PR_SET_PDEATHSIG`).
pub fn end_with_starter(command: &mut Command) -> &mut Command {
    let starter = Some(rustix::process::getpid());
    let step = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have ended before.
        if rustix::process::getppid() == starter { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec two system calls are made, and nothing is allocated or locked.
    unsafe { command.pre_exec(step) }
}

/// The steps in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// A session of its own.
    Session = 1,
    /// Joining the cgroup.
    Cgroup,
    /// The out-of-memory score.
    OomScore,
    /// The limit of open files.
    OpenFiles,
    /// The limit of private memory.
    DataSegment,
    /// Dropping capabilities from the bounding set.
    BoundingSet,
    /// Keeping capabilities over the change of user.
    KeepCapabilities,
    /// Supplementary groups.
    Groups,
    /// Group.
    Group,
    /// User.
    User,
    /// The capability sets.
    Capabilities,
    /// Raising ambient capabilities.
    Ambient,
    /// Giving up set-id rights.
    NoNewPrivileges,
}

impl Step {
    const ALL: [Self; 13] = [
        Self::Session,
        Self::Cgroup,
        Self::OomScore,
        Self::OpenFiles,
        Self::DataSegment,
        Self::BoundingSet,
        Self::KeepCapabilities,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::Capabilities,
        Self::Ambient,
        Self::NoNewPrivileges,
    ];

    /// The step with this number in the byte that a failing child sends.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u8 == code)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "start a session",
            Self::Cgroup => "join the cgroup",
            Self::OomScore => "set the out-of-memory score",
            Self::OpenFiles => "set the limit of open files",
            Self::DataSegment => "set the limit of private memory",
            Self::BoundingSet => "limit the capability bounding set",
            Self::KeepCapabilities => "keep capabilities over the change of user",
            Self::Groups => "set the supplementary groups",
            Self::Group => "set the group",
            Self::User => "set the user",
            Self::Capabilities => "set the capabilities",
            Self::Ambient => "raise the ambient capabilities",
            Self::NoNewPrivileges => "give up set-id rights",
        })
    }
}

/// All that the child needs, made before the fork.
pub(super) struct Plan {
    report: OwnedFd,
    new_session: bool,
    cgroup: Option<File>,
    oom_score_adj: Option<Vec<u8>>,
    nofile: Option<u64>,
    data_segment: Option<u64>,
    user: Option<(Uid, Gid, Vec<Gid>)>,
    privileges: Privileges,
    no_new_privs: bool,
}

impl Plan {
    /// `report` takes one byte, the number of the step that failed.
    pub(super) fn new(spec: &Spec, report: OwnedFd) -> Result<Self, Error> {
        let open_cgroup = |path: &std::path::PathBuf| {
            OpenOptions::new()
                .write(true)
                .open(path.join("cgroup.procs"))
                .map_err(|source| Error::Cgroup { path: path.clone(), source })
        };
        let user = match &spec.identity {
            Identity::Keep => None,
            Identity::User { uid, gid, groups } => Some((
                Uid::from_raw(*uid),
                Gid::from_raw(*gid),
                groups.iter().map(|group| Gid::from_raw(*group)).collect(),
            )),
        };
        Ok(Self {
            report,
            new_session: spec.new_session,
            cgroup: spec.cgroup.as_ref().map(open_cgroup).transpose()?,
            oom_score_adj: spec.oom_score_adj.map(|score| score.to_string().into_bytes()),
            nofile: spec.nofile,
            data_segment: spec.data_segment,
            user,
            privileges: spec.privileges.clone(),
            no_new_privs: spec.no_new_privs,
        })
    }

    /// Makes `command` carry the plan out before exec.
    pub(super) fn install(self, command: &mut Command) {
        let hook = move || {
            self.run().map_err(|(step, errno)| {
                // Without the byte the parent still gets the error number.
                let _ = rustix::io::write(&self.report, &[step as u8]);
                io::Error::from_raw_os_error(errno.raw_os_error())
            })
        };
        // SAFETY: the hook runs in the forked child and only makes system calls through rustix' raw backend on data
        // that was made before the fork: no allocation, no lock, no libc state. `from_raw_os_error` allocates nothing.
        unsafe {
            command.pre_exec(hook);
        }
    }

    fn run(&self) -> Result<(), (Step, Errno)> {
        let at = |step: Step| move |errno: Errno| (step, errno);
        if self.new_session {
            rustix::process::setsid().map_err(at(Step::Session))?;
        }
        if let Some(cgroup) = &self.cgroup {
            // "0" is the writer itself.
            rustix::io::write(cgroup, b"0").map_err(at(Step::Cgroup))?;
        }
        if let Some(score) = &self.oom_score_adj {
            where_permitted(set_oom_score(score)).map_err(at(Step::OomScore))?;
        }
        let limits = [
            (self.nofile, Resource::Nofile, Step::OpenFiles),
            (self.data_segment, Resource::Data, Step::DataSegment),
        ];
        for (limit, resource, step) in limits {
            if limit.is_some() {
                let limit = Rlimit { current: limit, maximum: limit };
                where_permitted(rustix::process::setrlimit(resource, limit)).map_err(at(step))?;
            }
        }
        self.become_user()?;
        if self.no_new_privs {
            rustix::thread::set_no_new_privs(true).map_err(at(Step::NoNewPrivileges))?;
        }
        Ok(())
    }

    fn become_user(&self) -> Result<(), (Step, Errno)> {
        let at = |step: Step| move |errno: Errno| (step, errno);
        if let Privileges::Only(keep) = self.privileges {
            // Before the user changes: it takes CAP_SETPCAP.
            limit_bounding_set(keep).map_err(at(Step::BoundingSet))?;
            if self.user.is_some() {
                rustix::thread::set_keep_capabilities(true).map_err(at(Step::KeepCapabilities))?;
            }
        }
        if let Some((uid, gid, groups)) = &self.user {
            rustix::thread::set_thread_groups(groups).map_err(at(Step::Groups))?;
            rustix::thread::set_thread_res_gid(*gid, *gid, *gid).map_err(at(Step::Group))?;
            rustix::thread::set_thread_res_uid(*uid, *uid, *uid).map_err(at(Step::User))?;
        }
        if let Privileges::Only(keep) = self.privileges {
            let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: keep };
            rustix::thread::set_capabilities(None, sets).map_err(at(Step::Capabilities))?;
            for capability in each(keep) {
                rustix::thread::configure_capability_in_ambient_set(capability, true)
                    .map_err(at(Step::Ambient))?;
            }
        }
        Ok(())
    }
}

/// The single capabilities of a set.
fn each(set: CapabilitySet) -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)).filter(move |one| set.contains(*one))
}

/// Drops all that the kernel knows and `keep` does not hold.
fn limit_bounding_set(keep: CapabilitySet) -> Result<(), Errno> {
    for capability in each(CapabilitySet::from_bits_retain(u64::MAX)).filter(|one| !keep.contains(*one)) {
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(capability)?,
            Ok(false) => {}
            // Beyond the last capability of this kernel.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn set_oom_score(score: &[u8]) -> Result<(), Errno> {
    let file =
        rustix::fs::open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, score).map(drop)
}

/// Turns "you may not" (and "there is no /proc") into success: the step is a wish.
fn where_permitted(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::PERM | Errno::ACCESS | Errno::NOENT) => Ok(()),
        other => other,
    }
}
