//! The lab's power socket: other processes of the lab ask for a machine's power there, one question per connection.
//!
//! It decides nothing; a machine's switch does.

use crate::{
    bmc::Contact,
    machine::switch::{Command, Switch},
    patience::POLL,
};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
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
struct Question {
    machine: String,
    request: Request,
}

/// A machine that can be asked for.
#[derive(Debug, Clone)]
struct Entry {
    switch: Arc<Switch>,
    /// None until it has started.
    bmc: Option<Contact>,
}

/// The machines that can be asked for.
#[derive(Debug, Clone, Default)]
pub struct Switchboard(Arc<Mutex<HashMap<String, Entry>>>);

impl Switchboard {
    /// Adds a machine, whose BMC asks here too and may start after it.
    pub fn add(&self, switch: Arc<Switch>) {
        self.machines().insert(switch.spec.name.clone(), Entry { switch, bmc: None });
    }

    /// Notes a machine's BMC.
    pub(crate) fn add_bmc(&self, machine: &str, contact: Contact) {
        if let Some(entry) = self.machines().get_mut(machine) {
            entry.bmc = Some(contact);
        }
    }

    fn machines(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Entry> {
        let machines = self.machines();
        machines.get(name).cloned().with_context(|| {
            let mut known: Vec<&str> = machines.keys().map(String::as_str).collect();
            known.sort_unstable();
            format!("failed to find machine {name:?}; this lab has {}", known.join(", "))
        })
    }

    /// Answers at `socket` as long as the lab lives.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve(&self, socket: &Path) -> Result<()> {
        let listener = UnixListener::bind(socket).context("failed to make the power socket")?;
        let board = self.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(board.clone().answer(stream))),
                    // Out of file descriptors, most likely: others will end.
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            }
        });
        Ok(())
    }

    async fn answer(self, stream: UnixStream) {
        let (read, mut write) = stream.into_split();
        let Ok(Some(line)) = BufReader::new(read).lines().next_line().await else { return };
        let answer: Result<String, String> = match serde_json::from_str(&line) {
            Ok(question) => self.decide(question).await.map_err(|error| format!("{error:#}")),
            Err(error) => Err(format!("failed to parse the question: {error}")),
        };
        if let Ok(mut line) = serde_json::to_vec(&answer) {
            line.push(b'\n');
            // Whoever asked may have gone.
            let _ = write.write_all(&line).await;
        }
    }

    async fn decide(&self, question: Question) -> Result<String> {
        let Entry { switch, bmc } = self.find(&question.machine)?;
        let done = |()| String::new();
        match question.request {
            Request::Power => Ok(if switch.is_on().await { "1" } else { "0" }.to_owned()),
            Request::Boot => Ok(if switch.netboots_next().await { "pxe" } else { "none" }.to_owned()),
            Request::On => switch.command(Command::On).await.map(done),
            Request::Off => switch.command(Command::Off).await.map(done),
            Request::SoftOff => switch.command(Command::SoftOff).await.map(done),
            Request::Reset => switch.command(Command::Reset).await.map(done),
            Request::BootNetwork => switch.command(Command::BootNetwork).await.map(done),
            Request::BootDisk => switch.command(Command::BootDisk).await.map(done),
            Request::HandOn => switch.obey(Command::On).await.map(done),
            Request::HandOff => switch.obey(Command::Off).await.map(done),
            Request::HandCycle => switch.obey(Command::Cycle).await.map(done),
            Request::Describe => {
                let bmc = bmc.context("failed to describe the machine: its BMC is being started")?.state();
                let (on, network_next) = (switch.is_on().await, switch.netboots_next().await);
                serde_json::to_string(&Machine { on, network_next, bmc })
                    .context("failed to write the description")
            }
        }
    }
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
