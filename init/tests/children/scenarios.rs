//! One user-visible promise each.

use super::bench::{
    Bench, LOG_BYTES, answering, eventually, free_port, is_alive, one_shot, patience, pids_in, script,
};
use bloomery_sys::process::{Signal, signal};
use init::status::ServiceState;
use init::supervise::cgroup::Cgroups;
use init::supervise::limits::{Limits, MemoryLimit};
use init::supervise::service::File;
use init::supervise::{Command, CommandError};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

type Scenario = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// All of them.
pub(crate) const ALL: [(&str, Scenario); 18] = [
    ("restarts_after_crash_with_growing_delay", || Box::pin(restarts_after_crash())),
    ("restarts_a_killed_child", || Box::pin(restarts_a_killed_child())),
    ("ends_and_restarts_a_child_that_never_gets_ready", || Box::pin(never_ready())),
    ("ends_and_restarts_a_child_that_hangs_later", || Box::pin(hangs_later())),
    ("kills_a_child_that_ignores_sigterm", || Box::pin(ignores_sigterm())),
    ("collects_orphans", || Box::pin(collects_orphans())),
    ("leaves_nothing_of_a_child_that_daemonises", || Box::pin(daemonises())),
    ("ends_process_groups_without_control_groups", || Box::pin(without_control_groups())),
    ("bounds_endless_output_and_serves_the_others", || Box::pin(endless_output())),
    ("repeats_a_one_shot_until_it_succeeds", || Box::pin(repeats_a_one_shot())),
    ("starts_in_order_and_stops_in_reverse", || Box::pin(order())),
    ("starts_beside_a_dependency_that_it_waits_for_itself", || Box::pin(waits_itself())),
    ("restarts_when_its_settings_change", || Box::pin(settings_change())),
    ("gives_each_child_its_limits", || Box::pin(limits_are_given())),
    ("ends_a_child_that_eats_memory_and_serves_the_others", || Box::pin(eats_memory())),
    ("supervises_on_after_a_panic_and_leaves_no_child_behind", || Box::pin(supervision_panics())),
    ("holds_a_service_while_its_dependents_go_on", || Box::pin(holds())),
    ("says_why_a_program_cannot_be_started", || Box::pin(cannot_be_started())),
];

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

async fn restarts_after_crash() {
    let dir = tempdir();
    let service = script(dir.path(), "crasher", free_port(), "echo last words $$; exit 3");
    let bench = Bench::start(dir, vec![service]);
    bench.until("crasher", "restarted 4 times", |snapshot| snapshot.restarts >= 4).await;
    bench.until_shown("| last words").await;
    let lines = bench.console();
    for delay in ["50 ms", "100 ms", "200 ms", "400 ms"] {
        let shown = lines.iter().any(|line| {
            line.starts_with("crasher: exited with status 3 after")
                && line.ends_with(&format!("; restarting in {delay}"))
        });
        assert!(shown, "{delay}: {lines:#?}");
    }
    assert_eq!(bench.snapshot("crasher").last_exit.as_deref(), Some("exited with status 3"));
    bench.stop().await;
}

async fn restarts_a_killed_child() {
    let (dir, port) = (tempdir(), free_port());
    let service = script(dir.path(), "steady", port, &format!("exec {}", answering(port, "")));
    let bench = Bench::start(dir, vec![service]);
    let first = bench.until("steady", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    let pid = first.pid.expect("a process");
    signal(pid, Signal::SIGKILL).expect("killed");
    bench.until("steady", "restarted", |snapshot| snapshot.pid.is_some_and(|new| new != pid)).await;
    bench.until("steady", "running again", |snapshot| snapshot.state == ServiceState::Running).await;
    assert_eq!(bench.snapshot("steady").last_exit.as_deref(), Some("killed by SIGKILL"));
    bench.stop().await;
}

async fn never_ready() {
    let dir = tempdir();
    let mut service = script(dir.path(), "sleeper", free_port(), "echo $$ >> pids; exec sleep 1000");
    service.policy.start_timeout = Duration::from_millis(300);
    let bench = Bench::start(dir, vec![service]);
    bench.until("sleeper", "restarted", |snapshot| snapshot.restarts >= 1).await;
    bench.until_shown("sleeper: not ready after").await;
    assert_eq!(bench.snapshot("sleeper").last_exit.as_deref(), Some("killed by SIGTERM"));
    let pids = bench.dir.path().join("pids");
    eventually("the first sleeper is gone", || match pids_in(&pids).first() {
        Some(first) if !is_alive(*first) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    bench.stop().await;
}

async fn hangs_later() {
    let (dir, port) = (tempdir(), free_port());
    let service = script(dir.path(), "hanger", port, &format!("exec {}", answering(port, "1")));
    let bench = Bench::start(dir, vec![service]);
    bench.until("hanger", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    bench.until("hanger", "unready", |snapshot| snapshot.state == ServiceState::Unready).await;
    bench.until("hanger", "restarted", |snapshot| snapshot.restarts >= 1).await;
    bench.until_shown("hanger: not answering for").await;
    bench.stop().await;
}

async fn ignores_sigterm() {
    let dir = tempdir();
    let text = "trap '' TERM; echo $$ > pids; while :; do sleep 0.05; done";
    let mut service = script(dir.path(), "stubborn", free_port(), text);
    service.policy.stop_grace = Duration::from_millis(400);
    let bench = Bench::start(dir, vec![service]);
    let pids = bench.dir.path().join("pids");
    eventually("the child ignores SIGTERM", || match pids_in(&pids).first() {
        Some(_) => Ok(()),
        None => Err("no pid yet".to_owned()),
    })
    .await;
    let pid = pids_in(&pids)[0];
    let asked = Instant::now();
    bench.supervisor.stop().await;
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(400), "the grace was not given: {took:?}");
    assert!(took < patience(Duration::from_secs(5)), "killed after {took:?}");
    assert!(!is_alive(pid));
    assert!(bench.console().iter().any(|line| line == "stubborn: did not end in time; killed"));
    assert_eq!(bench.snapshot("stubborn").last_exit.as_deref(), Some("killed by SIGKILL"));
}

async fn collects_orphans() {
    let (dir, port) = (tempdir(), free_port());
    // Each subshell's child is orphaned at once and ends a little later, with us as its parent.
    let text = format!(
        "for i in 1 2 3 4 5 6 7 8; do (sh -c 'echo $$ >> pids; exec sleep 0.1' &) ; done\nexec {}",
        answering(port, "")
    );
    let service = script(dir.path(), "parent", port, &text);
    let bench = Bench::start(dir, vec![service]);
    bench.until("parent", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    let pids = bench.dir.path().join("pids");
    eventually("all orphans are collected", || {
        let pids = pids_in(&pids);
        let left: Vec<_> =
            pids.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()).collect();
        if pids.len() == 8 && left.is_empty() {
            Ok(())
        } else {
            Err(format!("{} started, left: {left:?}", pids.len()))
        }
    })
    .await;
    bench.stop().await;
}

async fn daemonises() {
    let dir = tempdir();
    // The main process ends well and leaves a process in a session of its own.
    let text =
        "setsid sh -c 'echo $$ >> pids; exec sleep 1000' &\nwhile [ ! -s pids ]; do sleep 0.01; done; exit 0";
    let service = script(dir.path(), "forker", free_port(), text);
    let group = format!("bloomery-test-{}", std::process::id());
    let cgroups = Cgroups::named(&group);
    if !cgroups.are_there() {
        assert!(
            std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some(),
            "no control groups can be made here: run this test as root, or leave out what cannot run here with \
             BLOOMERY_INCOMPLETE_TESTS=1"
        );
        return;
    }
    let bench = Bench::start_with(dir, vec![service], cgroups);
    let snapshot = bench.until("forker", "restarted twice", |snapshot| snapshot.restarts >= 2).await;
    assert_eq!(snapshot.last_exit.as_deref(), Some("exited with status 0"), "ending is a crash for a daemon");
    let pids = bench.dir.path().join("pids");
    bench.supervisor.stop().await;
    eventually("no daemon is left", || {
        let alive: Vec<u32> = pids_in(&pids).into_iter().filter(|pid| is_alive(*pid)).collect();
        if alive.is_empty() { Ok(()) } else { Err(format!("{alive:?}")) }
    })
    .await;
}

async fn without_control_groups() {
    let dir = tempdir();
    let text = "sh -c 'trap \"\" TERM; echo $$ >> pids; while :; do sleep 0.05; done' &\nwait";
    let service = script(dir.path(), "family", free_port(), text);
    let bench = Bench::start_with(dir, vec![service], Cgroups::none());
    let pids = bench.dir.path().join("pids");
    eventually(
        "the grandchild runs",
        || if pids_in(&pids).is_empty() { Err("no".to_owned()) } else { Ok(()) },
    )
    .await;
    bench.supervisor.stop().await;
    eventually("the grandchild is gone", || {
        let pid = pids_in(&pids)[0];
        if is_alive(pid) { Err(format!("{pid} lives")) } else { Ok(()) }
    })
    .await;
}

async fn endless_output() {
    let (dir, port) = (tempdir(), free_port());
    let babbler = script(dir.path(), "babbler", free_port(), "exec yes babble babble babble");
    let steady = script(dir.path(), "steady", port, &format!("exec {}", answering(port, "")));
    let bench = Bench::start(dir, vec![babbler, steady]);
    bench.until("steady", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    let (log, old) = (bench.dir.path().join("babbler.log"), bench.dir.path().join("babbler.log.1"));
    eventually(
        "the log has been turned over",
        || if old.exists() { Ok(()) } else { Err("not yet".to_owned()) },
    )
    .await;
    // Many turns later it is still bounded, and the other service is still answered and restarted at once.
    let pid = bench.snapshot("steady").pid.expect("a process");
    signal(pid, Signal::SIGKILL).expect("killed");
    bench.until("steady", "restarted", |snapshot| snapshot.pid.is_some_and(|new| new != pid)).await;
    for path in [&log, &old] {
        let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        assert!(length <= LOG_BYTES, "{} has {length} bytes", path.display());
    }
    bench.stop().await;
}

async fn repeats_a_one_shot() {
    let (dir, port) = (tempdir(), free_port());
    let first = one_shot(dir.path(), "setup", "echo try >> tries; test $(wc -l < tries) -ge 3");
    let mut second =
        script(dir.path(), "after", port, &format!("cp tries seen; exec {}", answering(port, "")));
    second.after = &["setup"];
    let bench = Bench::start(dir, vec![second, first]);
    bench.until("after", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    assert_eq!(bench.snapshot("setup").state, ServiceState::Finished);
    assert_eq!(std::fs::read_to_string(bench.dir.path().join("seen")).expect("tries"), "try\ntry\ntry\n");
    bench.stop().await;
}

async fn order() {
    let dir = tempdir();
    let ports = [free_port(), free_port(), free_port()];
    let service = |name: &'static str, port: u16, after: &'static [&'static str]| {
        let text = format!(
            "echo start {name} >> events\ntrap 'kill $child; echo stop {name} >> events; exit 0' TERM\n{} &\nchild=$!\nwait",
            answering(port, "")
        );
        let mut service = script(dir.path(), name, port, &text);
        service.after = after;
        service
    };
    let services = vec![
        service("third", ports[2], &["second"]),
        service("first", ports[0], &[]),
        service("second", ports[1], &["first"]),
    ];
    let bench = Bench::start(dir, services);
    bench.until("third", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    bench.supervisor.stop().await;
    let events = std::fs::read_to_string(bench.dir.path().join("events")).expect("events");
    let expected = "start first\nstart second\nstart third\nstop third\nstop second\nstop first\n";
    assert_eq!(events, expected);
}

async fn waits_itself() {
    let dir = tempdir();
    // It never answers: a service that needed it ready would never start.
    let slow = script(dir.path(), "slow", free_port(), "exec sleep 600");
    let port = free_port();
    let mut beside = script(dir.path(), "beside", port, &format!("exec {}", answering(port, "")));
    beside.after = &["slow"];
    beside.waits_itself_for = &["slow"];
    let bench = Bench::start(dir, vec![beside, slow]);
    bench.until("beside", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    bench.stop().await;
}

async fn settings_change() {
    let (dir, port) = (tempdir(), free_port());
    let text =
        format!("echo $SETTING >> settings; cat options.json >> settings; exec {}", answering(port, ""));
    let mut service = script(dir.path(), "configured", port, &text);
    service.env.insert("SETTING", "one".to_owned());
    let path = dir.path().join("options.json");
    service.file = Some(File { path: path.clone(), text: "first\n".to_owned() });
    let bench = Bench::start(dir, vec![service.clone()]);
    let first =
        bench.until("configured", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    bench.supervisor.change(service.clone());
    service.env.insert("SETTING", "two".to_owned());
    service.file = Some(File { path: path.clone(), text: "second\n".to_owned() });
    bench.supervisor.change(service);
    bench
        .until("configured", "running again", |snapshot| {
            snapshot.state == ServiceState::Running && snapshot.pid != first.pid
        })
        .await;
    assert_eq!(
        std::fs::read_to_string(bench.dir.path().join("settings")).expect("settings"),
        "one\nfirst\ntwo\nsecond\n"
    );
    let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    bench.stop().await;
}

async fn cannot_be_started() {
    let dir = tempdir();
    let mut service = script(dir.path(), "missing", free_port(), "");
    service.program = "/nonexistent/program".into();
    let bench = Bench::start(dir, vec![service]);
    bench.until("missing", "tried again", |snapshot| snapshot.restarts >= 2).await;
    let lines = bench.console();
    let said = lines.iter().any(|line| {
        line.starts_with("missing: failed to execute \"/nonexistent/program\"")
            && line.contains("restarting in")
    });
    assert!(said, "{lines:#?}");
    bench.stop().await;
}

async fn limits_are_given() {
    let (dir, port) = (tempdir(), free_port());
    let text = format!(
        "ulimit -Sn > limits; ulimit -Hn >> limits; cat /proc/self/oom_score_adj >> limits; ulimit -d >> limits\n\
         group=$(sed -n s,^0::,,p /proc/self/cgroup)\n\
         for mount in /sys/fs/cgroup /sys/fs/cgroup/unified; do cat $mount$group/memory.max 2>/dev/null; done > memory\n\
         exec {}",
        answering(port, "")
    );
    let mut service = script(dir.path(), "limited", port, &text);
    service.limits =
        Limits { open_files: 4_000, memory: MemoryLimit { percent: 0, floor_mib: 300 }, oom_score_adj: 789 };
    let bench = Bench::start(dir, vec![service]);
    bench.until("limited", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    let read = |name: &str| std::fs::read_to_string(bench.dir.path().join(name)).expect("what it saw");
    if bench.shared.cgroups.limit_memory() {
        assert_eq!(read("limits"), "4000\n4000\n789\nunlimited\n");
        assert_eq!(read("memory"), format!("{}\n", 300 << 20));
    } else {
        assert_eq!(read("limits"), format!("4000\n4000\n789\n{}\n", 600 << 10));
    }
    bench.stop().await;
}

async fn eats_memory() {
    let (dir, port, other) = (tempdir(), free_port(), free_port());
    let mut eater = script(dir.path(), "eater", port, &format!("exec {}", answering(port, "eat")));
    eater.limits.memory = MemoryLimit { percent: 0, floor_mib: 48 };
    let steady = script(dir.path(), "steady", other, &format!("exec {}", answering(other, "")));
    let bench = Bench::start(dir, vec![eater, steady]);
    let first = bench.until("steady", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    bench.until("eater", "restarted twice", |snapshot| snapshot.restarts >= 2).await;
    let end = bench.snapshot("eater").last_exit.expect("an end");
    let by_the_kernel = end == "killed by SIGKILL: out of memory (its limit is 48 MiB)";
    assert!(by_the_kernel || end == "killed by SIGABRT", "{end}");
    assert_eq!(by_the_kernel, bench.shared.cgroups.limit_memory(), "{end}");
    let now = bench.snapshot("steady");
    assert_eq!((now.pid, now.restarts, now.state), (first.pid, 0, ServiceState::Running));
    bench.stop().await;
}

async fn holds() {
    let dir = tempdir();
    let ports = [free_port(), free_port(), free_port()];
    let base = format!(
        "touch up; trap 'rm -f up; kill $child; exit 0' TERM\n{} &\nchild=$!\nwait",
        answering(ports[0], "")
    );
    let up = dir.path().join("up").display().to_string();
    let follows = |port| format!("exec {}", answering(port, &format!("while {up}")));
    let base = script(dir.path(), "base", ports[0], &base);
    let mut dependent = script(dir.path(), "dependent", ports[1], &follows(ports[1]));
    dependent.after = &["base"];
    // It fails its probes at the same time as the dependent, and has nobody to blame.
    let mut alone = script(dir.path(), "alone", ports[2], &follows(ports[2]));
    alone.policy.start_timeout = patience(Duration::from_mins(1));
    for service in [&mut dependent, &mut alone] {
        // Several probes fail before a service counts as hung, as in the product.
        service.probe_timeout = patience(Duration::from_millis(200));
        service.policy.hang_timeout = patience(Duration::from_millis(1500));
    }
    let bench = Bench::start(dir, vec![base.clone(), dependent, alone]);
    let running = |snapshot: &init::supervise::Snapshot| snapshot.state == ServiceState::Running;
    let first = bench.until("base", "running", running).await.pid.expect("a process");
    let dependents = bench.until("dependent", "running", running).await.pid.expect("a process");
    bench.until("alone", "running", running).await;

    let held = bench.supervisor.tell("base", Command::Hold).await.expect("held");
    assert_eq!((held.state, held.pid), (ServiceState::Held, None));
    assert!(!is_alive(first), "a hold returns when the process has ended");
    bench.until_shown("base: held").await;
    bench.until("alone", "restarted", |snapshot| snapshot.restarts >= 1).await;
    let now = bench.snapshot("dependent");
    assert_eq!((now.pid, now.restarts, now.state), (Some(dependents), 0, ServiceState::Unready));

    // Neither a new definition nor a restart ends the hold, and a dependent that crashes waits for its end.
    bench.supervisor.change(init::supervise::service::Service { generation: 1, ..base });
    assert_eq!(bench.supervisor.tell("base", Command::Restart).await, Err(CommandError::Held("base")));
    signal(dependents, Signal::SIGKILL).expect("killed");
    bench.until("dependent", "waiting", |snapshot| snapshot.state == ServiceState::Waiting).await;
    assert_eq!(bench.snapshot("base").state, ServiceState::Held);

    bench.supervisor.tell("base", Command::Start).await.expect("started");
    let second = bench.until("base", "running", running).await.pid.expect("a process");
    let dependents = bench.until("dependent", "running", running).await.pid.expect("a process");

    bench.supervisor.tell("base", Command::Restart).await.expect("restarted");
    bench
        .until("base", "another process", |snapshot| running(snapshot) && snapshot.pid != Some(second))
        .await;
    assert_eq!(bench.snapshot("dependent").pid, Some(dependents), "goes on over a restart");

    let unknown = bench.supervisor.tell("nothing", Command::Hold).await;
    assert_eq!(unknown, Err(CommandError::Unknown("nothing".to_owned())));
    bench.supervisor.tell("base", Command::Hold).await.expect("held");
    tokio::time::timeout(patience(Duration::from_secs(20)), bench.supervisor.stop()).await.expect("stopped");
    for name in ["base", "dependent", "alone"] {
        assert_eq!(bench.snapshot(name).state, ServiceState::Stopped, "{name}");
    }
    let late = bench.supervisor.tell("base", Command::Start).await;
    assert_eq!(late, Err(CommandError::Stopping("base")));
}

/// A subscriber that panics when the service's driver says for the first time that its child was started.
struct Trap {
    service: &'static str,
    is_set: std::sync::atomic::AtomicBool,
}

impl tracing::Subscriber for Trap {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Said(Vec<String>);
        impl tracing::field::Visit for Said {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push(format!("{value:?}"));
            }
        }
        let mut said = Said(Vec::new());
        event.record(&mut said);
        let is_it = said.0.contains(&"started".to_owned()) && said.0.contains(&format!("{:?}", self.service));
        assert!(
            !(is_it && self.is_set.swap(false, std::sync::atomic::Ordering::Relaxed)),
            "the trap of this test"
        );
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

async fn supervision_panics() {
    let (dir, port, other) = (tempdir(), free_port(), free_port());
    let text = format!("echo $$ >> pids; sleep 1000 & echo $! >> pids; exec {}", answering(port, ""));
    let service = script(dir.path(), "trapped", port, &text);
    let beside = script(dir.path(), "beside", other, &format!("exec {}", answering(other, "")));
    let trap = Trap { service: "trapped", is_set: true.into() };
    let _trap = tracing::subscriber::set_default(trap);
    let bench = Bench::start(dir, vec![service, beside]);
    let again = bench.until("trapped", "started again", |snapshot| snapshot.restarts == 1).await;
    assert_eq!(again.last_exit.as_deref(), Some("ended: its supervision failed"));
    bench.until("trapped", "running", |snapshot| snapshot.state == ServiceState::Running).await;
    bench.until_shown("trapped: ended: its supervision failed; restarting in").await;
    // Whatever the first child came to start is gone.
    let now = bench.snapshot("trapped").pid.expect("a process");
    let pids = pids_in(&bench.dir.path().join("pids"));
    let at = pids.iter().position(|pid| *pid == now).expect("its own line");
    eventually("the first child is gone", || {
        let left: Vec<_> = pids[..at].iter().filter(|pid| is_alive(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    assert_eq!(bench.snapshot("beside").restarts, 0);
    bench.stop().await;
}
