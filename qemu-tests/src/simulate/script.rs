//! What iPXE reads in the plane's scripts: pure functions of their text.
//!
//! Only the commands that the plane's scripts decide by are understood; everything else is passed over.

use super::inventory::Identity;
use bloomery_agent_api::TOKEN_ARGUMENT;

/// First line of every script.
const MAGIC: &str = "#!ipxe";
/// Kernel argument by which the agent finds its plane; a node system has none.
const AGENT_ARGUMENT: &str = "sidero.endpoint";

/// What the machine is told to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A kernel with an initramfs.
    Kernel(Kernel),
    /// Its own disk.
    Disk,
    /// To wait and to ask again, at this URL.
    Wait(String),
}

/// A kernel to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Paths of kernel and initramfs.
    pub files: Vec<String>,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The agent, if it is one.
    pub agent: Option<AgentBoot>,
}

/// What the agent is told on its command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentBoot {
    /// `host:port` of the plane.
    pub endpoint: String,
    /// The token of this boot.
    pub token: Option<String>,
}

/// The URL of the first `chain` of the boot script, with the machine's own values.
///
/// # Errors
/// It is no script, or chains to nothing.
pub fn chain(script: &str, identity: &Identity) -> Result<String, &'static str> {
    let mut settings: Vec<(&str, &str)> = Vec::new();
    let mut url = None;
    for line in lines(script)? {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("set") => settings.extend(words.next().zip(words.next())),
            Some("chain") => url = words.find(|word| word.starts_with("http://") || word.starts_with("${")),
            Some(_) | None => {}
        }
        if url.is_some() {
            break;
        }
    }
    let url = url.ok_or("it chains to nothing")?;
    let set = |url: String, (name, value): &(&str, &str)| url.replace(&format!("${{{name}}}"), value);
    let url = settings.iter().rev().fold(url.to_owned(), set);
    let expanded = [
        ("${uuid}", identity.uuid.to_string()),
        ("${serial:uristring}", identity.serial()),
        ("${hostname:uristring}", identity.hostname()),
        ("${domain:uristring}", String::new()),
        ("${buildarch}", identity.firmware.build_arch().to_owned()),
        ("${platform}", identity.firmware.platform().to_owned()),
        ("${netX/mac:hexhyp}", identity.mac_text('-')),
        ("${net0/mac:hexhyp}", identity.mac_text('-')),
        ("${net${i}/mac:hexhyp}", identity.mac_text('-')),
    ];
    let url = expanded.iter().fold(url, |url, (variable, value)| url.replace(variable, value));
    Ok(without_variables(&url))
}

/// Variables that are not set are empty, in iPXE too.
fn without_variables(text: &str) -> String {
    let mut parts = text.split("${");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// What the answer to `/ipxe` says.
///
/// # Errors
/// It is no script, or boots nothing.
pub fn order(script: &str) -> Result<Order, &'static str> {
    let (mut files, mut arguments) = (Vec::new(), Vec::new());
    for line in lines(script)? {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("kernel") => {
                files.push(words.next().ok_or("its kernel has no name")?.to_owned());
                arguments = words.map(str::to_owned).collect();
            }
            Some("initrd") => files.push(words.next().ok_or("its initrd has no name")?.to_owned()),
            Some("boot") if !files.is_empty() => {
                let agent = agent_boot(&arguments);
                return Ok(Order::Kernel(Kernel { files, arguments, agent }));
            }
            Some("exit" | "sanboot") => return Ok(Order::Disk),
            // Before any other way to go on: what stands behind it is for a plane that went away.
            Some("chain") => {
                let url = words.find(|word| word.starts_with("http://")).ok_or("it chains to nothing")?;
                return Ok(Order::Wait(url.to_owned()));
            }
            Some(_) | None => {}
        }
    }
    Err("it boots nothing")
}

fn agent_boot(arguments: &[String]) -> Option<AgentBoot> {
    let (mut endpoint, mut token) = (None, None);
    for (key, value) in arguments.iter().filter_map(|argument| argument.split_once('=')) {
        match key {
            AGENT_ARGUMENT => endpoint = Some(value.to_owned()),
            TOKEN_ARGUMENT => token = Some(value.to_owned()),
            _ => {}
        }
    }
    endpoint.map(|endpoint| AgentBoot { endpoint, token })
}

fn lines(script: &str) -> Result<impl Iterator<Item = &str>, &'static str> {
    let mut lines = script.lines().map(str::trim);
    if lines.next() == Some(MAGIC) { Ok(lines) } else { Err("it is no iPXE script") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::config::Firmware;
    use std::net::Ipv4Addr;

    #[test]
    fn the_first_chain_is_followed_with_the_machines_values() {
        let identity = Identity::new(5, Ipv4Addr::LOCALHOST, Firmware::Uefi);
        let script = "#!ipxe\n\n# chain nothing\n:boot_nic\nset plane http://10.77.0.3:8081\nset i:int32 0\nchain --replace ${plane}/ipxe?uuid=${uuid}\
                      &mac=${netX/mac:hexhyp}&domain=${domain:uristring}&hostname=${hostname:uristring}\
                      &serial=${serial:uristring}&arch=${buildarch}&platform=${platform}&x=${unset}&y=1 || goto all_nics\n";
        assert_eq!(
            chain(script, &identity).expect("a URL"),
            "http://10.77.0.3:8081/ipxe?uuid=51a70000-0000-4000-8000-000000000005&mac=52-54-51-00-00-05&domain=\
             &hostname=sim-5&serial=SIM000005&arch=x86_64&platform=efi&x=&y=1"
        );
        for bad in ["", "#!ipxe\n", "chain http://a/"] {
            assert!(chain(bad, &identity).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn agent_environment_and_disk_are_told_apart() {
        let agent = "#!ipxe\nkernel /env/agent-amd64/vmlinuz quiet sidero.endpoint=10.77.0.3:8081 bloomery.token=AbC_-1\n\
                     initrd /env/agent-amd64/initramfs.xz\nboot\n";
        let Ok(Order::Kernel(kernel)) = order(agent) else { unreachable!("a kernel") };
        assert_eq!(kernel.files, ["/env/agent-amd64/vmlinuz", "/env/agent-amd64/initramfs.xz"]);
        let boot = AgentBoot { endpoint: "10.77.0.3:8081".to_owned(), token: Some("AbC_-1".to_owned()) };
        assert_eq!(kernel.agent, Some(boot));
        let node =
            "#!ipxe\nkernel /env/default/vmlinuz talos.config=x\ninitrd /env/default/initramfs.xz\nboot\n";
        assert!(matches!(order(node), Ok(Order::Kernel(Kernel { agent: None, .. }))));
        assert_eq!(order("#!ipxe\nexit\n"), Ok(Order::Disk));
        assert_eq!(order("#!ipxe\nsanboot --no-describe --drive 0x80\n"), Ok(Order::Disk));
        let wait = "#!ipxe\necho The plane is starting\nsleep 5\n:ask\nchain --replace http://a:8081/ipxe?uuid=x ||\n\
                    :give_up\nsanboot --no-describe --drive 0x80 ||\nreboot\n";
        assert_eq!(order(wait), Ok(Order::Wait("http://a:8081/ipxe?uuid=x".to_owned())));
        assert!(order("#!ipxe\nboot\n").is_err() && order("<html>").is_err());
    }
}
