//! Child processes of a test: their output goes to a file, and they end with the test.

// Each test takes the parts it needs.
#![allow(dead_code)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::eventually::eventually;

/// Lines of a log that a failed test prints.
const TAIL: usize = 400;

/// A running child. Dropping it kills it by its own id.
pub(crate) struct Process {
    child: Child,
    /// Name, for messages.
    pub(crate) name: String,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

impl Process {
    /// Starts a command whose output goes to `<directory>/<name>.log`.
    pub(crate) fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        Self { child, name: name.to_owned(), log }
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails at once when the process has ended, instead of waiting for what it will never do.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended: {status}", self.name);
        }
    }

    /// Ends it with SIGTERM and waits until it is gone.
    pub(crate) async fn stop(&mut self) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.wait().await;
    }

    /// Kills it by its own id.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait().await;
    }

    /// Waits for the end.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        let name = format!("{} ends", self.name);
        let child = &mut self.child;
        eventually(&name, async || child.try_wait().unwrap().ok_or_else(|| "still running".to_owned())).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("--- end of {}:", self.log.display());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("{line}");
            }
        }
    }
}
