//! A child that is waited for: tools such as mkfs and fsck.
//!
//! It never waits past its limit, and never loses the child's end to [`super::reap`] in another thread.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitOptions, pidfd_open, waitid, waitpid};

use super::{CHILDREN, Claims, Error, Signal, Spec, signal_group, start};

/// Most output that is kept; tools say what is wrong in far less.
const MAX_OUTPUT: usize = 64 * 1024;

/// A child that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// The first 64 KiB of its output, if [`Spec::output`] was a pipe.
    pub output: String,
}

/// Runs a child to its end; past `limit` its process group is killed.
pub fn run(spec: &Spec, limit: Duration) -> Result<Finished, Error> {
    let program = || spec.argv.first().cloned().unwrap_or_default();
    let mut ended = Err(io::ErrorKind::NotFound.into());
    let child = start(spec, |claims, pid| {
        claims.insert(pid, None);
        // Before another thread can reap it: afterwards the pid may name another process.
        ended = as_pid(pid).and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
    })?;
    let mut output = Vec::new();
    let waited = ended.and_then(|ended| wait(&ended, child.output, &mut output, limit));
    if !matches!(waited, Ok(true)) {
        // Its own session is its process group; without one only the child itself is known to be ours.
        let killed = if spec.new_session {
            signal_group(child.pid, Signal::SIGKILL)
        } else {
            super::signal(child.pid, Signal::SIGKILL)
        };
        killed?;
    }
    let status = collect(child.pid).map_err(|source| Error::Wait { program: program(), source })?;
    match waited {
        Ok(true) => Ok(Finished { status, output: String::from_utf8_lossy(&output).into_owned() }),
        Ok(false) => Err(Error::TimedOut { program: program(), limit }),
        Err(source) => Err(Error::Wait { program: program(), source }),
    }
}

/// Takes the child's output until it ends; `Ok(false)` if it does not in time.
fn wait(ended: &OwnedFd, pipe: Option<OwnedFd>, output: &mut Vec<u8>, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    let mut pipe = pipe.map(nonblocking).transpose()?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut waiting = vec![PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)];
        if let Some(file) = &pipe {
            waiting.push(PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN));
        }
        match poll(&mut waiting, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let over = waiting.first().is_some_and(|poll| !poll.revents().is_empty());
        if pipe.as_mut().is_some_and(|file| drain(file, output)) {
            pipe = None;
        }
        if over {
            return Ok(true);
        }
    }
}

fn as_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn nonblocking(fd: OwnedFd) -> io::Result<File> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd.into())
}

/// Reads what is there; returns whether nothing more can come.
fn drain(file: &mut File, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return true,
            Ok(length) => {
                let room = MAX_OUTPUT.saturating_sub(output.len());
                output.extend_from_slice(&buffer[..length.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
}

/// The child's end, from the kernel or from the thread that reaped it. It has ended, or was just killed.
fn collect(pid: u32) -> io::Result<ExitStatus> {
    let target = as_pid(pid)?;
    let reaped = |guard: &mut Option<Claims>| guard.as_mut().and_then(|claims| claims.remove(&pid)).flatten();
    loop {
        // Waits for a dying child without taking its end, and without the lock: a starting child may need it.
        // ECHILD: another thread reaped it, and left its end with the claims.
        let ended = waitid(WaitId::Pid(target), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        if matches!(ended, Err(Errno::INTR)) {
            continue;
        }
        let mut guard = CHILDREN.lock();
        let status = waitpid(Some(target), WaitOptions::NOHANG);
        match (status, reaped(&mut guard)) {
            (Ok(Some((_, status))), _) => return Ok(ExitStatus::from_raw(status.as_raw())),
            (_, Some(status)) => return Ok(status),
            (Ok(None) | Err(Errno::INTR), None) => {
                guard.get_or_insert_default().insert(pid, None);
            }
            (Err(errno), None) => return Err(errno.into()),
        }
    }
}
