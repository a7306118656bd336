//! Children: started from a declarative [`Spec`], reaped, signalled as groups.
//!
//! No half-privileged child ever runs: each step between fork and exec either succeeds or ends the
//! child, and the error names the step. Everything there is async-signal-safe (raw system calls, no allocation).
//!
//! [`spawn`] and [`reap`] exclude each other, because the standard library waits for a child whose exec failed and
//! must find it. For the same reason a process that calls [`reap`] must start children through this module only.

pub mod cgroup;
mod child;
mod run;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
pub use nix::sys::signal::Signal;
use nix::unistd::Pid;
use parking_lot::Mutex;
pub use rustix::thread::CapabilitySet as Capabilities;

pub use child::{Step, end_with_starter};
pub use run::{Finished, run};

/// Children that [`run()`] waits for, and how they ended if [`reap`] saw it first.
type Claims = HashMap<u32, Option<ExitStatus>>;

/// Held while a child is started and while children are reaped; see the head of this file. A panic elsewhere leaves the
/// claims usable: each change of them is a single insert or remove.
static CHILDREN: Mutex<Option<Claims>> = Mutex::new(None);

/// The child's user and groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The caller's: for user namespaces that map a single user.
    Keep,
    /// This user, with these groups and no others.
    User {
        /// User id, real, effective and saved.
        uid: u32,
        /// Group id, real, effective and saved.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
}

/// What the child may do beyond its user's rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privileges {
    /// What exec gives by itself: nothing for a user, everything the caller's bounding set holds for root.
    Inherit,
    /// Exactly these, as ambient capabilities; everything else leaves the bounding set, so that no exec of a
    /// set-id program brings it back.
    Only(Capabilities),
}

/// Where the child's standard output and error go. Its standard input is always /dev/null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Both into one pipe, whose reading end is [`Child::output`].
    Pipe,
    /// Where the caller's go.
    Inherit,
    /// Nowhere.
    Null,
}

/// A child to start. Nothing of the caller's environment, session or descriptors reaches it unless it says so.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Program (absolute path) and arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// User and groups.
    pub identity: Identity,
    /// Capabilities.
    pub privileges: Privileges,
    /// Keeps set-id programs from giving rights (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// A session and process group of its own, so that [`signal_group`] reaches its descendants.
    pub new_session: bool,
    /// A cgroup v2 directory that the child joins before exec, so that nothing it does is outside.
    pub cgroup: Option<PathBuf>,
    /// Standard output and error.
    pub output: Output,
    /// `oom_score_adj`, −1000 to 1000; left alone where not permitted.
    pub oom_score_adj: Option<i16>,
    /// Limit of open files, soft and hard; left alone where not permitted.
    pub nofile: Option<u64>,
    /// Limit of private writable memory (`RLIMIT_DATA`, octets), soft and hard; left alone where not permitted.
    pub data_segment: Option<u64>,
}

impl Spec {
    /// A child with a session of its own, no set-id rights, output into a pipe, and otherwise the caller's identity.
    /// The caller's own protection from the out-of-memory killer is not handed on.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            argv: vec![program.into()],
            env: BTreeMap::new(),
            cwd: "/".into(),
            identity: Identity::Keep,
            privileges: Privileges::Inherit,
            no_new_privs: true,
            new_session: true,
            cgroup: None,
            output: Output::Pipe,
            oom_score_adj: Some(0),
            nofile: None,
            data_segment: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }
}

/// A child that runs.
#[derive(Debug)]
pub struct Child {
    /// Its process id; with [`Spec::new_session`] also its process group and session.
    pub pid: u32,
    /// The reading end of its output, blocking, close-on-exec; only with [`Output::Pipe`].
    pub output: Option<OwnedFd>,
}

/// A child that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exited {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
}

/// Why a child was not started, or not signalled.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to start a process: the argument list is empty")]
    NoProgram,
    #[error("failed to make a pipe for {program:?}")]
    Pipe { program: OsString, source: io::Error },
    #[error("failed to open the cgroup {path:?}")]
    Cgroup { path: PathBuf, source: io::Error },
    /// The user namespace does not know the user or group (`EINVAL`); see [`Identity::Keep`].
    #[error("failed to run {program:?} as user {uid}, group {gid}: this user namespace does not map them")]
    NotMapped { program: OsString, uid: u32, gid: u32 },
    /// A step between fork and exec failed.
    #[error("failed to {step} for {program:?}")]
    Prepare { program: OsString, step: Step, source: io::Error },
    /// fork or exec failed.
    #[error("failed to execute {program:?}")]
    Execute { program: OsString, source: io::Error },
    #[error("failed to send {signal} to {pid}")]
    Signal { pid: u32, signal: Signal, source: Errno },
    /// The child did not end in time and was killed.
    #[error("failed to finish {program:?} within {limit:?}")]
    TimedOut { program: OsString, limit: Duration },
    #[error("failed to wait for {program:?}")]
    Wait { program: OsString, source: io::Error },
    #[error("failed to become the parent of orphaned descendants")]
    Subreaper(#[source] Errno),
}

/// Starts a child. It comes back through [`reap`]; a caller that reaps in another thread may see it end before this
/// function has returned, and must keep ends of pids it does not know yet.
pub fn spawn(spec: &Spec) -> Result<Child, Error> {
    start(spec, |_, _| ())
}

/// Starts a child and calls `registered` before another thread can reap it.
fn start(spec: &Spec, registered: impl FnOnce(&mut Claims, u32)) -> Result<Child, Error> {
    let (program, args) = spec.argv.split_first().ok_or(Error::NoProgram)?;
    let pipe_error = |source| Error::Pipe { program: program.clone(), source };
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(&spec.env).current_dir(&spec.cwd).stdin(Stdio::null());
    let output = match spec.output {
        Output::Pipe => {
            let (reader, writer) = io::pipe().map_err(pipe_error)?;
            command.stdout(writer.try_clone().map_err(pipe_error)?).stderr(writer);
            Some(OwnedFd::from(reader))
        }
        Output::Inherit => None,
        Output::Null => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            None
        }
    };
    let (mut failed_step, step_writer) = io::pipe().map_err(pipe_error)?;
    child::Plan::new(spec, step_writer.into())?.install(&mut command);

    let mut guard = CHILDREN.lock();
    let result = command.spawn();
    if let Ok(child) = &result {
        registered(guard.get_or_insert_default(), child.id());
    }
    drop(guard);
    // Closes our copies of the pipes' writing ends: the reads below and the caller's must see the end.
    drop(command);

    match result {
        Ok(child) => Ok(Child { pid: child.id(), output }),
        Err(source) => {
            let mut step = [0; 1];
            let read = failed_step.read(&mut step).unwrap_or(0);
            Err(start_error(
                spec,
                program.clone(),
                (read == 1).then(|| Step::from_code(step[0])).flatten(),
                source,
            ))
        }
    }
}

fn start_error(spec: &Spec, program: OsString, step: Option<Step>, source: io::Error) -> Error {
    match (step, &spec.identity) {
        (Some(Step::Groups | Step::Group | Step::User), &Identity::User { uid, gid, .. })
            if source.raw_os_error() == Some(libc::EINVAL) =>
        {
            Error::NotMapped { program, uid, gid }
        }
        (Some(step), _) => Error::Prepare { program, step, source },
        (None, _) => Error::Execute { program, source },
    }
}

/// Collects every child that has ended, without waiting. To be called after each SIGCHLD. Children of [`run()`] stay
/// with it.
pub fn reap() -> Vec<Exited> {
    let mut guard = CHILDREN.lock();
    let mut ended = Vec::new();
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let pid = pid.as_raw_nonzero().get().unsigned_abs();
                let status = ExitStatus::from_raw(status.as_raw());
                match guard.as_mut().and_then(|claims| claims.get_mut(&pid)) {
                    Some(claim) => *claim = Some(status),
                    None => ended.push(Exited { pid, status }),
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            // No child has ended, or there are none.
            Ok(None) | Err(_) => return ended,
        }
    }
}

/// Signals one process. A process that is gone is no error.
pub fn signal(pid: u32, signal: Signal) -> Result<(), Error> {
    send(pid, signal, nix::sys::signal::kill)
}

/// Signals a whole process group. A group that is gone is no error.
pub fn signal_group(group: u32, signal: Signal) -> Result<(), Error> {
    send(group, signal, nix::sys::signal::killpg)
}

fn send(pid: u32, signal: Signal, how: fn(Pid, Option<Signal>) -> nix::Result<()>) -> Result<(), Error> {
    // 0 and 1 would mean "my own group" and "everything": no caller that knows its child asks for these.
    let target = i32::try_from(pid).ok().filter(|&raw| raw > 1);
    let sent = target.map_or(Err(Errno::EINVAL), |raw| how(Pid::from_raw(raw), Some(signal)));
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(source) => Err(Error::Signal { pid, signal, source }),
    }
}

/// Makes this process the parent of orphaned descendants, as PID 1 is by nature: for runs that are not PID 1.
pub fn become_subreaper() -> Result<(), Error> {
    nix::sys::prctl::set_child_subreaper(true).map_err(Error::Subreaper)
}
