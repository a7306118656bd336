//! What the lab's helper program can be: the supervisor, or one of the small programs that it runs beside machines.
//!
//! They run inside the lab's network and reach the lab itself only through sockets in its folder.

pub mod chassis;
pub mod join;
pub mod relay;

use anyhow::{Result, bail};

/// Asks the lab for a machine's power, as `ipmi_sim` wants to be answered.
pub const CHASSIS: &str = "chassis";
/// Joins TCP ports of the lab's network with sockets of the lab's folder.
pub const JOIN: &str = "join";
/// Passes datagrams on, some of them late or never.
pub const RELAY: &str = "relay";

/// Plays the role that the arguments name; without any, the supervisor.
///
/// # Errors
/// There is no such role, or it failed.
pub async fn run(words: &[&str]) -> Result<()> {
    match words {
        [] => crate::supervise::run().await,
        [CHASSIS, rest @ ..] => chassis::run(rest).await,
        [JOIN, rest @ ..] => join::run(rest).await,
        [RELAY, rest @ ..] => relay::run(rest).await,
        [role, ..] => bail!("failed to start: {role:?} is no part of the lab"),
    }
}
