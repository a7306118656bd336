//! The appliance without a virtual machine: its root tree and its own PID 1 in namespaces, at native speed.
//!
//! The machine is a network namespace whose card is plugged into the lab's bridge and outlives power cuts, and a PID
//! namespace that does not. Its disk is a folder. The host is never touched: everything is inside the lab's own
//! namespaces, and PID 1 is told that it runs in a container.

pub mod enter;

use crate::{
    console::Console,
    contract::APPLIANCE_MAC,
    eventually,
    net::{BRIDGE, Net, Process},
    state::LabDir,
};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The child of the supervisor that holds the network namespace open.
const HOLDER: &str = "plane-net";
/// The child of the supervisor that is the running machine.
const MACHINE: &str = "plane";
/// Our end of the cable.
const CABLE: &str = "plane0";
/// Making a namespace or starting a program takes milliseconds.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Eight services with a grace of ten seconds each, some after others.
const STOP_LIMIT: Duration = Duration::from_secs(90);

/// What the machine is made of.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// The root tree, mounted read-only.
    pub root: PathBuf,
    /// A program that calls [`enter::run`].
    pub launcher: PathBuf,
    /// The state partition: a folder that survives power cuts.
    pub var: PathBuf,
    /// The FAT partition: a folder with `bloomery.yaml`, or an empty one.
    pub boot: PathBuf,
}

/// One process of the machine, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Process id in the lab's namespace.
    pub pid: u32,
    /// User id in the lab's namespace.
    pub uid: u32,
    /// The program's name, without its folder.
    pub program: String,
}

/// A machine that can be switched on.
#[derive(Debug)]
pub struct Container {
    spec: ContainerSpec,
    dir: Arc<LabDir>,
    network: u32,
    running: Option<Process>,
}

impl Container {
    /// Builds the machine and plugs it into the bridge; it is off.
    ///
    /// # Errors
    /// The namespaces or the cable cannot be made.
    pub async fn build(net: &Net, dir: &Arc<LabDir>, spec: ContainerSpec) -> Result<Self> {
        for folder in [&spec.var, &spec.boot] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("failed to make {}", folder.display()))?;
        }
        let script = format!("echo $$ > run/{HOLDER}.pid; exec unshare --net sleep infinity");
        net.spawn(HOLDER, argv(&["sh", "-c", &script]), "run/plane-net.log").await?;
        let network = eventually!("the machine's network namespace", START_LIMIT, None, async {
            holder_of_network(net, &dir.path(&format!("run/{HOLDER}.pid"))).await
        })?;
        let pid = network.to_string();
        let card = ["ip", "link", "add", CABLE, "type", "veth", "peer", "name", "eth0"];
        let card = [&card[..], &["address", APPLIANCE_MAC, "netns", &pid]].concat();
        net.run(&card, "").await.context("failed to make the machine's card")?;
        net.run(&["ip", "link", "set", CABLE, "master", BRIDGE, "up"], "").await?;
        Ok(Self { spec, dir: Arc::clone(dir), network, running: None })
    }

    /// Switches it on; its console is the file of that name in the lab's folder.
    ///
    /// # Errors
    /// It is on already, or cannot be started.
    pub async fn power_on(&mut self, net: &Net) -> Result<Console> {
        if self.running.as_ref().is_some_and(|process| process.exit().is_none()) {
            bail!("failed to switch the machine on: it is on");
        }
        // A network outlives a power cut here, a machine's addresses do not: PID 1 would take them for the host's own, and
        // nobody would ask for them again when their lease ends.
        self.in_network(net, &["ip", "addr", "flush", "dev", "eth0"]).await?;
        let path = self.dir.console(MACHINE);
        let console = Console::from_now(&path);
        let log = path.strip_prefix(self.dir.root()).unwrap_or(&path).to_string_lossy().into_owned();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = argv(&["nsenter", &format!("--net=/proc/{}/ns/net", self.network), "unshare"]);
        command.extend(argv(&[
            "--fork",
            "--kill-child=KILL",
            "--pid",
            "--mount",
            "--uts",
            "--ipc",
            "--cgroup",
        ]));
        command.extend(["--".to_owned(), text(&self.spec.launcher)]);
        command.extend([&self.spec.root, &self.spec.var, &self.spec.boot].map(|path| text(path)));
        self.running = Some(net.spawn(MACHINE, command, &log).await?);
        Ok(console)
    }

    /// Pulls the plug: everything inside is killed at once.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn cut_power(&mut self, net: &Net) -> Result<()> {
        let groups = self.groups(net).await;
        if let Some(mut process) = self.running.take() {
            net.kill(&mut process).await?;
        }
        remove(net, groups).await
    }

    /// Asks PID 1 to stop (SIGTERM), waits for its end and says how it ended.
    ///
    /// # Errors
    /// It is off, or does not end in time.
    pub async fn stop(&mut self, net: &Net) -> Result<String> {
        let init = self.init(net).await?;
        let groups = self.groups(net).await;
        let Some(mut process) = self.running.take() else { bail!("failed to stop the machine: it is off") };
        net.run(&["kill", "-TERM", &init.pid.to_string()], "").await?;
        let ended = tokio::time::timeout(crate::patience::scaled(STOP_LIMIT), process.ended())
            .await
            .with_context(|| format!("failed to stop the machine within {} s", STOP_LIMIT.as_secs()))?;
        remove(net, groups).await?;
        Ok(ended)
    }

    /// The control groups that PID 1 makes, in both places where a host may have them. Its end does not take them
    /// away when it is sudden.
    async fn groups(&self, net: &Net) -> Vec<String> {
        let Ok(init) = self.init(net).await else { return Vec::new() };
        let namespace = net.run(&["stat", "-Lc", "%i", &format!("/proc/{}/ns/pid", init.pid)], "").await;
        let namespace = namespace.unwrap_or_default();
        let group = |tree: &str| format!("{tree}/bloomery-{}", namespace.trim());
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(group).to_vec()
    }

    /// PID 1, as seen from outside.
    ///
    /// # Errors
    /// It does not run.
    pub async fn init(&self, net: &Net) -> Result<Inside> {
        let all = self.processes(net).await?;
        all.into_iter().find(|process| process.program == "init").context("failed to find PID 1")
    }

    /// Everything that runs inside, PID 1 included.
    ///
    /// # Errors
    /// The list cannot be read.
    pub async fn processes(&self, net: &Net) -> Result<Vec<Inside>> {
        // Everything in the machine's network namespace that is not its holder.
        let script = format!(
            "mine=$(readlink /proc/{0}/ns/net); for p in /proc/[0-9]*; do pid=${{p#/proc/}}; \
             [ \"$pid\" != {0} ] && [ \"$(readlink $p/ns/net 2>/dev/null)\" = \"$mine\" ] || continue; \
             args=$(tr '\\0' ' ' < $p/cmdline 2>/dev/null); uid=$(awk '/^Uid:/{{print $2}}' $p/status 2>/dev/null); \
             echo \"$pid $uid ${{args%% *}}\"; done",
            self.network
        );
        let list = net.run(&["sh", "-c", &script], "").await?;
        Ok(list.lines().filter_map(inside).filter(|process| process.program != "unshare").collect())
    }

    /// Sends a signal to one process inside.
    ///
    /// # Errors
    /// It is gone.
    pub async fn signal(&self, net: &Net, process: &Inside, signal: &str) -> Result<()> {
        net.run(&["kill", &format!("-{signal}"), &process.pid.to_string()], "").await.map(drop)
    }

    /// Runs a command in the machine's network namespace, with the host's programs.
    ///
    /// # Errors
    /// It fails.
    pub async fn in_network(&self, net: &Net, command: &[&str]) -> Result<String> {
        let namespace = format!("--net=/proc/{}/ns/net", self.network);
        net.run(&[&["nsenter", &namespace, "--"], command].concat(), "").await
    }
}

/// Removes control groups, as soon as the last processes in them have gone.
async fn remove(net: &Net, groups: Vec<String>) -> Result<()> {
    for group in groups.into_iter().filter(|group| Path::new(group).is_dir()) {
        eventually!(format!("{group} is empty"), START_LIMIT, None, async {
            let removed =
                net.run(&["find", &group, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+"], "").await;
            removed.map(|_| Some(()))
        })?;
    }
    Ok(())
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The holder's process id, once its network namespace is another one than the lab's.
pub(crate) async fn holder_of_network(net: &Net, pid_file: &Path) -> Result<Option<u32>> {
    let Ok(text) = std::fs::read_to_string(pid_file) else { return Ok(None) };
    let Ok(pid) = text.trim().parse::<u32>() else { return Ok(None) };
    let own = net.run(&["readlink", "/proc/self/ns/net"], "").await?;
    let its = net.run(&["readlink", &format!("/proc/{pid}/ns/net")], "").await?;
    Ok((own != its).then_some(pid))
}

/// One line `PID UID PROGRAM`.
fn inside(line: &str) -> Option<Inside> {
    let mut words = line.split_ascii_whitespace();
    let (pid, uid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let program = words.next()?.rsplit('/').next()?.to_owned();
    Some(Inside { pid, uid, program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_process_list_are_read() {
        let etcd = Inside { pid: 12, uid: 101, program: "etcd".to_owned() };
        assert_eq!(inside("12 101 /usr/bin/etcd"), Some(etcd));
        // A kernel thread, a process that has just ended.
        for line in ["12 0 ", "12", ""] {
            assert_eq!(inside(line), None, "{line:?}");
        }
    }
}
