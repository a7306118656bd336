//! Management controllers of the lab, each turning a real machine, driven by the tools that administrators use.

use anyhow::{Context, Result, ensure};
use bloomery_lab::{
    accel::Accel,
    bmc::{BmcKind, ipmi as ipmi_sim},
    control::{self, BmcState, Request},
    eventually,
    machine::{Machine, MachineSpec, Site},
    net::{Helper, Net},
    role::relay::Line,
    state::LabDir,
    switch::faults::Fault,
    vm::spec::{BootOrder, BootPath},
};
use std::{path::Path, sync::Arc, time::Duration};

/// A machine starts within a second, a BMC's delayed command within eleven.
const LIMIT: Duration = Duration::from_mins(1);
/// What a firmware has done after some seconds under emulation.
const FIRMWARE_LIMIT: Duration = Duration::from_secs(90);
const MEMORY: u32 = 128;

async fn site(folder: &Path) -> Site {
    let helper =
        Helper { program: env!("CARGO_BIN_EXE_bloomery-lab-supervisor").into(), arguments: Vec::new() };
    let dir = Arc::new(LabDir::open(folder, false).await.expect("a free folder"));
    let net = Arc::new(Net::start(Arc::clone(&dir), &helper).await.expect("a private network"));
    Site::open(dir, net, Accel::Tcg).expect("a site")
}

fn spec(bmc: BmcKind) -> MachineSpec {
    MachineSpec { disk_bytes: 64 << 20, ..MachineSpec::new(BootPath::Bios, 1, MEMORY, bmc) }
}

async fn turns(machine: &Machine, on: bool) -> Result<()> {
    let condition = format!("{} is {}", machine.name(), if on { "on" } else { "off" });
    eventually!(condition, LIMIT, None, async {
        Ok::<_, std::convert::Infallible>((machine.switch.is_on().await == on).then_some(()))
    })?;
    Ok(())
}

/// ipmitool, as an administrator would call it.
async fn ipmitool(site: &Site, machine: &Machine, words: &[&str]) -> Result<String> {
    let address = machine.bmc.address.to_string();
    let program = ipmi_sim::client(site.dir.root())?;
    let login = [&program, "-I", "lanplus", "-C", "3", "-H", &address, "-U", "admin", "-P", "secret"];
    site.net.run(&[&login[..], words].concat(), "").await
}

#[tokio::test]
async fn ipmi_simulator_switches_its_machine_and_netboots_it_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = site(folder.path()).await;
    let mut machine = site.build(spec(BmcKind::Ipmi)).await.expect("a machine");
    let outcome = match ipmi(&site, &machine).await {
        Ok(()) => dies(&site, &mut machine).await,
        failed => failed,
    };
    site.net.stop().await.expect("an orderly end");
    outcome.expect("a BMC that works");
}

async fn ipmi(site: &Site, machine: &Machine) -> Result<()> {
    ensure!(ipmitool(site, machine, &["power", "status"]).await?.contains("is off"));
    ipmitool(site, machine, &["chassis", "bootdev", "pxe"]).await?;
    ensure!(machine.switch.netboots_next().await, "the override was not told");
    ipmitool(site, machine, &["power", "on"]).await?;
    turns(machine, true).await?;
    ensure!(ipmitool(site, machine, &["power", "status"]).await?.contains("is on"));
    ensure!(!machine.switch.netboots_next().await, "the override outlived the boot");
    ipmitool(site, machine, &["power", "off"]).await?;
    turns(machine, false).await?;
    ipmitool(site, machine, &["power", "on"]).await?;
    turns(machine, true).await?;
    ipmitool(site, machine, &["power", "cycle"]).await?;
    turns(machine, true).await?;
    let starts = machine.switch.starts().await;
    let want = [BootOrder::NetworkFirst, BootOrder::DiskFirst, BootOrder::DiskFirst];
    ensure!(starts == want, "started as {starts:?}");
    let lan = ipmitool(site, machine, &["lan", "print", "1"]).await?;
    ensure!(lan.contains(&machine.bmc.address.to_string()), "the machine cannot learn the address: {lan}");

    machine.switch.faults(|faults| faults.next = [Fault::Refuse, Fault::Ignore].into());
    let refused = ipmitool(site, machine, &["power", "off"]).await;
    ensure!(refused.is_err(), "the command was not refused");
    ipmitool(site, machine, &["power", "off"]).await?;
    ensure!(machine.switch.is_on().await, "an ignored command was obeyed");
    machine.switch.faults(|faults| faults.next = [Fault::Late(Duration::from_secs(2))].into());
    ipmitool(site, machine, &["power", "off"]).await?;
    ensure!(machine.switch.is_on().await, "a late command was obeyed at once");
    turns(machine, false).await
}

/// A BMC whose program ends is shown so; the machine's switch is not its business.
async fn dies(site: &Site, machine: &mut Machine) -> Result<()> {
    let socket = site.dir.socket(control::SOCKET);
    let before = control::describe(&socket, machine.name()).await?.bmc;
    ensure!((before.kind.as_str(), &before.ended) == ("ipmi", &None), "{before:?}");
    machine.bmc.kill(&site.net).await?;
    eventually!("the BMC is shown as ended", LIMIT, None, async {
        let described = control::describe(&socket, machine.name()).await?;
        Ok::<_, anyhow::Error>(described.bmc.ended)
    })?;
    Ok(())
}

#[tokio::test]
async fn ipmi_works_over_a_line_that_loses_and_delays_datagrams() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = site(folder.path()).await;
    let bmc_line = Line { loss_percent: 15, delay: Duration::from_millis(30) };
    let spec = MachineSpec { bmc_line, frame_loss_percent: 5, ..spec(BmcKind::Ipmi) };
    let machine = site.build(spec).await.expect("a machine");
    let outcome = async {
        for (command, on) in [("on", true), ("off", false)] {
            eventually!("ipmitool gets through", LIMIT, None, async {
                ipmitool(&site, &machine, &["-R", "8", "power", command]).await.map(Some)
            })?;
            turns(&machine, on).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let outcome = outcome.await;
    site.net.stop().await.expect("an orderly end");
    outcome.expect("a BMC that works");
}

/// curl, with a body for a POST or PATCH; gives the status and the body.
async fn curl(site: &Site, words: &[&str]) -> Result<(String, String)> {
    let curl = ["curl", "-sk", "-m", "15", "-w", "\n%{http_code}"];
    let said = site.net.run(&[&curl[..], words].concat(), "").await?;
    let (body, status) = said.rsplit_once('\n').context("curl said nothing")?;
    Ok((status.to_owned(), body.to_owned()))
}

#[tokio::test]
async fn http_api_switches_its_machine() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = site(folder.path()).await;
    let machine = site.build(spec(BmcKind::Http)).await.expect("a machine");
    let outcome = http(&site, &machine).await;
    site.net.stop().await.expect("an orderly end");
    outcome.expect("an API that works");
}

async fn http(site: &Site, machine: &Machine) -> Result<()> {
    let endpoint = machine.bmc.endpoint();
    let post = async |command: &str| -> Result<String> {
        let url = format!("http://{endpoint}/{command}");
        Ok(curl(site, &["-X", "POST", &url]).await?.0)
    };
    let status =
        async || -> Result<String> { Ok(curl(site, &[&format!("http://{endpoint}/status")]).await?.1) };
    ensure!(status().await? == r#"{"PoweredOn":false}"#, "{}", status().await?);
    ensure!(post("pxeboot").await? == "200" && post("poweron").await? == "200");
    ensure!(status().await? == r#"{"PoweredOn":true}"#, "{}", status().await?);
    ensure!(post("reboot").await? == "200" && post("poweroff").await? == "200");
    ensure!(!machine.switch.is_on().await);
    ensure!(machine.switch.starts().await == [BootOrder::NetworkFirst, BootOrder::DiskFirst]);
    machine.switch.faults(|faults| faults.next = [Fault::Refuse, Fault::Ignore].into());
    ensure!(post("poweron").await? == "500" && post("poweron").await? == "200");
    ensure!(!machine.switch.is_on().await, "an ignored command was obeyed");
    let socket = site.dir.socket(control::SOCKET);
    control::ask(&socket, machine.name(), Request::HandOn).await?;
    ensure!(control::ask(&socket, machine.name(), Request::Power).await? == "1");
    let described = control::describe(&socket, machine.name()).await?;
    ensure!(described.on && !described.network_next, "{described:?}");
    let BmcState { kind, endpoint: shown, ended } = described.bmc;
    ensure!((kind.as_str(), &shown, ended) == ("http", &endpoint, None), "http, {shown}");
    let error = control::ask(&socket, "nobody", Request::HandOn).await.err().context("no such machine")?;
    ensure!(error.to_string().contains(machine.name()), "{error}");
    Ok(())
}

#[tokio::test]
async fn redfish_emulator_switches_its_machine_and_netboots_it_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = site(folder.path()).await;
    let machine = site.build(spec(BmcKind::Redfish)).await.expect("a machine");
    let outcome = redfish(&site, &machine).await;
    let log = site.dir.path(&format!("{}.sushy.log", machine.name()));
    site.net.stop().await.expect("an orderly end");
    if let Err(error) = outcome {
        panic!("{error:#}\n{}", std::fs::read_to_string(log).unwrap_or_default());
    }
}

async fn redfish(site: &Site, machine: &Machine) -> Result<()> {
    let system = format!("https://{}/redfish/v1/Systems/{}", machine.bmc.address, machine.uuid());
    let login = ["-u", "admin:secret", "-H", "Content-Type: application/json"];
    let send = async |method: &str, path: &str, body: &str| -> Result<String> {
        let url = format!("{system}{path}");
        Ok(curl(site, &[&login[..], &["-X", method, "-d", body, &url]].concat()).await?.0)
    };
    let reset = async |kind: &str| -> Result<String> {
        send("POST", "/Actions/ComputerSystem.Reset", &format!(r#"{{"ResetType":"{kind}"}}"#)).await
    };
    ensure!(curl(site, &[&system]).await?.0 == "401", "anyone gets in");
    let once = r#"{"Boot":{"BootSourceOverrideTarget":"Pxe","BootSourceOverrideEnabled":"Once"}}"#;
    let told = send("PATCH", "", once).await?;
    ensure!(told == "204", "the boot override was answered with {told}");
    machine.switch.faults(|faults| faults.next = [Fault::Refuse, Fault::Ignore].into());
    ensure!(reset("On").await? == "500" && reset("On").await? == "204");
    ensure!(reset("On").await? == "204");
    turns(machine, true).await?;
    ensure!(machine.switch.starts().await == [BootOrder::NetworkFirst], "the override was not used");
    eventually!("the override is over for the client, too", LIMIT, None, async {
        let body = curl(site, &[&login[..], &[&system]].concat()).await?.1;
        Ok::<_, anyhow::Error>(body.contains("Hdd").then_some(()))
    })?;
    ensure!(reset("ForceOff").await? == "204");
    turns(machine, false).await?;
    // By hand: the emulator's view follows.
    machine.switch.obey(bloomery_lab::switch::Command::On).await?;
    eventually!("the emulator sees it on", LIMIT, None, async {
        let body = curl(site, &[&login[..], &[&system]].concat()).await?.1;
        Ok::<_, anyhow::Error>(body.contains(r#""PowerState": "On""#).then_some(()))
    })?;
    ensure!(machine.switch.starts().await == [BootOrder::NetworkFirst, BootOrder::DiskFirst]);
    Ok(())
}

/// A boot sector that says on the serial port that the disk was booted, and stops.
fn boot_sector() -> [u8; 512] {
    let mut sector = [0; 512];
    let text = b"DISK BOOTED\n";
    // mov si,0x7c20; cld; mov dx,0x3f8; l: lodsb; test al,al; jz e; out dx,al; jmp l; e: hlt; jmp e
    let code = [
        0xbe, 0x20, 0x7c, 0xfc, 0xba, 0xf8, 0x03, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, 0xf4, 0xeb,
        0xfd,
    ];
    sector[..code.len()].copy_from_slice(&code);
    sector[32..32 + text.len()].copy_from_slice(text);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// The override holds for one boot: the reset after it goes to the disk, though QEMU is still the same.
async fn netboots_once(path: BootPath, sign: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let site = site(folder.path()).await;
    let spec = MachineSpec { disk_bytes: 64 << 20, ..MachineSpec::new(path, 1, MEMORY, BmcKind::None) };
    let machine = site.build(spec).await.expect("a machine");
    std::fs::write(&machine.disks[0], [&boot_sector()[..], &vec![0; (64 << 20) - 512]].concat())
        .expect("a disk");
    let outcome = async {
        use bloomery_lab::switch::Command;
        let says = async |sign: &str| {
            let console = machine.switch.console().await;
            eventually!(format!("the console says {sign}"), FIRMWARE_LIMIT, Some(&console), async {
                let tail = console.tail();
                Ok::<_, std::convert::Infallible>(tail.iter().any(|line| line.contains(sign)).then_some(()))
            })
        };
        machine.switch.obey(Command::BootNetwork).await?;
        machine.switch.obey(Command::On).await?;
        says(sign).await?;
        let console = machine.switch.console().await;
        ensure!(console.find("DISK BOOTED").is_none(), "the disk came first");
        machine.switch.obey(Command::Reset).await?;
        says("DISK BOOTED").await?;
        // Told while it runs: the next reset boots from the network, and the one after that does not.
        machine.switch.obey(Command::BootNetwork).await?;
        let mut lines = machine.switch.console().await.follow();
        lines.lines();
        machine.switch.obey(Command::Reset).await?;
        let mut seen = Vec::new();
        eventually!(format!("{sign} once more"), FIRMWARE_LIMIT, Some(&console), async {
            seen.extend(lines.lines());
            seen.extend(lines.unfinished());
            Ok::<_, std::convert::Infallible>(seen.iter().any(|line| line.contains(sign)).then_some(()))
        })?;
        ensure!(!seen.iter().any(|line| line.contains("DISK BOOTED")), "the disk came first: {seen:?}");
        ensure!(!machine.switch.netboots_next().await, "the override outlived the boot");
        Ok::<_, anyhow::Error>(())
    };
    let outcome = outcome.await;
    site.net.stop().await.expect("an orderly end");
    outcome.expect("one boot from the network");
}

#[tokio::test]
async fn bios_machine_boots_from_the_network_once_and_then_from_its_disk() {
    netboots_once(BootPath::Bios, "iPXE initialising").await;
}

#[tokio::test]
async fn plain_pxe_machine_boots_from_the_network_once_and_then_from_its_disk() {
    netboots_once(BootPath::BiosUndionly, "SYSLINUX").await;
}
