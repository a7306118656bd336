//! A small client of QEMU's monitor, QMP: one command per connection, and a connection for events.
//!
//! Five commands without results do not justify the generated bindings of the whole protocol.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// QEMU answers within milliseconds, under load within a second.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What the lab asks of a machine's monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QmpCommand {
    /// Press the ACPI power button.
    PowerDown,
    /// Press the reset button.
    Reset,
    /// Freeze the machine.
    Stop,
    /// Let it run on.
    Continue,
}

impl QmpCommand {
    fn name(self) -> &'static str {
        match self {
            Self::PowerDown => "system_powerdown",
            Self::Reset => "system_reset",
            Self::Stop => "stop",
            Self::Continue => "cont",
        }
    }
}

/// Gives `command` to the monitor at `socket` and waits for its acknowledgement.
///
/// # Errors
/// No monitor is there, or it refuses the command.
pub async fn execute(socket: &Path, command: QmpCommand) -> Result<()> {
    talk(socket, command.name(), json!({ "execute": command.name() })).await
}

/// Sets the number `property` of the object at `path`.
///
/// # Errors
/// No monitor is there, or there is no such property.
pub async fn set_property(socket: &Path, path: &str, property: &str, value: usize) -> Result<()> {
    let arguments = json!({ "path": path, "property": property, "value": value });
    talk(socket, "qom-set", json!({ "execute": "qom-set", "arguments": arguments })).await
}

async fn talk(socket: &Path, name: &str, request: Value) -> Result<()> {
    let talk = async {
        let mut session = Session::open(socket).await?;
        session.call(name, request).await
    };
    tokio::time::timeout(ANSWER_LIMIT, talk).await.context("failed to get the monitor's answer in time")?
}

/// One connection, ready for commands.
#[derive(Debug)]
struct Session {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: OwnedWriteHalf,
}

impl Session {
    async fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await.context("failed to reach the machine's monitor")?;
        let (read, write) = stream.into_split();
        let mut session = Self { lines: BufReader::new(read).lines(), write };
        let greeting = session.lines.next_line().await.context("failed to read the monitor's greeting")?;
        if !greeting.is_some_and(|line| line.contains("QMP")) {
            bail!("failed to recognise the machine's monitor");
        }
        // The protocol demands this before any other command.
        session.call("qmp_capabilities", json!({ "execute": "qmp_capabilities" })).await?;
        Ok(session)
    }

    async fn call(&mut self, name: &str, request: Value) -> Result<()> {
        let line = format!("{request}\n");
        self.write.write_all(line.as_bytes()).await.context("failed to write to the monitor")?;
        while let Some(answer) = self.next().await? {
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                bail!("failed to execute {name}: {}", error["desc"].as_str().unwrap_or("no reason given"));
            }
            // Anything else is an event.
        }
        bail!("failed to execute {name}: the monitor hung up")
    }

    async fn next(&mut self) -> Result<Option<Value>> {
        let line = self.lines.next_line().await.context("failed to read from the monitor")?;
        line.map(|line| serde_json::from_str(&line).context("failed to parse the monitor's answer"))
            .transpose()
    }
}

/// Events of a machine, on a connection that stays open.
#[derive(Debug)]
pub struct Events(Session);

impl Events {
    /// Listens at the monitor at `socket`.
    ///
    /// # Errors
    /// No monitor is there.
    pub async fn open(socket: &Path) -> Result<Self> {
        let open = tokio::time::timeout(ANSWER_LIMIT, Session::open(socket));
        open.await.context("failed to get the monitor's answer in time")?.map(Self)
    }

    /// Waits for the machine's next reset; `false` once there will be none, because it is off.
    pub async fn reset(&mut self) -> bool {
        while let Ok(Some(event)) = self.0.next().await {
            if event["event"] == "RESET" {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A monitor that sends an event before each answer and refuses `stop`.
    async fn monitor(listener: UnixListener) {
        let (stream, _) = listener.accept().await.expect("a client");
        let (read, mut write) = stream.into_split();
        write.write_all(b"{\"QMP\": {\"version\": {}}}\n").await.expect("a write");
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer: &[u8] = if line.contains("stop") {
                b"{\"event\": \"X\"}\n{\"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\n"
            } else {
                b"{\"event\": \"X\"}\n{\"return\": {}}\n"
            };
            write.write_all(answer).await.expect("a write");
        }
    }

    #[tokio::test]
    async fn events_are_skipped_and_refusals_reported() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("qmp");
        for (command, want) in
            [(QmpCommand::Reset, None), (QmpCommand::Stop, Some("failed to execute stop: not now"))]
        {
            let _ = std::fs::remove_file(&path);
            tokio::spawn(monitor(UnixListener::bind(&path).expect("a socket")));
            let got = execute(&path, command).await.err().map(|error| error.to_string());
            assert_eq!(got.as_deref(), want);
        }
    }
}
