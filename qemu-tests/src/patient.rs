//! A machine that is followed from power-on to clean, its disks watched from outside.
//!
//! For tests: each step prints a line with the time.

use crate::{
    contract, journey,
    known_data::{self, Known},
    machine::{Machine, MachineSpec},
    native::Native,
    switch::Command,
    vm::spec::BootOrder,
};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Known data of the first disk, the second one, and so on.
const KNOWN: [Known; 3] = [Known::Partitioned, Known::MdMember, Known::LvmVolume];
/// Small: wiping is the agent's business, and its speed is measured elsewhere.
pub const DISK: u64 = 256 << 20;
/// From a Server to the answer that its agent shows; most of it is the agent's turn at a busy plane.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// A machine with known data on its disks, and the time since its test began.
#[derive(Debug)]
pub struct Patient {
    /// The machine.
    pub machine: Machine,
    began: Instant,
}

impl Patient {
    /// Builds the machine and writes to its disks.
    ///
    /// # Errors
    /// A part of it cannot be made.
    pub async fn build(plane: &Native, spec: MachineSpec) -> Result<Self> {
        let machine = plane.site.build(spec).await?;
        for (disk, known) in machine.disks.iter().zip(KNOWN) {
            known_data::write(disk, known)?;
        }
        Ok(Self { machine, began: Instant::now() })
    }

    /// Says what happened.
    pub fn step(&self, text: &str) {
        println!("{:>7.1} s  {}: {text}", self.began.elapsed().as_secs_f64(), self.machine.name());
    }

    /// From power-on to its Server.
    ///
    /// # Errors
    /// It does not register in time, is accepted by nobody, or its disks were written to.
    pub async fn registers(&self, plane: &Native) -> Result<()> {
        // As whoever imports a used machine has to: a BIOS would start what it takes for a boot sector, and hang.
        self.machine.switch.obey(Command::BootNetwork).await?;
        self.machine.switch.obey(Command::On).await?;
        let server = journey::registered(&plane.client, &self.machine).await?;
        // Its answer too: accepted before that, it would be wiped in this very boot and never be told to boot again.
        self.machine.switch.whole_console().wait_for(contract::AGENT_REGISTERED, ANSWER_LIMIT).await?;
        self.step("registered");
        ensure!(server.spec["accepted"] != true, "it was accepted by nobody");
        self.is_untouched()
    }

    /// From acceptance to clean, off and available.
    ///
    /// # Errors
    /// It does not happen within `limit`, or its disks hold data.
    pub async fn becomes_clean(&self, plane: &Native, limit: Duration) -> Result<()> {
        journey::accept(&plane.client, &self.machine, true).await?;
        journey::clean(&plane.client, &self.machine, limit, |stage| self.step(stage)).await?;
        for disk in &self.machine.disks {
            let ends = known_data::ends(disk)?;
            ensure!(ends.are_zero(), "{} was not wiped: {ends:?}", disk.display());
        }
        self.step("its disks read as zeros at both ends");
        Ok(())
    }

    /// Nothing has written to its disks.
    ///
    /// # Errors
    /// One end of a disk reads as zeros.
    pub fn is_untouched(&self) -> Result<()> {
        for disk in &self.machine.disks {
            let ends = known_data::ends(disk)?;
            ensure!(
                ends.first.is_some() && ends.last.is_some(),
                "{} was written to before it was accepted: {ends:?}",
                disk.display()
            );
        }
        Ok(())
    }

    /// The plane told it to boot from the network, though its disk comes first.
    ///
    /// # Errors
    /// It did not.
    pub async fn was_netbooted_by_the_plane(&self) -> Result<()> {
        let starts = self.machine.switch.starts().await;
        starts
            .iter()
            // The first one was ours.
            .skip(1)
            .any(|order| *order == BootOrder::NetworkFirst)
            .then_some(())
            .with_context(|| format!("{} was started as {starts:?}", self.machine.name()))
    }
}
