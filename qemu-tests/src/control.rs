//! The questions at the lab's power socket, one per connection: other processes of the lab ask for a machine's power.
//!
//! `switchboard.rs` answers.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{path::Path, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

/// The socket in the lab's folder.
pub const SOCKET: &str = "run/power.sock";
/// A machine starts or is killed within a second or two, on a busy computer.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Is it on? Answered with 1 or 0.
    Power,
    /// What does it boot from next? Answered with pxe or none.
    Boot,
    /// Through its BMC: switch it on.
    On,
    /// Through its BMC: switch it off.
    Off,
    /// Through its BMC: press the power button.
    SoftOff,
    /// Through its BMC: press the reset button.
    Reset,
    /// Through its BMC: boot from the network once.
    BootNetwork,
    /// Through its BMC: boot as always.
    BootDisk,
    /// By hand, as all that follow: switch it on.
    HandOn,
    /// Pull its plug.
    HandOff,
    /// Off and on again.
    HandCycle,
    /// How is it? Answered with a [`Machine`] in JSON.
    Describe,
}

/// How a machine and its BMC are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its power.
    pub on: bool,
    /// It boots from the network at its next start, because its BMC was told so.
    pub network_next: bool,
    /// What controls its power.
    pub bmc: BmcState,
}

/// How a BMC is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BmcState {
    /// What it is, as users write it.
    pub kind: String,
    /// Where it answers; empty without a BMC.
    pub endpoint: String,
    /// How it ended; `None` while it answers.
    pub ended: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) machine: String,
    pub(crate) request: Request,
}

/// Asks the lab behind `socket` how a machine is.
///
/// # Errors
/// No lab answers, or it has no such machine.
pub async fn describe(socket: &Path, machine: &str) -> Result<Machine> {
    let answer = ask(socket, machine, Request::Describe).await?;
    serde_json::from_str(&answer).context("failed to parse the description")
}

/// Asks the lab behind `socket`.
///
/// # Errors
/// No lab answers, it has no such machine, or the machine did not obey.
pub async fn ask(socket: &Path, machine: &str, request: Request) -> Result<String> {
    let talk = async {
        let stream = UnixStream::connect(socket).await.context("failed to reach the lab")?;
        let (read, mut write) = stream.into_split();
        let question = Question { machine: machine.to_owned(), request };
        let mut line = serde_json::to_vec(&question).context("failed to write the question")?;
        line.push(b'\n');
        write.write_all(&line).await.context("failed to ask the lab")?;
        let answer = BufReader::new(read).lines().next_line().await.context("failed to read the answer")?;
        let answer = answer.context("failed to read the answer: the lab hung up")?;
        serde_json::from_str::<Result<String, String>>(&answer).context("failed to parse the answer")
    };
    match tokio::time::timeout(ANSWER_LIMIT, talk)
        .await
        .context("failed to get the lab's answer in time")??
    {
        Ok(answer) => Ok(answer),
        Err(reason) => bail!(reason),
    }
}
