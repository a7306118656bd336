//! Between `ipmi_sim` and the lab: one question, one answer.
//!
//! `ipmi_sim` runs it as `… SOCKET MACHINE get power|boot …` or `… set power|boot|reset|shutdown VALUE`, takes
//! `power:1` for an answer, and any exit code but zero for a failure that it reports to its client.

use crate::control::{self, Request};
use anyhow::{Result, bail};
use std::path::Path;

pub(super) async fn run(words: &[&str]) -> Result<()> {
    let [socket, machine, verb, rest @ ..] = words else {
        bail!("failed to ask: usage: SOCKET MACHINE get|set NAME…");
    };
    let socket = Path::new(socket);
    match *verb {
        "get" => {
            for &name in rest {
                let request = match name {
                    "power" => Request::Power,
                    "boot" => Request::Boot,
                    other => bail!("failed to answer: {other} is unknown"),
                };
                println!("{name}:{}", control::ask(socket, machine, request).await?);
            }
            Ok(())
        }
        "set" => {
            for pair in rest.chunks(2) {
                control::ask(socket, machine, request(pair)?).await?;
            }
            Ok(())
        }
        "check" => Ok(()),
        other => bail!("failed to obey: {other} is unknown"),
    }
}

/// What a pair of `set` means.
fn request(pair: &[&str]) -> Result<Request> {
    Ok(match pair {
        ["power", "1"] => Request::On,
        ["power", "0"] => Request::Off,
        ["reset", _] => Request::Reset,
        ["shutdown", _] => Request::SoftOff,
        ["boot", "pxe"] => Request::BootNetwork,
        ["boot", "disk" | "default" | "none"] => Request::BootDisk,
        other => bail!("failed to obey: {} is unknown", other.join(" ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_ipmi_sim_are_understood() {
        for (pair, want) in [
            (["power", "1"], Some(Request::On)),
            (["power", "0"], Some(Request::Off)),
            (["reset", "1"], Some(Request::Reset)),
            (["shutdown", "1"], Some(Request::SoftOff)),
            (["boot", "pxe"], Some(Request::BootNetwork)),
            (["boot", "default"], Some(Request::BootDisk)),
            (["boot", "cdrom"], None),
            (["power", "2"], None),
        ] {
            assert_eq!(request(&pair).ok(), want, "{pair:?}");
        }
    }
}
