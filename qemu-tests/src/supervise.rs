//! The supervisor: first process of the lab's namespaces, parent of QEMU and dhcpd.
//!
//! It obeys one client over standard input and output (see [`protocol`]) and ends when that input ends, which
//! happens however the client dies. As first process of its PID namespace its end is the end of all others, by the
//! kernel's hand. It decides nothing and must never run outside of namespaces made for it.

pub mod protocol;

use anyhow::{Context, Result, bail};
use protocol::{FORWARD_SOCKET, Message, Op, Request};
use std::{collections::HashMap, fs::OpenOptions, net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket, UnixListener, UnixStream},
    process::Command,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

/// Limit for a connection to a machine: three SYN retransmissions.
const CONNECT_LIMIT: Duration = Duration::from_secs(8);
/// Longest target line on the forward socket: `255.255.255.255:65535`.
const TARGET_LIMIT: usize = 64;

/// Runs the supervisor until its standard input ends. The current folder is the lab's folder.
///
/// # Errors
/// It is not the first process of a PID namespace, or the forward socket cannot be made.
pub async fn run() -> Result<()> {
    if std::process::id() != 1 {
        bail!("failed to supervise: this is a part of the lab, not a command");
    }
    // Best effort: only tools that look at /proc notice when it still shows the outer processes.
    let _ = nix::mount::mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOEXEC,
        None::<&str>,
    );
    let listener = UnixListener::bind(FORWARD_SOCKET).context("failed to make the forward socket")?;
    tokio::spawn(serve_forwards(listener));

    let (messages, mut outgoing) = unbounded_channel::<Message>();
    tokio::spawn(async move {
        let mut stdout = tokio::io::stdout();
        while let Some(message) = outgoing.recv().await {
            let Ok(mut line) = serde_json::to_vec(&message) else { continue };
            line.push(b'\n');
            if stdout.write_all(&line).await.is_err() || stdout.flush().await.is_err() {
                break;
            }
        }
    });

    let mut children = HashMap::new();
    // In order, but for commands that run to their end.
    let mut requests = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = requests.next_line().await.context("failed to read a request")? {
        let Request { id, op } = serde_json::from_str(&line).context("failed to parse a request")?;
        if let Op::Run { argv, stdin, limit } = op {
            // A command may wait for something that is asked for meanwhile: for a machine that starts, for example.
            let messages = messages.clone();
            tokio::spawn(async move {
                let _ = messages.send(reply(id, run_to_end(&argv, &stdin, limit).await));
            });
        } else {
            let _ = messages.send(reply(id, obey(op, &mut children, &messages).await));
        }
    }
    Ok(())
}

fn reply(id: u64, result: Result<String>) -> Message {
    match result {
        Ok(output) => Message::Done { id, output },
        Err(error) => Message::Failed { id, error: format!("{error:#}") },
    }
}

/// Handles of running children: a message to one means "kill".
type Children = HashMap<String, UnboundedSender<()>>;

async fn obey(op: Op, children: &mut Children, messages: &UnboundedSender<Message>) -> Result<String> {
    match op {
        Op::Run { argv, stdin, limit } => run_to_end(&argv, &stdin, limit).await,
        Op::Spawn { name, argv, log } => {
            spawn(&name, &argv, &log, children, messages)?;
            Ok(String::new())
        }
        Op::Kill { name } => {
            // A child that has just ended by itself is as good as killed.
            if let Some(kill) = children.get(&name) {
                let _ = kill.send(());
            }
            Ok(String::new())
        }
        Op::Datagram { to, payload } => {
            let socket = UdpSocket::bind("0.0.0.0:0").await.context("failed to open a datagram socket")?;
            socket.set_broadcast(true).context("failed to allow broadcasts")?;
            socket.send_to(&payload, to).await.with_context(|| format!("failed to send to {to}"))?;
            Ok(String::new())
        }
    }
}

/// Runs a command to its end and gives its standard output.
async fn run_to_end(argv: &[String], stdin: &str, limit: Duration) -> Result<String> {
    let shown = argv.join(" ");
    let [program, arguments @ ..] = argv else { bail!("failed to run an empty command") };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {shown}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin.as_bytes()).await.with_context(|| format!("failed to feed {shown}"))?;
    }
    let output = tokio::time::timeout(limit, child.wait_with_output())
        .await
        .with_context(|| format!("failed to run {shown}: no end after {} s", limit.as_secs()))?
        .with_context(|| format!("failed to run {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("failed to run {shown}: {} ({})", said.trim(), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts a long-running child; its end is reported with [`Message::Exited`].
fn spawn(
    name: &str,
    argv: &[String],
    log: &str,
    children: &mut Children,
    messages: &UnboundedSender<Message>,
) -> Result<()> {
    if children.get(name).is_some_and(|kill| !kill.is_closed()) {
        bail!("failed to start {name}: it already runs");
    }
    let [program, arguments @ ..] = argv else { bail!("failed to start {name}: empty command") };
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("failed to open the log {log}"))?;
    let errors = log.try_clone().context("failed to share the log")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("failed to start {program}"))?;
    let (kill, mut killed) = unbounded_channel();
    children.insert(name.to_owned(), kill);
    let (name, messages) = (name.to_owned(), messages.clone());
    tokio::spawn(async move {
        let status = tokio::select! {
            status = child.wait() => status,
            Some(()) = killed.recv() => {
                let _ = child.start_kill();
                child.wait().await
            }
        };
        // Closed first: whoever hears of the end may start the name again at once.
        drop(killed);
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let _ = messages.send(Message::Exited { name, status });
    });
    Ok(())
}

async fn serve_forwards(listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(async move {
                if let Err(error) = forward(stream).await {
                    eprintln!("forward: {error:#}");
                }
            })),
            Err(error) => {
                eprintln!("failed to accept a forward: {error}");
                tokio::time::sleep(crate::patience::POLL).await;
            }
        }
    }
}

/// Joins one connection from the host with one to a machine; the first line names the machine's address.
async fn forward(mut outer: UnixStream) -> Result<()> {
    let mut target = Vec::new();
    loop {
        let byte = outer.read_u8().await.context("failed to read the target")?;
        if byte == b'\n' {
            break;
        }
        target.push(byte);
        if target.len() > TARGET_LIMIT {
            bail!("failed to read the target: line too long");
        }
    }
    let target: SocketAddr = std::str::from_utf8(&target)
        .context("failed to read the target")?
        .parse()
        .context("failed to parse the target")?;
    // A machine that does not answer (yet) is for the client to notice: its connection ends.
    let Ok(Ok(mut inner)) = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await else {
        return Ok(());
    };
    // A reset by either side is the end of the connection, not a fault of the lab.
    let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
    Ok(())
}
