//! Child processes of a test: their output goes to a file, and they end with the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use bloomery_sys::process::end_with_starter;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::eventually;

/// Lines of a log that a failed test prints.
const TAIL: usize = 400;

/// A running child. Dropping it kills it by its own id, and so does the kernel when the thread of the test ends otherwise;
/// in a test that fails, its last lines are printed.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a command in `directory`; its output goes to `<name>.log` there, after what is in it.
    pub fn start(name: &str, directory: &Path, command: &mut Command) -> Self {
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = end_with_starter(command)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        Self { child, name: name.to_owned(), log }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, and what it wrote; nothing while it runs.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().unwrap()?;
        Some(format!("{status}: {}", self.output()))
    }

    /// Fails at once when the process has ended, instead of waiting for what it will never do.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended: {status}", self.name);
        }
    }

    /// Ends it with SIGTERM and waits until it is gone.
    pub async fn stop(&mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.wait().await;
    }

    /// Kills it by its own id.
    pub async fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait().await;
    }

    /// Waits for the end.
    pub async fn wait(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let child = &mut self.child;
        eventually(&what, async || child.try_wait().unwrap().ok_or_else(|| "still running".to_owned())).await
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Names the folder of the test that is killed.
    const FOLDER: &str = "BLOOMERY_TESTKIT_KILLED";

    #[tokio::test]
    async fn a_child_ends_with_a_test_that_is_killed() {
        if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
            let process = Process::start("sleep", &folder, Command::new("sleep").arg("1000"));
            std::fs::write(folder.join("pid"), format!("{}\n", process.id())).unwrap();
            std::future::pending::<()>().await;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut test = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::tests::a_child_ends_with_a_test_that_is_killed"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = eventually("the child has started", async || {
            let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap_or_default();
            pid.strip_suffix('\n').map(str::to_owned).ok_or(pid)
        })
        .await;
        let program = || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(program().starts_with("sleep"));
        test.kill().unwrap();
        test.wait().unwrap();
        // That of a child that nobody has waited for yet is empty.
        eventually("the child has ended", async || match program().as_str() {
            "" => Ok(()),
            program => Err(program.to_owned()),
        })
        .await;
    }
}
