//! Answers at the lab's power socket.
//!
//! It decides nothing; a machine's switch does.

use crate::{
    bmc::Contact,
    control::{Machine, Question, Request},
    patience::POLL,
    switch::{Command, Switch},
};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::{collections::HashMap, path::Path, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

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
        self.0.lock().insert(switch.spec.name.clone(), Entry { switch, bmc: None });
    }

    /// Notes a machine's BMC.
    pub(crate) fn add_bmc(&self, machine: &str, contact: Contact) {
        if let Some(entry) = self.0.lock().get_mut(machine) {
            entry.bmc = Some(contact);
        }
    }

    fn find(&self, name: &str) -> Result<Entry> {
        let machines = self.0.lock();
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
