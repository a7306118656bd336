//! `ipmi_sim` of `OpenIPMI`: RMCP+ on the BMC's address, KCS in the machine, chassis commands through the lab.
//!
//! One process is one BMC. User accounts that are made on it stay in its state folder.

use super::{IPMI_PORTS, KCS_PORTS, PASSWORD, Start, USER};
use crate::{
    contract::NETMASK,
    control::SOCKET,
    eventually,
    net::Process,
    role::{CHASSIS, RELAY, relay::Line},
    tool,
};
use anyhow::{Context, Result, bail};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// Where `make setup` unpacks it, and a client.
const SIMULATOR: &str = "ipmi/usr/bin/ipmi_sim";
const CLIENT: &str = "ipmi/usr/bin/ipmitool";
/// IPMI over LAN.
const PORT: u16 = 623;
/// It answers some hundred milliseconds after its start.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Its one management controller, a BMC with a clock, an event log and IPMI 2.0.
const EMULATION: &str = "mc_setbmc 0x20\n\
    mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
    sel_enable 0x20 1000 0x0a\n\
    mc_enable 0x20\n";

pub(super) async fn start(bmc: &Start<'_>) -> Result<Vec<Process>> {
    let [config, emulation, script, state] =
        ["lan.conf", "emu", "chassis", "ipmi"].map(|part| format!("run/{}", bmc.name(part)));
    fs::write(bmc.dir.path(&script), chassis(bmc)).context("failed to write the chassis script")?;
    fs::set_permissions(bmc.dir.path(&script), fs::Permissions::from_mode(0o755))
        .context("failed to make the chassis script a program")?;
    let relayed = bmc.line != Line::default();
    let listen = if relayed {
        format!("127.0.0.1 {}", bmc.port(IPMI_PORTS))
    } else {
        format!("{} {PORT}", bmc.address)
    };
    let guid = bmc.switch.spec.uuid.replace('-', "");
    fs::write(bmc.dir.path(&config), configuration(&listen, bmc.port(KCS_PORTS), &script, &guid))
        .context("failed to write the BMC's configuration")?;
    fs::write(bmc.dir.path(&emulation), EMULATION).context("failed to write the BMC's emulation")?;
    fs::create_dir_all(bmc.dir.path(&state)).context("failed to make the BMC's state folder")?;
    let program = tool::find(bmc.dir.root(), SIMULATOR, "/usr/bin/ipmi_sim", "openipmi")?;
    let argv =
        [&program.to_string_lossy(), "-n", "-c", &config, "-f", &emulation, "-s", &state].map(str::to_owned);
    let name = bmc.name("ipmi");
    let mut simulator = bmc
        .net
        .spawn(&name, argv.to_vec(), &format!("{name}.log"))
        .await
        .context("failed to start ipmi_sim")?;
    let mut processes = vec![simulator.clone()];
    if relayed {
        processes.push(relay(bmc).await?);
    }
    answers(bmc, &mut simulator, relayed).await?;
    Ok(processes)
}

/// The program that turns the switch. `ipmi_sim` splits its command at spaces, so that it gets a name without any.
fn chassis(bmc: &Start<'_>) -> String {
    let words = [CHASSIS, SOCKET, &bmc.switch.spec.name].map(str::to_owned);
    let quoted: Vec<String> = bmc.net.helper(&words).iter().map(|word| quote(word)).collect();
    format!("#!/bin/sh\nexec {} \"$@\"\n", quoted.join(" "))
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// `guid` is the machine's UUID: a BMC is asked whose it is before a command.
fn configuration(listen: &str, kcs: u16, script: &str, guid: &str) -> String {
    let authentication: String = ["callback", "user", "operator", "admin"]
        .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
        .concat();
    format!(
        "name \"lab\"\n\
         set_working_mc 0x20\n\
         \x20 startlan 1\n\
         \x20   addr {listen}\n\
         \x20   priv_limit admin\n\
         {authentication}\
         \x20   guid {guid}\n\
         \x20 endlan\n\
         \x20 serial 15 127.0.0.1 {kcs} codec VM\n\
         \x20 chassis_control \"./{script}\"\n\
         \x20 user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n"
    )
}

async fn relay(bmc: &Start<'_>) -> Result<Process> {
    let words = [
        RELAY.to_owned(),
        format!("{}:{PORT}", bmc.address),
        format!("127.0.0.1:{}", bmc.port(IPMI_PORTS)),
        bmc.line.loss_percent.to_string(),
        bmc.line.delay.as_millis().to_string(),
        bmc.number.to_string(),
    ];
    let name = bmc.name("relay");
    bmc.net.spawn(&name, bmc.net.helper(&words), &format!("{name}.log")).await
}

/// The program `ipmitool`.
///
/// # Errors
/// It is not there.
pub fn client(lab: &Path) -> Result<String> {
    let found = tool::find(lab, CLIENT, "/usr/bin/ipmitool", "ipmitool")?;
    Ok(found.to_string_lossy().into_owned())
}

/// Waits until it answers, and tells it the address that the machine can read through its KCS interface.
async fn answers(bmc: &Start<'_>, simulator: &mut Process, relayed: bool) -> Result<()> {
    let (address, port) = if relayed {
        ("127.0.0.1".to_owned(), bmc.port(IPMI_PORTS))
    } else {
        (bmc.address.to_string(), PORT)
    };
    let settings = [
        vec!["ipsrc".to_owned(), "static".to_owned()],
        vec!["ipaddr".to_owned(), bmc.address.to_string()],
        vec!["netmask".to_owned(), NETMASK.to_string()],
    ];
    for setting in settings {
        let port = port.to_string();
        let client = client(bmc.dir.root())?;
        let mut command =
            vec![client.as_str(), "-I", "lanplus", "-C", "3", "-N", "1", "-R", "2", "-H", &address];
        command.extend(["-p", &port, "-U", USER, "-P", PASSWORD, "lan", "set", "1"]);
        command.extend(setting.iter().map(String::as_str));
        eventually!("ipmi_sim answers", START_LIMIT, None, async {
            if let Some(status) = simulator.exit() {
                bail!("ipmi_sim ended: {status}; see {}.ipmi.log", bmc.switch.spec.name);
            }
            bmc.net.run(&command, "").await.map(Some)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_names_addresses_and_script() {
        insta::assert_snapshot!(configuration("10.77.0.11 623", 9001, "run/uefi-1.chassis", "0ef10000000040008000000000000001"), @r#"
        name "lab"
        set_working_mc 0x20
          startlan 1
            addr 10.77.0.11 623
            priv_limit admin
            allowed_auths_callback none md2 md5 straight
            allowed_auths_user none md2 md5 straight
            allowed_auths_operator none md2 md5 straight
            allowed_auths_admin none md2 md5 straight
            guid 0ef10000000040008000000000000001
          endlan
          serial 15 127.0.0.1 9001 codec VM
          chassis_control "./run/uefi-1.chassis"
          user 2 true "admin" "secret" admin 10 none md2 md5 straight
        "#);
    }

    #[test]
    fn paths_with_quotes_survive_the_shell() {
        assert_eq!(quote("/a b/it's"), r"'/a b/it'\''s'");
    }
}
