//! Boot services beside their peers: each server on one core, the same client on another, in a network namespace of
//! the measuring thread's own.
//!
//! It must never bind a port of the machine itself, nor leave a server running.

mod api;
pub(crate) mod dhcp;
pub(crate) mod http;
pub(crate) mod tftp;

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bloomery_lab::patience;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::unistd::Pid;

use crate::Options;
use crate::report::Figure;

/// Core of the server.
const SERVER_CORE: &str = "0";
/// Core of the client.
const CLIENT_CORE: usize = 1;
/// Until a server answers for the first time.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Real-time priority of servers and client: what else the machine does must wait. The kernel leaves it 5 %.
const PRIORITY: &str = "10";
/// Each figure is measured so often, ours and the peers in turn.
const RUNS: usize = 3;

/// Runs `measure` on a thread with a network namespace of its own.
pub(crate) async fn isolated(
    options: &Options,
    measure: fn(&Lab) -> anyhow::Result<Vec<Figure>>,
) -> anyhow::Result<Vec<Figure>> {
    let options = options.clone();
    tokio::task::spawn_blocking(move || {
        std::thread::spawn(move || measure(&Lab::new(&options)?))
            .join()
            .unwrap_or_else(|_| bail!("the measuring thread panicked"))
    })
    .await
    .context("failed to wait for the measuring thread")?
}

/// The namespace, and where the programs are.
pub(crate) struct Lab {
    bootsvc: PathBuf,
    peers: PathBuf,
    work: tempfile::TempDir,
    /// In a namespace of its own at the other end of the pair: a client without address.
    nobody: UdpSocket,
}

/// A server that is killed when it is not needed any more.
pub(crate) struct Server(Child);

impl Server {
    /// CPU time of it, without its children's.
    fn cpu_time(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))
            .context("failed to read the server's CPU time")?;
        crate::scale::cpu_seconds(&stat).map(Duration::from_secs_f64)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its own process group, as some fork.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = nix::sys::signal::killpg(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

fn run(command: &[&str]) -> anyhow::Result<()> {
    let done = Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).status();
    anyhow::ensure!(done.is_ok_and(|status| status.success()), "failed to run {}", command.join(" "));
    Ok(())
}

impl Lab {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let new_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).context("failed to make a network namespace; this needs root")
        };
        new_namespace()?;
        run(&["ip", "link", "add", "v1", "type", "veth", "peer", "name", "v0"])?;
        run(&["ip", "link", "set", "v1", "up"])?;
        let nobody = dhcp::client()?;
        let clients =
            std::fs::File::open("/proc/thread-self/ns/net").context("failed to open a namespace")?;
        new_namespace()?;
        let (pid, thread) = (std::process::id(), nix::unistd::gettid());
        let there = format!("--net=/proc/{pid}/fd/{}", clients.as_raw_fd());
        let here = format!("/proc/{pid}/task/{thread}/ns/net");
        run(&["nsenter", &there, "ip", "link", "set", "v0", "netns", &here])?;
        // Ethernet's MTU, so that block sizes are those of a real network.
        run(&["ip", "link", "set", "lo", "mtu", "1500", "up"])?;
        run(&["ip", "addr", "add", "10.99.0.1/24", "broadcast", "10.99.0.255", "dev", "v0"])?;
        run(&["ip", "link", "set", "v0", "up"])?;
        let mut cores = CpuSet::new();
        cores.set(CLIENT_CORE).context("failed to name the client's core")?;
        sched_setaffinity(Pid::from_raw(0), &cores)
            .context("failed to pin the client; two cores are needed")?;
        // The servers inherit it.
        run(&["chrt", "--fifo", "--pid", PRIORITY, &thread.to_string()])?;
        let work = tempfile::tempdir()?;
        for folder in ["share/ipxe", "env/default"] {
            std::fs::create_dir_all(work.path().join(folder))?;
        }
        api::start(work.path())?;
        let peers = options.out.join("tools/peers");
        Ok(Self { bootsvc: options.bootsvc.clone(), peers, work, nobody })
    }

    fn folder(&self) -> &Path {
        self.work.path()
    }

    fn peer(&self, name: &str) -> PathBuf {
        self.peers.join("usr/sbin").join(name)
    }

    /// Starts a server on its core.
    fn start<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> anyhow::Result<Server> {
        let child = Command::new("taskset")
            .args(["-c", SERVER_CORE])
            .arg(program)
            .args(arguments)
            .env("LD_LIBRARY_PATH", self.peers.join("usr/lib/x86_64-linux-gnu"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder().join("server.log"))?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        Ok(Server(child))
    }

    fn start_ours(&self) -> anyhow::Result<Server> {
        let path = |name: &str| self.folder().join(name).display().to_string();
        anyhow::ensure!(
            self.bootsvc.exists(),
            "{} is missing; build it with `cargo build --release -p bootsvc`",
            self.bootsvc.display()
        );
        let arguments = [
            "--share-dir".to_owned(),
            path("share"),
            "--env-dir".to_owned(),
            path("env"),
            "--kubeconfig".to_owned(),
            path("kubeconfig"),
            "--plane-dir".to_owned(),
            path("plane"),
            "--interface".to_owned(),
            "v0".to_owned(),
        ];
        self.start(&self.bootsvc, &arguments)
    }

    /// Tries until it works.
    fn until<T>(&self, what: &str, mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let begin = Instant::now();
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if begin.elapsed() > patience::scaled(START_LIMIT) => {
                    let log = std::fs::read_to_string(self.folder().join("server.log")).unwrap_or_default();
                    return Err(error.context(format!("{what} never answered: {}", log.trim())));
                }
                // Each attempt waits by itself, or a refused connection ends it; then a moment is enough.
                Err(_) => drop(nix::poll::poll(&mut [], 20u8)),
            }
        }
    }
}
