//! Whether a machine that is switched on now is answered: the boot services run, and this plane is the one that acts.
//!
//! A machine that asks earlier gets no offer, boots its disk, and does not ask again; ports that answer are not enough.

use crate::{
    contract::{APPLIANCE_MAC, BOOT_PORT},
    dhcpd,
    net::Net,
    state::LabDir,
};
use anyhow::{Context, Result, bail, ensure};
use kube::Client;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The gauge of each part of the boot services: 1 when it does its work.
const PART: &str = "bootsvc_up{part=\"";
/// Parts without which no machine gets the agent. `plane` is up when this plane may act.
const NEEDED: [&str; 3] = ["plane", "http", "tftp"];
/// One short answer, under emulation.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Whether the boot script comes from the boot services' port.
///
/// # Errors
/// The lab's network is gone, or the port takes the connection and does not answer.
pub async fn boot_script(dir: &LabDir, net: &Net) -> Result<bool> {
    let Some(address) = dhcpd::address_of(dir, APPLIANCE_MAC) else { return Ok(false) };
    let mut stream = net.connect((address, BOOT_PORT).into()).await?;
    let request = format!("GET /boot.ipxe HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = [0; 12];
    let talk = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_exact(&mut answer).await
    };
    let talked = tokio::time::timeout(crate::patience::scaled(ANSWER_LIMIT), talk);
    // A refused or cut connection only means "not yet".
    Ok(talked.await.context("failed to get the boot script: no answer")?.is_ok()
        && answer == *b"HTTP/1.1 200")
}

/// Whether the boot services say of themselves that they would give a machine the agent.
///
/// # Errors
/// They would not, with what is missing; or the appliance does not answer.
pub async fn machines(appliance: &Client) -> Result<()> {
    let request = http::Request::get("/metrics").body(Vec::new()).context("failed to make a request")?;
    judge(&appliance.request_text(request).await.context("failed to read the plane's metrics")?)
}

fn judge(metrics: &str) -> Result<()> {
    let parts: Vec<(&str, bool)> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix(PART)?.split_once("\"} "))
        .map(|(part, up)| (part, up.trim() == "1"))
        .collect();
    ensure!(!parts.is_empty(), "the boot services give no metrics");
    for needed in NEEDED {
        match parts.iter().find(|(part, _)| *part == needed) {
            Some((_, true)) => {}
            Some((_, false)) => bail!("{needed} of the boot services is not up"),
            None => bail!("the boot services do not say whether {needed} is up"),
        }
    }
    // Absent where proxy DHCP is off.
    let dhcp = parts.iter().find(|(part, up)| part.starts_with("dhcp") && !up);
    ensure!(dhcp.is_none(), "proxy DHCP is not up: {dhcp:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(parts: &[(&str, u8)]) -> String {
        let lines = parts.iter().map(|(part, up)| format!("bootsvc_up{{part=\"{part}\"}} {up}\n"));
        format!("# TYPE bootsvc_up gauge\n{}dhcp_answers_total 3\n", lines.collect::<String>())
    }

    #[test]
    fn machines_are_answered_when_every_part_is_up_and_the_plane_acts() {
        let all = [("dhcp", 1), ("dhcp eth0:67", 1), ("http", 1), ("plane", 1), ("tftp", 1)];
        judge(&metrics(&all)).expect("all is up");
        judge(&metrics(&all[2..])).expect("proxy DHCP may be off");
        for (index, (part, _)) in all.iter().enumerate() {
            let mut down = all;
            down[index].1 = 0;
            let error = judge(&metrics(&down)).expect_err("one part is down").to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
        for parts in [&all[..2], &[]] {
            judge(&metrics(parts)).expect_err("not all parts are there");
        }
    }
}
