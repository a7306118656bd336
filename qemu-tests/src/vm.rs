//! One virtual machine: power, console, monitor.
//!
//! A machine knows nothing of what boots on it.

mod boot;
mod command;
pub mod firmware;
pub mod int3;
mod loader;
pub mod spec;

use crate::{
    accel::Accel,
    console::Console,
    net::{Net, Process},
    patience::{Impatient, POLL, scaled},
    qmp::{self, Events, QmpCommand},
    state::LabDir,
};
use anyhow::{Context, Result};
use spec::{BootOrder, VmSpec};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A console line did not come.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Not in time.
    #[error("{0}")]
    Late(Impatient),
    /// The machine stopped first.
    #[error("{machine} stopped ({status}) before {wanted} came; {log} ends with:{tail}")]
    Stopped {
        /// Name of the machine.
        machine: String,
        /// How QEMU ended.
        status: String,
        /// What was waited for.
        wanted: String,
        /// The console log.
        log: String,
        /// Its last lines, each on a line of its own.
        tail: String,
    },
}

/// A machine that has been powered on. Its end of life is that of the network, or [`Vm::pull_plug`].
#[derive(Debug)]
pub struct Vm {
    /// What it is made of.
    pub spec: VmSpec,
    /// Its console since this power-on.
    pub console: Console,
    process: Process,
    net: Arc<Net>,
    monitor: PathBuf,
    events: PathBuf,
}

impl Vm {
    /// Powers on a machine whose disk exists and whose tap device is plugged in.
    ///
    /// # Errors
    /// QEMU or the firmware is missing.
    pub async fn power_on(dir: &LabDir, net: &Arc<Net>, spec: &VmSpec, accel: Accel) -> Result<Self> {
        firmware::prepare(dir, spec).await?;
        let console = Console::from_now(&dir.console(&spec.name));
        let log = format!("{}.qemu.log", spec.name);
        let process = net
            .spawn(&spec.name, command::arguments(spec, accel), &log)
            .await
            .with_context(|| format!("failed to power on {}", spec.name))?;
        let monitor = dir.socket(&command::monitor(&spec.name));
        let events = dir.socket(&command::events(&spec.name));
        Ok(Self { spec: spec.clone(), console, process, net: Arc::clone(net), monitor, events })
    }

    /// Its child process, to wait for its end.
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// What happens to it from now on, once its monitor is there.
    ///
    /// # Errors
    /// It ends before.
    pub async fn events(&self) -> Result<Events, WaitError> {
        self.while_running("its monitor", async {
            loop {
                if let Ok(events) = Events::open(&self.events).await {
                    return events;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await
    }

    /// Changes what its firmware tries first, from its next reset on.
    ///
    /// # Errors
    /// The machine is off.
    pub async fn set_order(&mut self, order: BootOrder) -> Result<()> {
        // QEMU takes a place that is set again for one that is taken.
        if self.spec.order == order {
            return Ok(());
        }
        let spec = VmSpec { order, ..self.spec.clone() };
        let (device, property, index) = boot::property(&spec);
        qmp::set_property(&self.monitor, &device, property, index)
            .await
            .with_context(|| format!("failed to change the boot order of {}", spec.name))?;
        self.spec = spec;
        Ok(())
    }

    /// Resets the machine when QEMU's emulation has made its kernel panic, see [`int3`].
    pub fn repeat_faulty_boots(&self) {
        let mut watch = int3::Watch::new(&self.spec.name, &self.console);
        let (mut process, monitor) = (self.process.clone(), self.monitor.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = watch.repeat() => {
                        // It fails only when the machine has ended, and then it is not needed.
                        let _ = qmp::execute(&monitor, QmpCommand::Reset).await;
                    }
                    _ = process.ended() => return,
                }
            }
        });
    }

    /// How QEMU ended; `None` while the machine runs.
    pub fn exit(&self) -> Option<String> {
        self.process.exit()
    }

    /// Waits for a console line that contains `wanted`, at most `limit` scaled by `PATIENCE`.
    ///
    /// # Errors
    /// [`WaitError`]: too late, or the machine stopped.
    pub async fn wait_for(&self, wanted: &str, limit: Duration) -> Result<String, WaitError> {
        match self
            .while_running(&format!("console line {wanted:?}"), self.console.wait_for(wanted, limit))
            .await
        {
            // What was written just before the end counts.
            Err(stopped) => self.console.find(wanted).ok_or(stopped),
            Ok(line) => line.map_err(WaitError::Late),
        }
    }

    /// Waits for `event`, which nobody needs to wait for any longer once the machine has stopped.
    ///
    /// # Errors
    /// [`WaitError::Stopped`] when the machine stops first.
    pub async fn while_running<T>(&self, what: &str, event: impl Future<Output = T>) -> Result<T, WaitError> {
        let mut process = self.process.clone();
        tokio::select! {
            value = event => Ok(value),
            status = process.ended() => Err(self.stopped(status, what)),
        }
    }

    /// Waits until the machine stops by itself and says how.
    pub async fn ended(&self) -> WaitError {
        let status = self.process.clone().ended().await;
        self.stopped(status, "the end of the lab")
    }

    fn stopped(&self, status: String, wanted: &str) -> WaitError {
        WaitError::Stopped {
            machine: self.spec.name.clone(),
            status,
            wanted: wanted.to_owned(),
            log: self.console.path().display().to_string(),
            tail: self.console.tail().iter().flat_map(|line| ["\n  | ", line.as_str()]).collect(),
        }
    }

    /// Gives a command to the machine's monitor.
    ///
    /// # Errors
    /// The machine is off, or its monitor refuses.
    pub async fn monitor(&self, command: QmpCommand) -> Result<()> {
        qmp::execute(&self.monitor, command)
            .await
            .with_context(|| format!("failed to control {}", self.spec.name))
    }

    /// Presses the power button and waits until the machine is off; true when it did so within `limit` (scaled by
    /// `PATIENCE`) by itself.
    ///
    /// # Errors
    /// The monitor does not answer though the machine runs.
    pub async fn power_button(&mut self, limit: Duration) -> Result<bool> {
        if let Err(error) = self.monitor(QmpCommand::PowerDown).await {
            return if self.exit().is_some() { Ok(true) } else { Err(error) };
        }
        Ok(tokio::time::timeout(scaled(limit), self.process.ended()).await.is_ok())
    }

    /// Ends the machine like a power cut: nothing is flushed in the guest.
    ///
    /// # Errors
    /// The lab's supervisor is gone.
    pub async fn pull_plug(&mut self) -> Result<()> {
        self.net.kill(&mut self.process).await
    }
}
