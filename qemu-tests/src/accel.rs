//! Whether KVM really runs guests here, found out by trying.
//!
//! `/dev/kvm` alone proves little: nested and emulated hosts have one that hangs or dies in long mode.

use crate::{patience::scaled, tool::OVMF_CODE};
use anyhow::{Context, Result};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{io::AsyncReadExt, process::Command};

/// OVMF's first boot manager line comes after 1-2 s under working KVM.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);
/// What OVMF prints when its boot manager runs: paging, long mode and timers work.
const TRIAL_LINE: &str = "BdsDxe";

/// How guest code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the host's processor.
    Kvm,
    /// By QEMU's translator, ten times slower or so.
    Tcg,
}

/// The processor of an emulated machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Emulated {
    /// All that QEMU can emulate.
    #[default]
    Max,
    /// The least that current programs are built for (x86-64-v2). Go's own code for newer ones (AVX2), which real
    /// machines run faster, takes an emulator twice the time; so does what it keeps at each change of contexts.
    /// It has RDRAND beside: without it a kernel waits half a minute for its first random octets.
    Plain,
}

impl Accel {
    /// KVM when it proves to work within some seconds, else TCG.
    pub async fn detect() -> Self {
        if !Path::new("/dev/kvm").exists() {
            return Self::Tcg;
        }
        match tokio::time::timeout(scaled(TRIAL_LIMIT), trial()).await {
            Ok(Ok(true)) => Self::Kvm,
            Ok(Ok(false) | Err(_)) | Err(_) => Self::Tcg,
        }
    }

    /// QEMU's arguments for it.
    pub fn arguments(self, emulated: Emulated) -> [&'static str; 4] {
        match (self, emulated) {
            (Self::Kvm, _) => ["-accel", "kvm", "-cpu", "host"],
            (Self::Tcg, Emulated::Max) => ["-accel", "tcg,thread=multi", "-cpu", "max"],
            (Self::Tcg, Emulated::Plain) => ["-accel", "tcg,thread=multi", "-cpu", "Nehalem,+rdrand"],
        }
    }
}

impl std::fmt::Display for Accel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG (emulation)",
        })
    }
}

/// Boots OVMF under KVM with the same processor model as the lab's machines; true once its boot manager speaks.
async fn trial() -> Result<bool> {
    let mut child = Command::new("qemu-system-x86_64")
        .args(Accel::Kvm.arguments(Emulated::Max))
        .args(["-M", "q35", "-m", "128", "-nographic", "-nodefaults", "-serial", "stdio"])
        .arg("-drive")
        .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("failed to start QEMU")?;
    let mut stdout = child.stdout.take().context("failed to open QEMU's output")?;
    let mut said = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let length = stdout.read(&mut chunk).await.context("failed to read QEMU's output")?;
        if length == 0 {
            return Ok(false);
        }
        said.extend_from_slice(&chunk[..length]);
        if said.windows(TRIAL_LINE.len()).any(|window| window == TRIAL_LINE.as_bytes()) {
            return Ok(true);
        }
    }
}
