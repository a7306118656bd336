//! Real children: how they start, what they may do, how they end.
//!
//! Reaping takes any child of the process, so all tests take turns.

// clippy knows `#[test]` functions, not what they call.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bloomery_sys::process::{
    self, Capabilities, Error, Identity, Output, Privileges, Signal, Spec, Step, reap, run, spawn,
};
use bloomery_sys::uevent::Uevents;

/// An ordinary user that exists nowhere else.
const USER: u32 = 60_123;
/// What no test comes near to.
const LIMIT: Duration = Duration::from_secs(20);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn limit() -> Duration {
    let patience = std::env::var("PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    LIMIT * patience
}

fn shell(script: &str) -> Spec {
    Spec::new("/bin/sh").args(["-c", script]).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
}

/// Reaps until all of `pids` have ended.
fn wait_for(pids: &[u32]) -> HashMap<u32, ExitStatus> {
    let started = Instant::now();
    let mut ended = HashMap::new();
    while !pids.iter().all(|pid| ended.contains_key(pid)) {
        ended.extend(reap().into_iter().map(|exited| (exited.pid, exited.status)));
        assert!(started.elapsed() < limit(), "{pids:?} did not end, only {ended:?}");
        Uevents::listen().wait(Duration::from_millis(5));
    }
    ended
}

fn output_of(spec: &Spec) -> String {
    run(spec, limit()).unwrap().output
}

/// Whether this is root, without which some things cannot be tried.
fn is_root() -> bool {
    let root = nix::unistd::Uid::effective().is_root();
    assert!(
        root || std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_some(),
        "not root: run this test as root, or leave out what cannot run here with BLOOMERY_INCOMPLETE_TESTS=1"
    );
    root
}

#[test]
fn gives_a_child_its_arguments_environment_directory_and_output() {
    let _turn = turn();
    let mut spec =
        shell("echo \"$1 $GREETING $(pwd)\"; echo error >&2; env | wc -l; exit 7").args(["sh", "arg"]);
    spec = spec.env("GREETING", "hello");
    spec.cwd = "/usr".into();
    let mut child = spawn(&spec).unwrap();
    let mut text = String::new();
    std::fs::File::from(child.output.take().unwrap()).read_to_string(&mut text).unwrap();
    let status = wait_for(&[child.pid])[&child.pid];
    assert_eq!(status.code(), Some(7));
    assert!(text.starts_with("arg hello /usr\nerror\n"), "{text}");
    assert!(!text.contains("CARGO"));
}

#[test]
fn reaps_orphans_and_tells_how_they_ended() {
    let _turn = turn();
    process::become_subreaper().unwrap();
    let child = spawn(&shell("(sh -c 'kill -9 $$' & echo $!) | cat; exit 0")).unwrap();
    let mut text = String::new();
    std::fs::File::from(child.output.unwrap()).read_to_string(&mut text).unwrap();
    let orphan: u32 = text.trim().parse().unwrap();
    let ended = wait_for(&[child.pid]);
    assert!(ended[&child.pid].success());
    let orphan_end = ended.get(&orphan).copied().unwrap_or_else(|| wait_for(&[orphan])[&orphan]);
    assert_eq!(orphan_end.signal(), Some(9));
}

#[test]
fn signals_the_whole_group() {
    let _turn = turn();
    process::become_subreaper().unwrap();
    let child = spawn(&shell("sleep 1000 & echo $!; wait")).unwrap();
    let mut first_line = Vec::new();
    let mut pipe = std::fs::File::from(child.output.unwrap());
    let mut byte = [0];
    while pipe.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        first_line.push(byte[0]);
    }
    let grandchild: u32 = String::from_utf8(first_line).unwrap().parse().unwrap();
    process::signal_group(child.pid, Signal::SIGKILL).unwrap();
    let ended = wait_for(&[child.pid, grandchild]);
    assert_eq!(ended[&grandchild].signal(), Some(9));
    process::signal_group(child.pid, Signal::SIGKILL).unwrap();
    assert!(matches!(process::signal(0, Signal::SIGTERM), Err(Error::Signal { .. })));
    assert!(matches!(process::signal_group(1, Signal::SIGTERM), Err(Error::Signal { .. })));
}

#[test]
fn runs_a_tool_to_its_end_and_kills_one_that_hangs() {
    let _turn = turn();
    let finished = run(&shell("echo out; exit 3"), limit()).unwrap();
    assert_eq!((finished.status.code(), finished.output.as_str()), (Some(3), "out\n"));
    let hanging = run(&shell("trap '' TERM; sleep 1000"), Duration::from_millis(50));
    assert!(matches!(hanging, Err(Error::TimedOut { .. })), "{hanging:?}");
    // A daemon that keeps the pipe open does not keep the tool's end from being seen.
    assert_eq!(run(&shell("sleep 2 & echo done"), limit()).unwrap().output, "done\n");
}

#[test]
fn a_run_keeps_its_end_though_another_thread_reaps() {
    let _turn = turn();
    let runner = std::thread::spawn(|| {
        for code in 0..20 {
            let finished = run(&shell(&format!("exit {code}")), limit()).unwrap();
            assert_eq!(finished.status.code(), Some(code));
            // The case in which the standard library itself waits for the child.
            assert!(matches!(run(&Spec::new("/nonexistent"), limit()), Err(Error::Execute { .. })));
        }
    });
    while !runner.is_finished() {
        assert!(reap().is_empty(), "the children of a run stay with it");
    }
    runner.join().unwrap();
}

#[test]
fn drops_the_user_and_all_rights_but_the_named_ones() {
    let _turn = turn();
    if !is_root() {
        return;
    }
    let mut spec = shell("id -u; id -g; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/self/status");
    spec.identity = Identity::User { uid: USER, gid: USER, groups: vec![USER + 1] };
    spec.privileges = Privileges::Only(Capabilities::NET_BIND_SERVICE | Capabilities::NET_RAW);
    let output = output_of(&spec);
    let expected = (1_u64 << 10) | (1 << 13);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(output.contains(&format!("{set}:\t{expected:016x}\n")), "{output}");
    }
    assert!(output.starts_with(&format!("{USER}\n{USER}\n{USER} {}\n", USER + 1)), "{output}");
    assert!(output.contains("NoNewPrivs:\t1\n"), "{output}");
}

#[test]
fn a_service_without_rights_has_none_at_all() {
    let _turn = turn();
    if !is_root() {
        return;
    }
    for identity in [Identity::Keep, Identity::User { uid: USER, gid: USER, groups: vec![] }] {
        let mut spec = shell("grep ^Cap /proc/self/status");
        spec.identity = identity;
        spec.privileges = Privileges::Only(Capabilities::empty());
        let output = output_of(&spec);
        assert_eq!(output.matches(":\t0000000000000000\n").count(), 5, "{output}");
    }
}

#[test]
fn an_unmapped_user_is_an_error_of_its_own() {
    let _turn = turn();
    // A user namespace that maps only the current user, in which the child of the child runs.
    let program = std::env::current_exe().unwrap();
    if std::env::var_os("IN_SINGLE_USER_NAMESPACE").is_some() {
        let mut spec = shell("true");
        spec.identity = Identity::User { uid: USER, gid: USER, groups: vec![] };
        let error = spawn(&spec).unwrap_err();
        // setgroups is denied (EPERM) before the user is looked at, where the namespace was made unprivileged.
        assert!(
            matches!(error, Error::NotMapped { uid: USER, .. } | Error::Prepare { step: Step::Groups, .. }),
            "{error:?}"
        );
        spec.identity = Identity::Keep;
        assert!(run(&spec, limit()).unwrap().status.success());
        return;
    }
    let mut spec = Spec::new("/usr/bin/unshare")
        .args(["-U", "-r"])
        .args([program])
        .args(["--exact", "an_unmapped_user_is_an_error_of_its_own", "--nocapture"])
        .env("IN_SINGLE_USER_NAMESPACE", "1")
        .env("PATH", "/usr/bin:/bin");
    spec.no_new_privs = false;
    let finished = run(&spec, limit()).unwrap();
    assert!(
        !finished.output.contains("unshare failed"),
        "no user namespaces here; as root: sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=1000\n{}",
        finished.output
    );
    assert!(finished.status.success(), "{}", finished.output);
}

#[test]
fn names_the_step_that_failed() {
    let _turn = turn();
    assert!(matches!(spawn(&Spec { argv: vec![], ..Spec::new("x") }), Err(Error::NoProgram)));
    assert!(matches!(spawn(&Spec::new("/nonexistent")), Err(Error::Execute { .. })));
    let mut spec = shell("true");
    spec.cgroup = Some("/nonexistent".into());
    assert!(matches!(spawn(&spec), Err(Error::Cgroup { .. })));
    let mut spec = shell("true");
    spec.oom_score_adj = Some(5000);
    let error = spawn(&spec).unwrap_err();
    assert!(matches!(error, Error::Prepare { step: Step::OomScore, .. }), "{error:?}");
    assert_eq!(error.to_string(), "failed to set the out-of-memory score for \"/bin/sh\"");
    assert!(reap().is_empty(), "a child that was not started must not be reaped as one");
}

#[test]
fn joins_its_cgroup_before_it_runs() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cgroup.procs"), "").unwrap();
    let mut spec = shell("cat \"$CGROUP/cgroup.procs\"").env("CGROUP", dir.path());
    spec.cgroup = Some(dir.path().into());
    assert_eq!(output_of(&spec), "0");
}

#[test]
fn sets_limits_and_a_session() {
    let _turn = turn();
    let mut spec = shell("ulimit -n; cat /proc/self/oom_score_adj; cut -d' ' -f6 /proc/self/stat; echo $$");
    spec.nofile = Some(77);
    spec.oom_score_adj = Some(500);
    spec.output = Output::Pipe;
    let output = output_of(&spec);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..2], ["77", "500"]);
    assert_eq!(lines[2], lines[3], "the child leads its session: {output}");
}
