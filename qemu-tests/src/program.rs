//! What the lab's helper program is, by its arguments: a part of a node, or one of the roles of [`crate::role`].

use crate::{role, talos};
use anyhow::{Context, Result};
use std::ffi::OsString;

/// Plays the role that the arguments name; without any, the supervisor.
///
/// # Errors
/// There is no such role, or it failed.
pub async fn run(arguments: &[OsString]) -> Result<()> {
    let words = arguments
        .iter()
        .map(|word| word.to_str().context("failed to read an argument: it is not UTF-8"))
        .collect::<Result<Vec<_>>>()?;
    match words.as_slice() {
        [talos::registry::ROLE, rest @ ..] => talos::registry::run(rest).await,
        [talos::balance::ROLE, rest @ ..] => talos::balance::run(rest).await,
        [talos::board::ROLE, rest @ ..] => Box::pin(talos::board::run(rest)).await,
        [talos::enter::JOIN_ROLE, rest @ ..] => talos::enter::join(rest),
        [talos::enter::ENTER_ROLE, rest @ ..] => talos::enter::enter(rest),
        words => role::run(words).await,
    }
}
