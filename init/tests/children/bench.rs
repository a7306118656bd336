//! What every scenario stands on: a supervisor with its console in memory, and waiting for conditions.

use init::console::Console;
use init::status::StatusStore;
use init::supervise::cgroup::Cgroups;
use init::supervise::log_file::LogSink;
use init::supervise::probe::Probe;
use init::supervise::reaper::Reaper;
use init::supervise::service::Service;
use init::supervise::{Shared, Snapshot, Supervisor};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// Limits are for a loaded machine; none is waited for when all is well.
const LIMIT: Duration = Duration::from_secs(20);
/// Between looks at a condition.
const LOOK: Duration = Duration::from_millis(5);
/// Small, so that endless output turns it over soon.
pub(crate) const LOG_BYTES: u64 = 64 * 1024;

/// A supervisor, and everything one can see of it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    pub(crate) supervisor: Supervisor,
    pub(crate) shared: Shared,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// Supervises these, with control groups where there are some.
    pub(crate) fn start(dir: TempDir, services: Vec<Service>) -> Self {
        let group = format!("bloomery-test-{}", std::process::id());
        Self::start_with(dir, services, Cgroups::named(&group))
    }

    pub(crate) fn start_with(dir: TempDir, services: Vec<Service>, cgroups: Cgroups) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let reaper = Reaper::default();
        tokio::spawn(reaper.clone().run());
        let shared = Shared {
            reaper,
            cgroups,
            logs: LogSink::start(dir.path().to_owned(), LOG_BYTES),
            console: Console::with(move |line| sink.lock().unwrap().push(line.to_owned())),
            status: StatusStore::default(),
        };
        let supervisor = Supervisor::start(services, &shared).expect("services in order");
        Self { dir, supervisor, shared, lines }
    }

    /// Everything shown so far.
    pub(crate) fn console(&self) -> Vec<String> {
        self.shared.console.flush();
        self.lines.lock().unwrap().clone()
    }

    /// Where a service is now.
    pub(crate) fn snapshot(&self, name: &str) -> Snapshot {
        self.supervisor.snapshots().borrow()[name].clone()
    }

    /// Waits until `condition` holds for the service.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Snapshot) -> bool,
    ) -> Snapshot {
        let mut snapshots = self.supervisor.snapshots();
        let wait = snapshots.wait_for(|all| condition(&all[name]));
        if let Ok(all) = tokio::time::timeout(patience(LIMIT), wait).await {
            return all.expect("a supervisor")[name].clone();
        }
        panic!(
            "{name} not {what} after {:?}; it is {:?}; console:\n{}",
            patience(LIMIT),
            self.snapshot(name),
            self.console().join("\n")
        )
    }

    /// Waits until the console shows a line with this text.
    pub(crate) async fn until_shown(&self, text: &str) {
        eventually(&format!("console shows {text:?}"), || {
            let lines = self.console();
            if lines.iter().any(|line| line.contains(text)) { Ok(()) } else { Err(lines.join("\n")) }
        })
        .await;
    }

    /// Ends everything; nothing of it may be left.
    pub(crate) async fn stop(self) {
        tokio::time::timeout(patience(LIMIT), self.supervisor.stop()).await.expect("stopped in time");
    }
}

/// A scenario that has failed must not leave its children to the next one.
impl Drop for Bench {
    fn drop(&mut self) {
        for pid in self.supervisor.snapshots().borrow().values().filter_map(|snapshot| snapshot.pid) {
            drop(bloomery_sys::process::signal_group(pid, bloomery_sys::process::Signal::SIGKILL));
        }
    }
}

/// Waits until `look` is content; a failure shows what was seen last.
pub(crate) async fn eventually(what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let started = Instant::now();
    loop {
        let Err(seen) = look() else { return };
        assert!(
            started.elapsed() < patience(LIMIT),
            "not so after {:?}: {what}; last seen: {seen}",
            started.elapsed()
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// The limit, scaled by the environment's PATIENCE.
pub(crate) fn patience(limit: Duration) -> Duration {
    let factor = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0_f64);
    limit.mul_f64(factor.max(0.1))
}

/// A shell script in the directory, as a daemon with a probe on `port` and short times.
pub(crate) fn script(dir: &Path, name: &'static str, port: u16, text: &str) -> Service {
    let path = write_script(dir, name, text);
    with_short_times(Service::daemon(name, path, Probe::Http { port, path: "/readyz" }))
}

/// A shell script as a one-shot.
pub(crate) fn one_shot(dir: &Path, name: &'static str, text: &str) -> Service {
    let path = write_script(dir, name, text);
    with_short_times(Service::one_shot(name, path))
}

fn with_short_times(mut service: Service) -> Service {
    service.policy.start_timeout = patience(Duration::from_secs(15));
    service.probe_interval = Duration::from_millis(200);
    service.probe_timeout = patience(Duration::from_secs(1));
    service.policy.hang_timeout = Duration::from_millis(500);
    service.policy.stop_grace = Duration::from_millis(700);
    service.env.insert("PATH", "/usr/bin:/bin".to_owned());
    service
}

fn write_script(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join(format!("{name}.sh"));
    std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{text}\n", dir.display())).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

/// The command line of a stub that answers probes.
pub(crate) fn answering(port: u16, rest: &str) -> String {
    let program = std::env::current_exe().expect("this program");
    format!("{} {} {port} {rest}", program.display(), super::stub::WORD)
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).expect("a socket").local_addr().expect("its address").port()
}

/// Whether a process is there and not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).is_some_and(|state| state != 'Z')
}

/// The process ids that a script has written into a file.
pub(crate) fn pids_in(path: &Path) -> Vec<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
