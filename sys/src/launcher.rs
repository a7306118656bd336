//! A process that starts one program, as often as it is asked to, for a parent that may start none itself.
//!
//! A server that confined itself ([`crate::confine`]) cannot execute anything any more. Before it does so it starts its
//! launcher: its own executable, which calls [`serve`]. The launcher has one socket, its standard input; over it the
//! parent sends three descriptors and the launcher starts the program with them as its standard input, output and
//! error. At most one instance runs: a further start, [`Launcher::end`] and the end of the parent kill it.
//!
//! The launcher and the program that it starts have no capabilities, no set-id rights, no sockets but that one, and nothing
//! of the parent's environment. Landlock, where the kernel has it, refuses them all files but the program's own. Where a
//! network namespace may be made they are in one of their own.
#![allow(unsafe_code, reason = "system calls are made in this crate alone")]

mod wire;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::confine::{self, Enforced};
use wire::{Order, Reply};

/// A launcher does little: an answer that takes longer will not come.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Open files of the program.
const MAX_FILES: u64 = 64;

/// What a launcher starts.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program, an absolute path. It is called by the name of this file, link or not.
    pub path: PathBuf,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Its private writable memory at most, octets (`RLIMIT_DATA`).
    pub memory: u64,
    /// Further files, or directories with all below, that it may read and execute; for programs that are not static.
    pub libraries: Vec<PathBuf>,
}

/// Why a program was not started or ended, or a launcher does not do so.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the variants and their fields are")]
pub enum Error {
    #[error("failed to start the launcher {program:?}")]
    Launcher { program: OsString, source: io::Error },
    #[error("failed to reach the launcher")]
    Unreachable(#[source] io::Error),
    #[error("failed to start the program")]
    Program(#[source] io::Error),
    /// The launcher could not give up its rights, and so starts nothing.
    #[error("failed to {step}")]
    Rights { step: &'static str, source: io::Error },
    /// The same, of files and system calls.
    #[error("failed to confine the launcher")]
    Confine(#[source] confine::Error),
}

/// The launcher, as its parent sees it. Dropping it ends the launcher and its program.
#[derive(Debug)]
pub struct Launcher {
    /// One order and its answer at a time.
    control: Mutex<Option<OwnedFd>>,
    process: Child,
}

impl Launcher {
    /// Starts the launcher: `command` must come to [`serve`]. To be called before the caller confines itself.
    ///
    /// # Errors
    /// When the executable cannot be started.
    pub fn start(mut command: Command) -> Result<Self, Error> {
        let failed =
            |source: io::Error| Error::Launcher { program: command.get_program().to_owned(), source };
        let (ours, theirs) = wire::pair().map_err(failed)?;
        wire::set_patience(&ours, ANSWER_WITHIN).map_err(failed)?;
        command.env_clear().stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let process = command
            .spawn()
            .map_err(|source| Error::Launcher { program: command.get_program().to_owned(), source })?;
        Ok(Self { control: Mutex::new(Some(ours)), process })
    }

    /// Starts the program with these standard streams; an instance that still runs is killed first. Blocks for
    /// milliseconds, 20 s at most.
    ///
    /// # Errors
    /// When the launcher is gone, or the program cannot be executed.
    pub fn open(&self, stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> Result<(), Error> {
        match self.ask(&Order::Start([stdin, stdout, stderr]))? {
            Reply::Started => Ok(()),
            Reply::Failed(errno) => Err(Error::Program(io::Error::from_raw_os_error(errno))),
            Reply::Ended(_) => Err(Error::Unreachable(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Kills the program if it still runs, and says how it ended; nothing if none was started. Blocks like
    /// [`Self::open`].
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn end(&self) -> Result<Option<ExitStatus>, Error> {
        match self.ask(&Order::End)? {
            Reply::Ended(status) => Ok(status.map(ExitStatus::from_raw)),
            Reply::Started | Reply::Failed(_) => Err(Error::Unreachable(io::ErrorKind::InvalidData.into())),
        }
    }

    fn ask(&self, order: &Order) -> Result<Reply, Error> {
        // A panic elsewhere leaves the socket usable: an order and its answer are taken as one.
        let mut control = self.control.lock();
        let socket =
            control.as_ref().ok_or_else(|| Error::Unreachable(io::ErrorKind::NotConnected.into()))?;
        let reply = wire::send_order(socket, order).and_then(|()| wire::receive_reply(socket));
        if reply.is_err() {
            // A late answer would be taken for that to the next order.
            control.take();
        }
        reply.map_err(Error::Unreachable)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The launcher sees the end of its socket, kills its program and exits.
        drop(self.control.get_mut().take());
        let _ = self.process.wait();
    }
}

/// The launcher's own life: confines the calling process, then starts `program` whenever the parent on standard input asks
/// for it, until the parent is gone. For the main thread of a process with no other threads.
///
/// # Errors
/// When the process cannot give up its rights, or its standard input is no socket of a [`Launcher`].
pub fn serve(program: &Program) -> Result<(), Error> {
    let enforced = confine(program)?;
    if enforced != Enforced::Fully {
        tracing::warn!(?enforced, "the launcher is confined as far as this kernel can");
    }
    let socket = io::stdin();
    let socket = socket.as_fd();
    let mut running = Running(None);
    while let Some(order) = wire::receive_order(socket).map_err(Error::Unreachable)? {
        let reply = match order {
            Order::Start(streams) => {
                running.end();
                match spawn(program, streams) {
                    Ok(child) => {
                        running.0 = Some(child);
                        Reply::Started
                    }
                    Err(error) => Reply::Failed(error.raw_os_error().unwrap_or(libc::EIO)),
                }
            }
            Order::End => Reply::Ended(running.end().map(ExitStatus::into_raw)),
        };
        wire::send_reply(socket, &reply).map_err(Error::Unreachable)?;
    }
    Ok(())
}

/// The instance, which ends with its launcher.
struct Running(Option<Child>);

impl Running {
    fn end(&mut self) -> Option<ExitStatus> {
        let mut child = self.0.take()?;
        // Its whole group, for what it started; one that ended by itself keeps its status.
        let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let _ = group.map(|group| rustix::process::kill_process_group(group, Signal::KILL));
        child.wait().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(program: &Program, [stdin, stdout, stderr]: [OwnedFd; 3]) -> io::Result<Child> {
    let mut command = Command::new(&program.path);
    command
        .env_clear()
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .process_group(0);
    // SAFETY: the hook makes one system call on no data: it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.spawn()
}

fn confine(program: &Program) -> Result<Enforced, Error> {
    let failed = |step| move |errno: rustix::io::Errno| Error::Rights { step, source: errno.into() };
    // No core: it would hold secrets.
    let limits = [(Resource::Core, 0), (Resource::Nofile, MAX_FILES), (Resource::Data, program.memory)];
    for (resource, limit) in limits {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        rustix::process::setrlimit(resource, limit).map_err(failed("limit resources"))?;
    }
    leave_network();
    drop_capabilities().map_err(failed("drop capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("give up set-id rights"))?;
    rustix::process::chdir("/").map_err(failed("change the directory"))?;
    let mut programs = vec![program.path.clone()];
    programs.extend(program.libraries.iter().cloned());
    confine::confine_launcher(&programs, &[]).map_err(Error::Confine)
}

/// A network of its own, with nothing in it; also as an ordinary user where user namespaces are allowed. Where neither is,
/// the filter of system calls alone keeps it from the network.
fn leave_network() {
    // SAFETY: this process has one thread (see `serve`), so that no other one has another view of the namespaces, and it
    // holds no socket but the one to its parent, which stays connected.
    let alone = |flags| unsafe { rustix::thread::unshare_unsafe(flags) };
    let left = alone(UnshareFlags::NEWNET).or_else(|_| alone(UnshareFlags::NEWUSER | UnshareFlags::NEWNET));
    if let Err(error) = left {
        tracing::debug!(%error, "no network namespace of its own");
    }
}

fn drop_capabilities() -> rustix::io::Result<()> {
    let each = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    for capability in each {
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => match rustix::thread::remove_capability_from_bounding_set(capability) {
                // An ordinary user, to whom no exec gives any.
                Ok(()) | Err(rustix::io::Errno::PERM) => {}
                Err(errno) => return Err(errno),
            },
            Ok(false) => {}
            // Beyond the last capability of this kernel.
            Err(_) => break,
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)
}
