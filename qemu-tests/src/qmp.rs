//! A small client of QEMU's monitor, QMP: one command per connection.
//!
//! Four commands without results do not justify the generated bindings of the whole protocol.

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
    let talk = async {
        let stream = UnixStream::connect(socket).await.context("failed to reach the machine's monitor")?;
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let greeting = lines.next_line().await.context("failed to read the monitor's greeting")?;
        if !greeting.is_some_and(|line| line.contains("QMP")) {
            bail!("failed to recognise the machine's monitor");
        }
        // The protocol demands this before any other command.
        call(&mut lines, &mut write, "qmp_capabilities").await?;
        call(&mut lines, &mut write, command.name()).await
    };
    tokio::time::timeout(ANSWER_LIMIT, talk).await.context("failed to get the monitor's answer in time")?
}

async fn call(
    lines: &mut Lines<BufReader<OwnedReadHalf>>,
    write: &mut OwnedWriteHalf,
    name: &str,
) -> Result<()> {
    let line = format!("{}\n", json!({ "execute": name }));
    write.write_all(line.as_bytes()).await.context("failed to write to the monitor")?;
    while let Some(line) = lines.next_line().await.context("failed to read from the monitor")? {
        let answer: Value = serde_json::from_str(&line).context("failed to parse the monitor's answer")?;
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
