//! The lab's network: private namespaces with one bridge, joined to the host only through unix sockets.
//!
//! The namespaces are made by unshare(1) of util-linux, so that neither root nor a single-threaded caller is needed.
//! The host's interfaces, routes and firewall are never touched.

use crate::{
    contract::{LAB_ADDRESS, PREFIX},
    state::LabDir,
    supervise::protocol::{FORWARD_SOCKET, Message, Op, Request},
};
use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use std::{
    collections::HashMap, ffi::OsString, fs::OpenOptions, net::SocketAddr, path::PathBuf, process::Stdio,
    sync::Arc, time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{Mutex as AsyncMutex, oneshot, watch},
};

/// The bridge that all machines are plugged into.
pub const BRIDGE: &str = "br0";
/// Where the supervisor writes what goes wrong inside.
const SUPERVISOR_LOG: &str = "supervisor.log";
/// Limit for commands that set something up (`ip`, …); they take milliseconds.
const RUN_LIMIT: Duration = Duration::from_secs(20);
/// The supervisor's own answer, beside what a command takes.
const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// The kernel needs milliseconds to kill a PID namespace; guests with dirty memory some more.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The program that is the supervisor and its parts: it must call [`crate::program::run`] with what follows.
#[derive(Debug, Clone)]
pub struct Helper {
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Replies that are waited for; `None` once the supervisor is gone.
type Pending = HashMap<u64, oneshot::Sender<Result<String>>>;

#[derive(Debug, Default)]
struct Shared {
    pending: Option<Pending>,
    exits: HashMap<String, watch::Sender<Option<String>>>,
    next_id: u64,
}

/// The running network. Dropping it ends everything inside.
#[derive(Debug)]
pub struct Net {
    dir: Arc<LabDir>,
    helper: Helper,
    holder: AsyncMutex<Child>,
    /// `None` once the lab is being stopped.
    requests: AsyncMutex<Option<ChildStdin>>,
    shared: Arc<Mutex<Shared>>,
}

/// A child of the supervisor.
#[derive(Debug, Clone)]
pub struct Process {
    name: String,
    exited: watch::Receiver<Option<String>>,
}

impl Process {
    /// How it ended; `None` while it runs.
    pub fn exit(&self) -> Option<String> {
        self.exited.borrow().clone()
    }

    /// Waits for its end and says how it ended.
    pub async fn ended(&mut self) -> String {
        match self.exited.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "the lab's supervisor ended".to_owned(),
        }
    }
}

impl Net {
    /// Makes the namespaces, the bridge and the lab's address on it.
    ///
    /// # Errors
    /// User namespaces are not allowed here (and this is not root), or `ip` failed.
    pub async fn start(dir: Arc<LabDir>, helper: &Helper) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(dir.path(SUPERVISOR_LOG))?;
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let mut holder = command
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--"])
            .arg(&helper.program)
            .args(&helper.arguments)
            .current_dir(dir.root())
            // Its own process group: a Ctrl-C in the terminal is for the client only, which stops the lab in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("failed to start unshare (Debian package util-linux)")?;
        if let Some(pid) = holder.id() {
            dir.record_holder(pid)?;
        }
        let (Some(stdin), Some(stdout)) = (holder.stdin.take(), holder.stdout.take()) else {
            bail!("failed to open the supervisor's pipes");
        };
        let shared = Arc::new(Mutex::new(Shared { pending: Some(Pending::new()), ..Shared::default() }));
        tokio::spawn(read_messages(stdout, Arc::clone(&shared)));
        let net = Self {
            dir,
            helper: helper.clone(),
            holder: AsyncMutex::new(holder),
            requests: AsyncMutex::new(Some(stdin)),
            shared,
        };
        let bridge = format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge forward_delay 0 stp_state 0\n\
             addr add {LAB_ADDRESS}/{PREFIX} dev {BRIDGE}\n\
             link set {BRIDGE} up\n"
        );
        net.ip(&bridge).await.context(
            "failed to make the lab's network; without root it needs unprivileged user namespaces \
             (sysctl kernel.unprivileged_userns_clone=1)",
        )?;
        Ok(net)
    }

    /// Makes the tap device `name` and plugs it into the bridge.
    ///
    /// # Errors
    /// `/dev/net/tun` is missing or may not be opened.
    pub async fn add_tap(&self, name: &str) -> Result<()> {
        let commands = format!("tuntap add dev {name} mode tap\nlink set {name} master {BRIDGE} up\n");
        self.ip(&commands).await.with_context(|| {
            format!(
                "failed to make the tap device {name}; is /dev/net/tun there (modprobe tun) and writable?"
            )
        })
    }

    /// Whether the network device `name` exists.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn has_link(&self, name: &str) -> Result<bool> {
        let links = self.run(&["ip", "-oneline", "link", "show"], "").await?;
        Ok(links.lines().any(|line| line.split(": ").nth(1).is_some_and(|link| link == name)))
    }

    /// Loses some of the frames from and to the machine behind the tap device `name`.
    ///
    /// # Errors
    /// nftables or the kernel's part of it is missing.
    pub async fn lose_frames(&self, name: &str, percent: u8) -> Result<()> {
        let chain = |hook: &str| {
            format!(
                "chain {hook} {{\n type filter hook {hook} device \"{name}\" priority 0;\n \
                 numgen random mod 100 < {percent} counter drop\n}}\n"
            )
        };
        let table = format!("table netdev {name} {{\n{}{}}}\n", chain("ingress"), chain("egress"));
        self.run(&["nft", "-f", "-"], &table)
            .await
            .map(drop)
            .context("failed to make the line bad (Debian package nftables)")
    }

    /// The command line of the helper in one of its roles.
    pub fn helper(&self, role: &[String]) -> Vec<String> {
        let own = [self.helper.program.as_os_str()]
            .into_iter()
            .chain(self.helper.arguments.iter().map(AsRef::as_ref));
        own.map(|word| word.to_string_lossy().into_owned()).chain(role.iter().cloned()).collect()
    }

    async fn ip(&self, batch: &str) -> Result<()> {
        self.run(&["ip", "-batch", "-"], batch).await.map(drop)
    }

    /// Runs a command inside to its end and gives its standard output.
    ///
    /// # Errors
    /// It cannot be started, fails or takes longer than 20 s.
    pub async fn run(&self, argv: &[&str], stdin: &str) -> Result<String> {
        self.run_within(RUN_LIMIT, argv, stdin).await
    }

    /// The same for a command that takes its time.
    ///
    /// # Errors
    /// It cannot be started, fails or takes longer than `limit`.
    pub async fn run_within(&self, limit: Duration, argv: &[&str], stdin: &str) -> Result<String> {
        let argv = argv.iter().map(|&arg| arg.to_owned()).collect();
        self.request(Op::Run { argv, stdin: stdin.to_owned(), limit }).await
    }

    /// Starts a child inside that runs on; `log` is a file of the lab's folder.
    ///
    /// # Errors
    /// It cannot be started, or a child of that name runs.
    pub async fn spawn(&self, name: &str, argv: Vec<String>, log: &str) -> Result<Process> {
        let (sender, exited) = watch::channel(None);
        self.shared.lock().exits.insert(name.to_owned(), sender);
        self.request(Op::Spawn { name: name.to_owned(), argv, log: log.to_owned() }).await?;
        Ok(Process { name: name.to_owned(), exited })
    }

    /// Kills a child at once, like a pulled plug, and waits until it is gone.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn kill(&self, process: &mut Process) -> Result<()> {
        self.request(Op::Kill { name: process.name.clone() }).await?;
        process.ended().await;
        Ok(())
    }

    /// Sends one datagram from the lab's own address.
    ///
    /// # Errors
    /// The kernel refused it.
    pub async fn datagram(&self, to: SocketAddr, payload: &[u8]) -> Result<()> {
        self.request(Op::Datagram { to, payload: payload.to_vec() }).await.map(drop)
    }

    /// A TCP connection to an address of the lab's network. A connection that fails inside ends at once.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn connect(&self, to: SocketAddr) -> Result<UnixStream> {
        connect(&self.dir, to).await
    }

    /// Ends everything inside and waits until it is gone.
    ///
    /// # Errors
    /// Something does not die; a driver in the kernel hangs.
    pub async fn stop(&self) -> Result<()> {
        // The end of its input is the supervisor's order to end.
        self.requests.lock().await.take();
        let mut holder = self.holder.lock().await;
        match tokio::time::timeout(STOP_LIMIT, holder.wait()).await {
            Ok(status) => status.map(drop).context("failed to wait for the lab's end"),
            Err(_) => holder.kill().await.context("failed to kill the lab's holder"),
        }
    }

    async fn request(&self, op: Op) -> Result<String> {
        let own_limit = if let Op::Run { limit, .. } = &op { *limit } else { RUN_LIMIT };
        let (sender, reply) = oneshot::channel();
        let id = {
            let mut shared = self.shared.lock();
            shared.next_id += 1;
            let id = shared.next_id;
            match &mut shared.pending {
                Some(pending) => pending.insert(id, sender),
                None => return Err(self.gone()),
            };
            id
        };
        let mut line = serde_json::to_vec(&Request { id, op }).context("failed to write a request")?;
        line.push(b'\n');
        match self.requests.lock().await.as_mut() {
            Some(requests) => requests.write_all(&line).await.map_err(|_| self.gone())?,
            None => return Err(self.gone()),
        }
        match tokio::time::timeout(own_limit + REPLY_LIMIT, reply).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.gone()),
            Err(_) => bail!("the lab's supervisor does not answer"),
        }
    }

    fn gone(&self) -> anyhow::Error {
        let log = self.dir.path(SUPERVISOR_LOG);
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        anyhow!("the lab's supervisor ended: {last} (see {})", log.display())
    }
}

/// A TCP connection to `to` in the network of the lab in `dir`.
pub(crate) async fn connect(dir: &LabDir, to: SocketAddr) -> Result<UnixStream> {
    let mut stream =
        UnixStream::connect(dir.socket(FORWARD_SOCKET)).await.context("failed to reach the lab's network")?;
    stream.write_all(format!("{to}\n").as_bytes()).await.context("failed to name the target")?;
    Ok(stream)
}

/// Hands replies and exits to whoever waits for them, until the supervisor ends.
async fn read_messages(stdout: ChildStdout, shared: Arc<Mutex<Shared>>) {
    let lock = || shared.lock();
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str(&line) else { continue };
        let (id, result) = match message {
            Message::Done { id, output } => (id, Ok(output)),
            Message::Failed { id, error } => (id, Err(anyhow!(error))),
            Message::Exited { name, status } => {
                if let Some(sender) = lock().exits.get(&name) {
                    sender.send_replace(Some(status));
                }
                continue;
            }
        };
        if let Some(sender) = lock().pending.as_mut().and_then(|pending| pending.remove(&id)) {
            let _ = sender.send(result);
        }
    }
    let mut shared = lock();
    shared.pending = None;
    shared.exits.clear();
}
