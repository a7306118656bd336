//! `bloomery service` and `bloomery logs` against a real appliance server.

use crate::run::bloomery;
use crate::site::Site;
use crate::status::paired;

#[tokio::test]
async fn services_are_listed_and_told() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let run = |words: &'static [&'static str]| {
        let kubeconfig = kubeconfig.clone();
        async move { bloomery(&[words, &["--kubeconfig", &kubeconfig]].concat(), "").await }
    };
    let list = run(&["service", "list"]).await;
    assert!(list.success, "{}", list.stderr);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert!(lines[1].starts_with("etcd     running") && lines[1].ends_with("no: it is needed"), "{lines:?}");
    assert!(lines[2].starts_with("worker   held") && lines[2].ends_with("yes"), "{lines:?}");

    let held = run(&["service", "hold", "worker"]).await;
    assert!(held.success, "{}", held.stderr);
    assert_eq!(
        held.stdout,
        "worker: held; `bloomery service start worker` ends that, and so does a restart of the appliance\n"
    );
    let started = run(&["service", "start", "worker", "-o", "json"]).await;
    let started: serde_json::Value = serde_json::from_str(&started.stdout).unwrap();
    assert_eq!(started, serde_json::json!({"service": "worker", "state": "starting"}));
    assert!(run(&["service", "restart", "etcd"]).await.success);

    for (words, told) in [
        (&["service", "hold", "etcd"][..], "etcd cannot be held: it is needed"),
        (&["service", "start", "nothing"], "there is no service \"nothing\""),
        (&["service", "start", "../x"], "`bloomery service list` shows them"),
        (&["logs", "--service", "nothing"], "there is no service \"nothing\""),
        (&["logs", "--service", "a/b"], "`bloomery service list` shows them"),
    ] {
        let run = run(words).await;
        assert!(!run.success && run.stdout.is_empty(), "{words:?}: {}", run.stdout);
        assert!(run.stderr.contains(told), "{words:?}: {}", run.stderr);
    }
}

#[tokio::test]
async fn a_log_is_shown_and_followed() {
    use std::process::Stdio;
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    for line in ["one", "two", "\u{1b}[2Jthree"] {
        site.machine.write_log(line);
    }
    let shown =
        bloomery(&["logs", "--service", "worker", "--tail", "2", "--kubeconfig", &kubeconfig], "").await;
    assert!(shown.success, "{}", shown.stderr);
    assert_eq!(shown.stdout, "two\n\u{fffd}[2Jthree\n");

    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_bloomery"))
        .args(["logs", "--service", "worker", "-f", "--tail", "1", "--kubeconfig", &kubeconfig])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next_line().await.unwrap().unwrap().ends_with("three"));
    for line in ["four", "five"] {
        site.machine.write_log(line);
        assert_eq!(lines.next_line().await.unwrap().unwrap(), line);
    }
}
