//! A simulation as a process of its own inside a lab's network, told what to do over its standard input.
//!
//! The first line is the configuration (it may hold an administrator's key, so it is no argument); the end of the input
//! is the end of the simulation, so that none outlives who asked for it.

use super::join::Running;
use crate::net::Helper;
use anyhow::{Context, Result};
use std::{os::fd::AsFd as _, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    process::{Child, ChildStdin, Command},
};

/// A started simulation; it ends when this is dropped.
#[derive(Debug)]
pub struct Inside {
    /// The process.
    pub child: Child,
    /// Open as long as it shall run.
    pub input: ChildStdin,
}

impl Running {
    /// Starts `helper` in the lab's network and gives it one line to read: `order` as JSON.
    ///
    /// # Errors
    /// nsenter is missing, or the namespaces may not be entered.
    pub async fn start(
        &self,
        helper: &Helper,
        order: &impl serde::Serialize,
        stdout: Stdio,
    ) -> Result<Inside> {
        let enter = self.enter();
        let (program, arguments) = enter.split_first().context("failed to make a command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(&helper.program)
            .args(&helper.arguments)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start nsenter (Debian package util-linux)")?;
        let mut input = child.stdin.take().context("failed to open the simulation's input")?;
        let mut line = serde_json::to_vec(order).context("failed to write the order")?;
        line.push(b'\n');
        input.write_all(&line).await.context("failed to tell the simulation what to do")?;
        Ok(Inside { child, input })
    }
}

/// What the parent asked for, on the other side of [`Running::start`].
///
/// # Errors
/// The input is none.
pub async fn order<T: serde::de::DeserializeOwned>() -> Result<(T, Parent)> {
    // Not tokio's own standard input: its read is a thread that would hold up our end.
    let input = std::io::stdin().as_fd().try_clone_to_owned().context("failed to open the standard input")?;
    let input =
        pipe::Receiver::from_owned_fd(input).context("failed to use the standard input: it is no pipe")?;
    let mut input = BufReader::new(input);
    let mut line = String::new();
    input.read_line(&mut line).await.context("failed to read what to do")?;
    let order =
        serde_json::from_str(&line).context("failed to parse what to do: this is a part of the lab")?;
    Ok((order, Parent(input)))
}

/// Who asked.
#[derive(Debug)]
pub struct Parent(BufReader<pipe::Receiver>);

impl Parent {
    /// Waits until the parent is gone.
    pub async fn gone(mut self) {
        let mut rest = [0; 64];
        while matches!(self.0.read(&mut rest).await, Ok(len) if len > 0) {}
    }
}
