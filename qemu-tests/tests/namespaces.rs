//! The lab's network with no virtual machine in it: what it makes, what it leaves behind.
#![allow(clippy::expect_used, reason = "in a test, a broken expectation is the failure")]

use bloomery_lab::{
    contract::LAB_ADDRESS,
    dhcpd::Dhcpd,
    eventually,
    net::{Helper, Net},
    state::LabDir,
};
use std::{path::Path, sync::Arc, time::Duration};

/// Everything here takes a second at most on an idle machine.
const LIMIT: Duration = Duration::from_secs(10);

fn helper() -> Helper {
    Helper { program: env!("CARGO_BIN_EXE_bloomery-lab-supervisor").into(), arguments: Vec::new() }
}

async fn start(folder: &Path) -> (Arc<LabDir>, Net) {
    let dir = Arc::new(LabDir::open(folder, false).await.expect("a free folder"));
    let net = Net::start(Arc::clone(&dir), &helper()).await.expect("a private network");
    (dir, net)
}

/// Names of the network devices that this process sees.
fn host_links() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir("/sys/class/net")
        .expect("sysfs")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Whether a process whose command line contains `mark` runs anywhere on this host.
fn runs(mark: &str) -> bool {
    std::fs::read_dir("/proc").expect("procfs").filter_map(Result::ok).any(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).replace('\0', " ").contains(mark))
    })
}

#[tokio::test]
async fn host_network_is_untouched_and_nothing_is_left_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = host_links();
    let (dir, net) = start(folder.path()).await;
    net.add_tap("tap1").await.expect("a tap device");
    assert!(net.has_link("tap1").await.expect("an answer"));
    assert!(!net.has_link("tap2").await.expect("an answer"));
    assert_eq!(host_links(), before);

    let dhcpd = Dhcpd::start(&dir, &net).await.expect("dhcpd");
    let mark = dir.path("run/dhcpd").display().to_string();
    eventually!("dhcpd listens", LIMIT, None, async {
        let log = std::fs::read_to_string(dir.path("dhcpd.log"))?;
        anyhow::ensure!(dhcpd.process.exit().is_none(), "dhcpd ended: {log}");
        Ok::<_, anyhow::Error>(log.contains("Server starting service").then_some(()))
    })
    .expect("dhcpd serves the bridge");
    assert!(runs(&mark));

    net.stop().await.expect("an orderly end");
    assert!(!runs(&mark));
    assert_eq!(host_links(), before);
}

#[tokio::test]
async fn host_reaches_the_inside_through_a_socket() {
    use tokio::io::AsyncReadExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (dir, net) = start(folder.path()).await;
    std::fs::write(dir.path("greeting"), "hello from inside\n").expect("a write");
    let argv = ["busybox", "nc", "-l", "-p", "7000", "-e", "cat", "greeting"].map(str::to_owned).to_vec();
    net.spawn("listener", argv, "listener.log").await.expect("a listener");
    let said = eventually!("the listener greets", LIMIT, None, async {
        let mut stream = net.connect((LAB_ADDRESS, 7000).into()).await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok::<_, anyhow::Error>((!said.is_empty()).then_some(said))
    })
    .expect("a connection");
    assert_eq!(said, "hello from inside\n");
    net.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn failed_command_says_what_and_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_dir, net) = start(folder.path()).await;
    let error =
        net.run(&["ip", "link", "set", "nowhere", "up"], "").await.expect_err("there is no such device");
    let text = format!("{error:#}");
    assert!(text.contains("ip link set nowhere up") && text.contains("nowhere"), "{text}");
    net.stop().await.expect("an orderly end");
}

#[tokio::test]
async fn child_that_ends_is_reported_and_can_be_started_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_dir, net) = start(folder.path()).await;
    for _ in 0..2 {
        let mut child = net.spawn("child", vec!["false".to_owned()], "child.log").await.expect("a child");
        assert_eq!(child.ended().await, "exit status: 1");
    }
    let mut sleeper =
        net.spawn("child", vec!["sleep".to_owned(), "1000".to_owned()], "child.log").await.expect("a child");
    assert_eq!(sleeper.exit(), None);
    net.kill(&mut sleeper).await.expect("a kill");
    assert_eq!(sleeper.ended().await, "signal: 9 (SIGKILL)");
    net.stop().await.expect("an orderly end");
}

/// Folder of [`victim`].
const VICTIM_FOLDER: &str = "BLOOMERY_TEST_VICTIM_FOLDER";
/// An argument that no other process has, for [`victim`] of this process.
fn victims_seconds(client: u32) -> String {
    format!("1{client:09}")
}

/// A client that starts a child in the lab and waits to be killed.
#[tokio::test]
#[ignore = "a part of nothing_outlives_a_killed_client, which runs it as a process of its own"]
async fn victim() {
    let Some(folder) = std::env::var_os(VICTIM_FOLDER) else { return };
    let (_dir, net) = start(Path::new(&folder)).await;
    let seconds = victims_seconds(std::os::unix::process::parent_id());
    let argv = vec!["sleep".to_owned(), seconds];
    let mut sleeper = net.spawn("sleeper", argv, "sleeper.log").await.expect("a child");
    sleeper.ended().await;
}

#[tokio::test]
async fn nothing_outlives_a_killed_client() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut client = tokio::process::Command::new(std::env::current_exe().expect("this test's file"))
        .args(["--exact", "victim", "--ignored"])
        .env(VICTIM_FOLDER, folder.path())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a client");
    let mark = format!("sleep {}", victims_seconds(std::process::id()));
    eventually!("the child runs", LIMIT, None, async {
        Ok::<_, std::convert::Infallible>(runs(&mark).then_some(()))
    })
    .expect("a child");
    client.kill().await.expect("SIGKILL");
    eventually!("the child is gone", LIMIT, None, async {
        Ok::<_, std::convert::Infallible>((!runs(&mark)).then_some(()))
    })
    .expect("the kernel ended it");
    // The folder is free for the next lab, at once.
    let (_dir, net) = start(folder.path()).await;
    net.stop().await.expect("an orderly end");
}
