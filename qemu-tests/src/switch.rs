//! A machine's power switch: what its BMC, the lab's user and tests turn.
//!
//! On starts QEMU, off ends it; disks stay. What the machine boots from next is told once and then forgotten, as
//! with real firmware.

pub mod faults;

use crate::{
    accel::Accel,
    console::Console,
    net::{Net, Process},
    qmp::{Events, QmpCommand},
    state::LabDir,
    vm::{
        Vm, int3,
        spec::{BootOrder, VmSpec},
    },
};
use anyhow::{Context, Result, bail};
use faults::{Fault, Faults};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex as AsyncMutex;

/// A boot has begun when no reset followed the last one for so long.
const SETTLED: Duration = Duration::from_secs(3);

/// What a switch can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// On; nothing happens to a machine that is on.
    On,
    /// Off, at once; nothing happens to a machine that is off.
    Off,
    /// The power button, which the running system may obey or not.
    SoftOff,
    /// Off and on.
    Cycle,
    /// The reset button; nothing happens to a machine that is off.
    Reset,
    /// At its next start, boot from the network.
    BootNetwork,
    /// At its next start, boot as always.
    BootDisk,
}

#[derive(Debug, Default)]
struct State {
    vm: Option<Vm>,
    /// What the firmware is to try first once, if not as always.
    once: Option<BootOrder>,
    /// What it tried first at each power-on, and at each reset for which it was told.
    starts: Vec<BootOrder>,
}

impl State {
    fn running(&mut self) -> Option<&mut Vm> {
        self.vm.as_mut().filter(|vm| vm.exit().is_none())
    }
}

/// The switch of one machine.
#[derive(Debug)]
pub struct Switch {
    /// What is switched.
    pub spec: VmSpec,
    dir: Arc<LabDir>,
    net: Arc<Net>,
    accel: Accel,
    state: AsyncMutex<State>,
    faults: Mutex<Faults>,
}

impl Switch {
    /// The switch of a machine whose disks and tap device exist. It is off.
    pub fn new(spec: VmSpec, dir: Arc<LabDir>, net: Arc<Net>, accel: Accel, faults: Faults) -> Self {
        Self { spec, dir, net, accel, state: AsyncMutex::default(), faults: Mutex::new(faults) }
    }

    /// Changes what goes wrong from now on.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock());
    }

    /// What goes wrong with the command that has just come.
    pub fn draw(&self) -> Option<Fault> {
        self.faults.lock().draw()
    }

    /// Whether QEMU runs.
    pub async fn is_on(&self) -> bool {
        self.state.lock().await.running().is_some()
    }

    /// Whether its next start boots from the network because it was told so.
    pub async fn netboots_next(&self) -> bool {
        self.state.lock().await.once == Some(BootOrder::NetworkFirst)
    }

    /// What the firmware tried first at each power-on, and at each reset for which it was told; the oldest first.
    pub async fn starts(&self) -> Vec<BootOrder> {
        self.state.lock().await.starts.clone()
    }

    /// The console since the last power-on.
    pub async fn console(&self) -> Console {
        let state = self.state.lock().await;
        state.vm.as_ref().map_or_else(|| Console::whole(&self.path()), |vm| vm.console.clone())
    }

    /// The console of all power-ons.
    pub fn whole_console(&self) -> Console {
        Console::whole(&self.path())
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.console(&self.spec.name)
    }

    /// A command that came through the BMC: what is wrong with that applies.
    ///
    /// # Errors
    /// It was refused, or failed.
    pub async fn command(self: &Arc<Self>, command: Command) -> Result<()> {
        match self.draw() {
            Some(Fault::Refuse) => bail!("{} refuses {command:?}, as it was told to", self.spec.name),
            Some(Fault::Ignore) => Ok(()),
            Some(Fault::Late(delay)) => {
                let switch = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    // It was acknowledged: nobody can be told any more.
                    let _ = switch.obey(command).await;
                });
                Ok(())
            }
            None => self.obey(command).await,
        }
    }

    /// A command by hand: it is done.
    ///
    /// # Errors
    /// QEMU does not start or obey.
    pub async fn obey(self: &Arc<Self>, command: Command) -> Result<()> {
        let mut state = self.state.lock().await;
        match command {
            Command::On => self.on(&mut state).await,
            Command::Off => off(&mut state).await,
            Command::Cycle => {
                off(&mut state).await?;
                self.on(&mut state).await
            }
            Command::SoftOff => press(&mut state, QmpCommand::PowerDown).await,
            Command::Reset => press(&mut state, QmpCommand::Reset).await,
            Command::BootNetwork => self.boot_once(&mut state, Some(BootOrder::NetworkFirst)).await,
            Command::BootDisk => self.boot_once(&mut state, None).await,
        }
    }

    async fn on(self: &Arc<Self>, state: &mut State) -> Result<()> {
        if state.running().is_some() {
            return Ok(());
        }
        let order = state.once.take().unwrap_or(self.spec.order);
        let spec = VmSpec { order, ..self.spec.clone() };
        let vm = Vm::power_on(&self.dir, &self.net, &spec, self.accel).await?;
        let events = vm.events().await.context("failed to watch the machine")?;
        if self.accel == Accel::Tcg {
            let watch = int3::Watch::new(&self.spec.name, &vm.console);
            tokio::spawn(Arc::clone(self).repeat_faulty_boots(watch, vm.process()));
        }
        state.vm = Some(vm);
        state.starts.push(order);
        tokio::spawn(Arc::clone(self).watch(events));
        Ok(())
    }

    /// Resets the machine when QEMU's emulation has made its kernel panic: the same start once more.
    async fn repeat_faulty_boots(self: Arc<Self>, mut watch: int3::Watch, mut process: Process) {
        loop {
            tokio::select! {
                () = watch.repeat() => {}
                _ = process.ended() => return,
            }
            let mut state = self.state.lock().await;
            let order = state.once.or(state.starts.last().copied()).unwrap_or(self.spec.order);
            if let Some(vm) = state.running() {
                // Both fail only when the machine has ended, and then they are not needed.
                let _ = vm.set_order(order).await;
                let _ = vm.monitor(QmpCommand::Reset).await;
            }
        }
    }

    async fn boot_once(&self, state: &mut State, once: Option<BootOrder>) -> Result<()> {
        state.once = once;
        match state.running() {
            Some(vm) => vm.set_order(once.unwrap_or(self.spec.order)).await,
            None => Ok(()),
        }
    }

    /// After power-on and after each reset, boot as always again: the order is read at a reset, so that this counts
    /// from the next one on.
    async fn watch(self: Arc<Self>, mut events: Events) {
        loop {
            // SeaBIOS answers a reset with another one of its own, which belongs to the same boot.
            while let Ok(reset) = tokio::time::timeout(SETTLED, events.reset()).await {
                if !reset {
                    return;
                }
            }
            let mut state = self.state.lock().await;
            let order = state.once.unwrap_or(self.spec.order);
            if let Some(vm) = state.running() {
                // It fails only when the machine has ended, and then it is not needed.
                let _ = vm.set_order(order).await;
            }
            drop(state);
            if !events.reset().await {
                return;
            }
            let mut state = self.state.lock().await;
            let told = state.once.take();
            state.starts.extend(told);
        }
    }
}

async fn off(state: &mut State) -> Result<()> {
    match state.running() {
        Some(vm) => vm.pull_plug().await,
        None => Ok(()),
    }
}

async fn press(state: &mut State, button: QmpCommand) -> Result<()> {
    match state.running() {
        Some(vm) => vm.monitor(button).await,
        None => Ok(()),
    }
}
