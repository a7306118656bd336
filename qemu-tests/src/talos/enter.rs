//! The two steps from a process of the lab to machined as PID 1: [`join`] enters the node's control groups, [`enter`]
//! makes its file systems and becomes machined.
//!
//! Outside of a PID namespace of its own machined would end with a reboot of the host: [`enter`] refuses.

use super::{cgroups::Groups, host::Host};
use anyhow::{Context, Result, bail};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::{chdir, pivot_root, sethostname},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{OpenOptionsExt as _, symlink},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

/// The role that joins the control groups.
pub const JOIN_ROLE: &str = "talos-join";
/// The role that becomes machined.
pub const ENTER_ROLE: &str = "talos-enter";
/// What a node's folder calls the description of it.
const ENTRY: &str = "entry.json";
/// The configuration that the board fetched, for the first start.
const CONFIG: &str = "config.yaml";
/// Where machined keeps the configuration that it has taken.
const STATE: &str = "vol/state";
/// What machined is told; nothing else is in its environment. The name of the hardware stands for a plan of a cloud.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PATH", "/usr/bin"), ("PLATFORM", "container"), ("TALOSSKU", "2CPU-2048RAM")];
const MACHINED: &str = "/sbin/init";
/// Read by the library of containerd: in a user namespace it forgives what root without `CAP_SYS_RESOURCE` may not do.
const USER_NAMESPACE: &str = "         0          0 4294967294\n";
/// The node's own folders that outlive a power cut, as Docker's volumes do for Talos in Docker.
const VOLUMES: [(&str, &str); 6] = [
    ("var", "var"),
    ("vol/state", "system/state"),
    ("vol/cni", "etc/cni"),
    ("vol/kubernetes", "etc/kubernetes"),
    ("vol/libexec", "usr/libexec/kubernetes"),
    ("vol/opt", "opt"),
];
/// Folders that a wipe takes away.
const WIPED: [&str; 5] = ["up", "work", "var", "vol", "etc"];
const DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("kmsg", 1, 11),
    ("tty", 5, 0),
];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "ptmx"),
    ("/proc/self/fd", "fd"),
    ("fd/0", "stdin"),
    ("fd/1", "stdout"),
    ("fd/2", "stderr"),
];

/// A node as its first process knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its name until its configuration gives another one.
    pub name: String,
    /// What the host lets it do; inside, the host's control groups have other names.
    pub host: Host,
    /// Name of its control groups.
    pub group: String,
    /// The root that it shares.
    pub root: PathBuf,
    /// Its own folder: all that it keeps.
    pub folder: PathBuf,
    /// Its address.
    pub address: Ipv4Addr,
    /// What answers names.
    pub nameserver: Ipv4Addr,
    /// The third octet of its pods' network.
    pub pods: u8,
}

impl Entry {
    /// Writes it down for the roles; gives the file.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn save(&self) -> Result<PathBuf> {
        let path = self.folder.join(ENTRY);
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("failed to make {}", self.folder.display()))?;
        let text = serde_json::to_vec(self).context("failed to write the node's description")?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// Reads what [`Entry::save`] wrote.
    ///
    /// # Errors
    /// The file is none.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("failed to parse {}", path.display()))
    }

    /// Whether machined has a configuration of its own: such a machine is installed.
    pub fn is_installed(&self) -> bool {
        self.folder.join(STATE).join(CONFIG).exists()
    }

    /// Gives the node its configuration for the first start. Only root may read it: it holds the cluster's keys.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, config: &[u8]) -> Result<()> {
        let path = self.folder.join(CONFIG);
        let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(config))
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// Empties the node's disks.
    ///
    /// # Errors
    /// A folder cannot be removed: something still uses it.
    pub fn wipe(&self) -> Result<()> {
        for name in WIPED {
            let path = self.folder.join(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("failed to empty {}", path.display()));
                }
                _ => {}
            }
        }
        match fs::remove_file(self.folder.join(CONFIG)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("failed to remove the configuration")
            }
            _ => Ok(()),
        }
    }

    /// Makes the folders of a blank node; those of a used one stay.
    fn prepare(&self) -> Result<()> {
        let folders = ["up", "work", "m", "etc", "vol/cni/net.d", "vol/kubernetes/manifests"];
        for name in folders.into_iter().chain(VOLUMES.map(|(own, _)| own)) {
            let path = self.folder.join(name);
            fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        }
        let plugins = self.folder.join("vol/opt/cni/bin");
        if !plugins.exists() {
            fs::create_dir_all(&plugins).context("failed to make the folder of network plugins")?;
            let entries = fs::read_dir(self.root.join("opt/cni/bin"));
            for entry in entries.context("failed to list the network plugins")? {
                let entry = entry.context("failed to list the network plugins")?;
                super::root::place(&entry.path(), &plugins.join(entry.file_name()))?;
            }
        }
        self.write("vol/cni/net.d/10-lab.conflist", &conflist(self.pods))?;
        self.write("etc/hostname", &format!("{}\n", self.name))?;
        self.write("etc/resolv.conf", &format!("nameserver {}\n", self.nameserver))?;
        self.write("etc/hosts", &format!("127.0.0.1 localhost\n{} {}\n", self.address, self.name))?;
        self.write("etc/uid_map", USER_NAMESPACE)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

/// The network of a node's pods, where the cluster has no network plugin of its own.
fn conflist(pods: u8) -> String {
    let subnet = format!("10.244.{pods}.0/24");
    serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            // No masquerading: it would need iptables in the root. Other nodes have a route.
            { "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
              "ipam": { "type": "host-local", "ranges": [[{ "subnet": subnet }]],
                        "routes": [{ "dst": "0.0.0.0/0" }] } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
    .to_string()
}

/// `ENTRY NETWORK PROGRAM…`: takes the node's lock, makes and joins its control groups and becomes unshare(1), which
/// starts `PROGRAM… ENTRY` as the first process of new namespaces, in the network of process `NETWORK`.
///
/// # Errors
/// The node runs already, or the host refuses.
pub fn join(words: &[&str]) -> Result<()> {
    let [file, network, program @ ..] = words else {
        bail!("failed to join: usage: ENTRY NETWORK PROGRAM…")
    };
    let entry = Entry::load(Path::new(file))?;
    let path = entry.folder.join("lock");
    let lock = fs::File::create(&path).with_context(|| format!("failed to open {}", path.display()))?;
    // Two machined on the same disks run side by side without complaint.
    if lock.try_lock().is_err() {
        bail!("failed to start {}: it runs already", entry.name);
    }
    // All processes of the node inherit it: it is free when the last one is gone.
    let raw = lock.as_raw_fd();
    nix::fcntl::fcntl(&lock, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
        .with_context(|| format!("failed to pass on the lock {raw}"))?;
    let groups = Groups::new(&entry.host, &entry.group);
    groups.make()?;
    groups.join()?;
    let error = Command::new("nsenter")
        .arg(format!("--net=/proc/{network}/ns/net"))
        .args([
            "unshare",
            "--fork",
            "--kill-child=KILL",
            "--pid",
            "--mount",
            "--uts",
            "--ipc",
            "--cgroup",
            "--",
        ])
        .args(program)
        .arg(file)
        .exec();
    Err(error).context("failed to start nsenter (Debian package util-linux)")
}

/// `ENTRY`: makes the node's file systems and becomes machined. Returns only when it failed.
///
/// # Errors
/// It is not the first process of a PID namespace, or a step failed.
pub fn enter(words: &[&str]) -> Result<()> {
    if std::process::id() != 1 {
        bail!("failed to enter the node: this is a part of the lab, not a command");
    }
    let [file] = words else { bail!("failed to enter the node: usage: ENTRY") };
    let entry = Entry::load(Path::new(file))?;
    entry.prepare()?;
    let config = user_data(&entry)?;
    sethostname(&entry.name).context("failed to set the host's name")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("failed to make the mounts private")?;
    let stage = entry.folder.join("m");
    let own = |name: &str| entry.folder.join(name).display().to_string();
    let layers = format!("lowerdir={},upperdir={},workdir={}", entry.root.display(), own("up"), own("work"));
    mount(Some("overlay"), &stage, Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
        .context("failed to mount the root")?;
    file_system("proc", &stage.join("proc"), "proc", "")?;
    file_system("sysfs", &stage.join("sys"), "sysfs", "")?;
    devices(&stage.join("dev"))?;
    control_groups(&entry.host, &stage.join("sys/fs/cgroup"))?;
    for name in ["run", "system", "tmp"] {
        file_system("tmpfs", &stage.join(name), "tmpfs", "mode=755")?;
    }
    fs::create_dir_all(stage.join("system/state")).context("failed to make the folder of state")?;
    for (name, place) in VOLUMES {
        bind(&entry.folder.join(name), &stage.join(place))?;
    }
    for name in ["hostname", "resolv.conf", "hosts"] {
        bind(&entry.folder.join("etc").join(name), &stage.join("etc").join(name))?;
    }
    if !entry.host.may_raise {
        bind(&entry.folder.join("etc/uid_map"), &stage.join("proc/1/uid_map"))?;
    }
    chdir(&stage).context("failed to go to the new root")?;
    // Onto itself: the old root then lies on top of the new one and is taken away by its name (pivot_root(2)).
    pivot_root(".", ".").context("failed to change the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("failed to take the old root away")?;
    chdir("/").context("failed to go to the root")?;
    let error = Command::new(MACHINED).env_clear().envs(ENVIRONMENT).env("USERDATA", config).exec();
    Err(error).with_context(|| format!("failed to start {MACHINED}"))
}

/// The configuration for the first start, as Talos's container platform wants it; empty for an installed node.
fn user_data(entry: &Entry) -> Result<String> {
    use base64::Engine as _;
    if entry.is_installed() {
        return Ok(String::new());
    }
    match fs::read(entry.folder.join(CONFIG)) {
        Ok(text) => Ok(base64::engine::general_purpose::STANDARD.encode(text)),
        // Maintenance mode.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).context("failed to read the configuration"),
    }
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("failed to bind {} to {}", source.display(), target.display()))
}

fn file_system(source: &str, target: &Path, kind: &str, options: &str) -> Result<()> {
    mount(Some(source), target, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("failed to mount {kind} at {}", target.display()))
}

/// A /dev of its own: devtmpfs would be the host's.
fn devices(dev: &Path) -> Result<()> {
    file_system("tmpfs", dev, "tmpfs", "mode=755")?;
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(name)).with_context(|| format!("failed to make /dev/{name}"))?;
    }
    for (name, major, minor) in DEVICES {
        let path = dev.join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))
            .and_then(|()| {
                nix::sys::stat::fchmodat(
                    nix::fcntl::AT_FDCWD,
                    &path,
                    Mode::from_bits_truncate(0o666),
                    nix::sys::stat::FchmodatFlags::FollowSymlink,
                )
            })
            .with_context(|| format!("failed to make /dev/{name}"))?;
    }
    file_system("devpts", &dev.join("pts"), "devpts", "newinstance,ptmxmode=0666,mode=620")?;
    file_system("shm", &dev.join("shm"), "tmpfs", "")?;
    file_system("mqueue", &dev.join("mqueue"), "mqueue", "")?;
    for (target, name) in DEVICE_LINKS {
        symlink(target, dev.join(name)).with_context(|| format!("failed to link /dev/{name}"))?;
    }
    Ok(())
}

/// The hierarchies of the host, in which the node's own groups are the roots.
fn control_groups(host: &Host, place: &Path) -> Result<()> {
    if !host.is_v1() {
        return file_system("cgroup2", place, "cgroup2", "");
    }
    file_system("tmpfs", place, "tmpfs", "mode=755")?;
    for hierarchy in &host.v1 {
        let folder = place.join(&hierarchy.name);
        fs::create_dir(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        file_system("cgroup", &folder, "cgroup", &hierarchy.options)?;
        for part in hierarchy.name.split(',').filter(|part| *part != hierarchy.name) {
            symlink(&hierarchy.name, place.join(part)).context("failed to link a control group")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(folder: &Path) -> Entry {
        let v2 =
            crate::talos::host::Hierarchy { options: String::new(), name: String::new(), own: "/".into() };
        Entry {
            name: "cp-1".to_owned(),
            host: Host { v1: Vec::new(), v2, may_raise: true },
            group: "bloomery-cp-1".to_owned(),
            root: folder.join("root"),
            folder: folder.join("node"),
            address: [10, 77, 0, 201].into(),
            nameserver: [10, 77, 0, 1].into(),
            pods: 1,
        }
    }

    #[test]
    fn a_wiped_node_is_blank_and_a_used_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let entry = entry(folder.path());
        fs::create_dir_all(entry.root.join("opt/cni/bin")).expect("a folder");
        let path = entry.save().expect("a description");
        assert_eq!(Entry::load(&path).expect("a description"), entry);
        entry.prepare().expect("a blank node");
        assert!(!entry.is_installed());
        fs::write(entry.folder.join(CONFIG), "machine: {}").expect("a write");
        assert_eq!(user_data(&entry).expect("a configuration"), "bWFjaGluZToge30=");
        fs::write(entry.folder.join(STATE).join(CONFIG), "machine: {}").expect("a write");
        fs::write(entry.folder.join("var/etcd"), "members").expect("a write");
        assert!(entry.is_installed());
        assert_eq!(user_data(&entry).expect("none"), "", "the disk's own counts");
        entry.prepare().expect("a used node");
        assert!(entry.folder.join("var/etcd").exists());
        entry.wipe().expect("a blank node");
        assert!(!entry.is_installed() && !entry.folder.join("var").exists());
        assert!(!entry.folder.join(CONFIG).exists() && path.exists());
        entry.wipe().expect("twice is once");
    }

    #[test]
    fn nothing_is_entered_outside_of_namespaces() {
        let error = enter(&["/nowhere"]).expect_err("this is not PID 1");
        assert!(error.to_string().contains("not a command"), "{error}");
    }

    #[test]
    fn every_node_has_a_network_for_its_pods() {
        let list: serde_json::Value = serde_json::from_str(&conflist(7)).expect("JSON");
        assert_eq!(list["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.7.0/24");
    }
}
