//! Networks of a test's own: the test runs itself again inside namespaces, so that neither root nor this host's network
//! is needed.
//!
//! Never touches an interface outside of them.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::scaled;
use bloomery_sys::process::end_with_starter;
use nix::sched::{CloneFlags, setns};

/// Set in the run inside of the namespaces.
const INSIDE: &str = "BLOOMERY_TEST_INSIDE";
/// This thread's network.
const OWN: &str = "/proc/thread-self/ns/net";

/// Runs `body` as root of a new user namespace with a network of its own. `test` is the calling test's own name, which no
/// other test's contains.
pub fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        return body();
    }
    let output = end_with_starter(&mut Command::new("unshare"))
        // Its children end with it, however it ends.
        .args(["-Urn", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare (Debian package util-linux) starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("test result: ok. 1 passed"),
        "{test} in namespaces failed (where user namespaces are forbidden, run it as root): {}\n{}\n{}",
        output.status,
        said,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// Runs `ip` in this thread's network.
pub fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip (iproute2) starts");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A limit for a wait, scaled by the environment variable PATIENCE for slow machines.
pub fn limit(seconds: u64) -> Duration {
    scaled(Duration::from_secs(seconds))
}

/// Repeats `attempt` until it gives something, or fails with what it said last.
pub fn until<T>(what: &str, seconds: u64, attempt: impl FnMut() -> Result<T, String>) -> T {
    crate::until(Duration::from_secs(seconds), what, attempt)
}

/// Another network, joined to ours by cables; it ends with the value.
pub struct Network {
    /// Holds it open until its input ends, which happens whenever this process ends.
    holder: Child,
    handle: File,
}

impl Network {
    /// One without any cable.
    #[allow(clippy::new_without_default, reason = "it starts a process")]
    pub fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut word = [0; 5];
        holder.stdout.as_mut().unwrap().read_exact(&mut word).expect("the other network is there");
        let handle = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
        Self { holder, handle }
    }

    /// Does something there; sockets that it opens stay there.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let own = File::open(OWN).unwrap();
        setns(self.handle.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        let done = work();
        setns(own.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        done
    }

    /// Lays a cable: our end `here` with its address and prefix, the other end `there` with its own or none.
    pub fn cable(&self, (here, ours): (&str, &str), (there, theirs): (&str, Option<&str>)) {
        ip(&format!("link add {here} type veth peer name {there} netns {}", self.holder.id()));
        ip(&format!("addr add {ours} broadcast + dev {here}"));
        ip(&format!("link set {here} up"));
        self.within(|| {
            ip(&format!("link set {there} up"));
            if let Some(theirs) = theirs {
                ip(&format!("addr add {theirs} broadcast + dev {there}"));
            }
            // Strict reverse path filtering, a setting of some hosts, drops answers to a link without address.
            for name in ["all", there] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0").unwrap();
            }
        });
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
