//! A private network with a real ISC dhcpd on the other side, for the tests beside this file.
//!
//! Each test runs itself again inside namespaces of its own (`unshare`), so that neither root nor this host's
//! network is needed. It must never touch an interface outside of them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bloomery_hostnet::dhcp::{Client, Config, Event, Timing};
use bloomery_hostnet::link::Watch;
use bloomery_hostnet::{Link, Netlink};
use tempfile::TempDir;

/// Set in the run inside of the namespaces.
const INSIDE: &str = "HOSTNET_TEST_INSIDE";
/// The client's end of the cable.
pub(crate) const CLIENT: &str = "eth0";
/// The other end, a port of the server's bridge: the server stays up when the cable is unplugged.
const PORT: &str = "port0";
const SERVER: &str = "br0";
/// dhcpd's last word before it serves.
const READY: &str = "Server starting service.";
/// Where Debian's package isc-dhcp-server has it. A copy is run: `AppArmor` confines this path.
const DHCPD: &str = "/usr/sbin/dhcpd";
/// Where `make setup` unpacks it, so that no DHCP service gets installed on this machine.
const UNPACKED_DHCPD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../out/tools/dhcpd");

/// What the namespaces are made with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// As anybody: a user namespace in which we are root.
    User,
    /// As root: only a network namespace.
    Root,
}

/// Runs `body` inside new namespaces. `test` is the calling test's own name.
pub(crate) fn inside<F: Future<Output = ()>>(mode: Mode, test: &str, body: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::stderr).init();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body());
    }
    let flags = match mode {
        Mode::User => "-Urn",
        Mode::Root => "-n",
    };
    let output = Command::new("unshare")
        .arg(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (Debian package util-linux) starts");
    assert!(
        output.status.success(),
        "{test} in `unshare {flags}` failed: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// A limit for a wait, scaled by the environment variable PATIENCE for slow machines.
pub(crate) fn limit(seconds: u64) -> Duration {
    let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds * patience)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A cable with the client's end here and the server's end in a namespace of its own.
pub(crate) struct Network {
    pub(crate) dir: TempDir,
    holder: Child,
    server: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Network {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dhcpd = [UNPACKED_DHCPD, DHCPD].into_iter().find(|path| Path::new(path).exists());
        let dhcpd = dhcpd.expect("dhcpd is there: `make setup` unpacks it");
        fs::copy(dhcpd, dir.path().join("dhcpd")).expect("dhcpd is copied");
        // `cat` holds the namespace until its input ends, which happens whenever this process ends.
        let holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut network = Self { dir, holder, server: None, log: Arc::default() };
        network.wait_for_holder();
        let pid = network.holder.id().to_string();
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", CLIENT, "type", "veth", "peer", "name", PORT, "netns", &pid]);
        // Strict reverse path filtering, a setting of some hosts, drops answers to a link without address.
        for name in ["all", CLIENT] {
            fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0").unwrap();
        }
        network.server_ip(&["link", "add", SERVER, "type", "bridge", "forward_delay", "0", "stp_state", "0"]);
        network.server_ip(&["link", "set", PORT, "master", SERVER, "up"]);
        network.server_ip(&["link", "set", SERVER, "up"]);
        network
    }

    fn wait_for_holder(&mut self) {
        use std::io::Read as _;
        let mut word = [0; 5];
        self.holder.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
        assert_eq!(&word, b"ready");
    }

    /// Runs `ip` in the server's namespace.
    pub(crate) fn server_ip(&self, arguments: &[&str]) {
        let namespace = format!("--net=/proc/{}/ns/net", self.holder.id());
        run("nsenter", &[&[namespace.as_str(), "ip"], arguments].concat());
    }

    /// Gives the server's end an address.
    pub(crate) fn serve_from(&self, address: &str) {
        self.server_ip(&["addr", "flush", "dev", SERVER]);
        self.server_ip(&["addr", "add", address, "dev", SERVER]);
    }

    /// Takes the carrier from the client's end and waits until it knows.
    pub(crate) async fn unplug(&self, netlink: &Netlink) {
        self.server_ip(&["link", "set", PORT, "down"]);
        wait_for_carrier(netlink, false).await;
    }

    /// Gives it back.
    pub(crate) async fn plug(&self, netlink: &Netlink) {
        self.server_ip(&["link", "set", PORT, "up"]);
        wait_for_carrier(netlink, true).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts dhcpd with this configuration, keeping its leases, and waits until it serves.
    pub(crate) fn start_dhcpd(&mut self, configuration: &str) {
        self.stop_dhcpd();
        let (conf, leases) = (self.path("dhcpd.conf"), self.path("dhcpd.leases"));
        fs::write(&conf, configuration).unwrap();
        File::options().create(true).append(true).open(&leases).unwrap();
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg(self.path("dhcpd"))
            .args(["-4", "-f", "-d", "--no-pid", "-cf"])
            .arg(conf)
            .arg("-lf")
            .arg(leases)
            .arg(SERVER)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = (BufReader::new(child.stderr.take().unwrap()).lines(), self.log.clone());
        self.server = Some(child);
        let (ready, serving) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().extend([line.as_str(), "\n"]);
                if line == READY {
                    let _ = ready.send(());
                }
            }
        });
        assert!(serving.recv_timeout(limit(10)).is_ok(), "dhcpd does not serve:\n{}", self.log());
    }

    pub(crate) fn stop_dhcpd(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// What dhcpd said so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.path("resolv.conf")
    }

    /// Starts a client on the client's end that asks more often than people should.
    pub(crate) async fn client(&self, netlink: &Netlink) -> Client {
        let link = client_link(netlink).await;
        let mut config = Config::new(link.index, &link.name, link.mac.unwrap());
        config.resolv_conf = Some(self.resolv_conf());
        config.timing = Timing {
            first_wait: Duration::from_millis(300),
            longest_wait: Duration::from_secs(1),
            jitter: Duration::from_millis(50),
            shortest_extension_wait: Duration::from_millis(500),
            notice: Duration::from_millis(500),
            ..Timing::default()
        };
        Client::start(netlink.clone(), config)
    }

    /// Waits for an event that `wanted` accepts, and returns it.
    pub(crate) async fn event(
        &self,
        client: &mut Client,
        what: &str,
        wanted: impl Fn(&Event) -> bool,
    ) -> Event {
        let mut seen = Vec::new();
        let found = tokio::time::timeout(limit(30), async {
            loop {
                let event = client.next().await.expect("the client lives");
                if wanted(&event) {
                    return event;
                }
                seen.push(event);
            }
        });
        let Ok(event) = found.await else {
            panic!("no event {what:?} in {:?}; seen: {seen:#?}\ndhcpd: {}", limit(30), self.log())
        };
        event
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop_dhcpd();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Waits until the client's link has a carrier, or none.
pub(crate) async fn wait_for_carrier(netlink: &Netlink, there: bool) {
    let mut watch = Watch::open().unwrap();
    let changed = tokio::time::timeout(limit(10), async {
        while client_link(netlink).await.carrier != there {
            watch.next().await.unwrap();
        }
    });
    changed.await.expect("the carrier changes");
}

pub(crate) async fn client_link(netlink: &Netlink) -> Link {
    let links = netlink.links().await.unwrap();
    links.into_iter().find(|link| link.name == CLIENT).expect("the client's end is there")
}

/// The routes of the client's end as `ip route` prints them.
pub(crate) fn routes() -> String {
    let output = Command::new("ip").args(["route", "show", "dev", CLIENT]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
