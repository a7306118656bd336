//! Children that hang, end, or say what is no answer: one request fails, the next one works.

use std::time::Duration;

use bloomery_talosconfig::{Error, Limits};
use bloomery_testkit::eventually;

use crate::support::{limits, script, script_launcher};

/// Answers every request: the version is the number of the request and the process.
const ANSWER: &str = r#"answer() {
    id=${1#*:}; id=${id%%,*}
    echo "{\"id\":$id,\"ok\":{\"machinery\":\"$$\",\"contract\":\"c\",\"kubernetes\":\"k\"}}"
}"#;

/// Misbehaves at the first request of all, and answers the others.
fn first_then_well(bad: &str) -> String {
    format!(
        "{ANSWER}\nwhile read -r line; do\n  case $line in *'\"id\":1,'*) {bad} ;; *) answer \"$line\" ;; esac\ndone"
    )
}

async fn fails_once(bad: &str, limits: Limits) -> Error {
    let (client, _directory) = script(&first_then_well(bad), limits);
    let error = client.version().await.unwrap_err();
    let first = client.version().await.unwrap().machinery;
    let second = client.version().await.unwrap().machinery;
    assert_eq!(first, second, "the child that was started anew is kept");
    error
}

#[tokio::test]
async fn a_child_that_hangs_is_replaced() {
    let short = Limits { answer: Duration::from_millis(500), ..limits() };
    let error = fails_once("while :; do :; done", short).await;
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "failed to ask for the version by Talos's configuration library within 500ms: it was stopped"
    );
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_child_that_ends_is_replaced_and_its_first_words_are_told() {
    let error = fails_once("echo 'fatal error: out of luck' >&2; echo 'secret' >&2; exit 3", limits()).await;
    let text = error.to_string();
    assert!(matches!(error, Error::Ended { .. }), "{error:?}");
    assert!(text.ends_with("it ended (exit status: 3: fatal error: out of luck)"), "{text}");
    let error = fails_once("kill -KILL $$", limits()).await;
    assert!(error.to_string().ends_with("it ended (signal 9)"), "{error}");
    let error = fails_once("echo -n '{\"id\":1'; exit 0", limits()).await;
    assert!(matches!(error, Error::Ended { .. }), "{error:?}");
}

#[tokio::test]
async fn a_child_that_says_what_is_no_answer_is_replaced() {
    for bad in [
        "echo garbage",
        "echo",
        "echo '{\"id\":2,\"ok\":{\"machinery\":\"m\",\"contract\":\"c\",\"kubernetes\":\"k\"}}'",
        "echo '{\"id\":1,\"ok\":{\"machinery\":\"m\"}}'",
        "printf '\\377\\376\\n'",
        "answer \"$line\" | head -c 20; echo",
    ] {
        let error = fails_once(bad, limits()).await;
        assert!(matches!(error, Error::Garbage { .. }), "{bad}: {error:?}");
    }
}

#[tokio::test]
async fn a_child_that_does_not_stop_talking_is_stopped() {
    let small = Limits { answer_octets: 100_000, ..limits() };
    let error = fails_once("while :; do echo -n 0123456789abcdef0123456789abcdef; done", small).await;
    assert!(matches!(error, Error::AnswerTooLong { limit: 100_000, .. }), "{error:?}");
    let short = Limits { answer: Duration::from_millis(500), ..limits() };
    // Standard error is taken and dropped, however much it is.
    let error = fails_once("while :; do echo 0123456789abcdef >&2; done", short).await;
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_child_that_reads_nothing_holds_a_large_request_up_to_the_limit() {
    let short = Limits { answer: Duration::from_millis(500), ..limits() };
    let (client, _directory) = script("while :; do :; done", short);
    let large = "x".repeat(1 << 20);
    let error = client.validate(&large.into(), bloomery_talosconfig::Level::Node).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_child_that_ends_or_talks_between_two_requests_costs_none_of_them() {
    let (client, _directory) =
        script(&format!("{ANSWER}\nread -r line; answer \"$line\"; exec 1>&-; sleep 60"), limits());
    let first = client.version().await.unwrap().machinery;
    // Its end may be seen a moment after its answer: then it is this request that finds it gone.
    eventually("a new child answers", async || match client.version().await {
        Ok(version) if version.machinery != first => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let twice = format!("{ANSWER}\nwhile read -r line; do answer \"$line\"; echo more; sleep 60; done");
    let (client, _directory) = script(&twice, limits());
    // In time with the answer, what it says unasked spoils the answer; after it, the child is replaced in between.
    for _ in 0..3 {
        let answered = client.version().await;
        assert!(matches!(answered, Ok(_) | Err(Error::Garbage { .. })), "{answered:?}");
    }
}

#[tokio::test]
async fn requests_of_many_callers_are_answered_each_with_its_own_answer() {
    let body = r#"while read -r line; do
        id=${line#*:}; id=${id%%,*}; version=${line##*talosVersion\":\"}; version=${version%%\"*}
        echo "{\"id\":$id,\"ok\":{\"bundle\":\"$version\"}}"
    done"#;
    let (client, _directory) = script(body, limits());
    let asked = (0..200).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let version = format!("v{number}");
            assert_eq!(client.new_secrets(&version).await.unwrap().expose(), version);
        })
    });
    for asked in asked.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_takes_nobodys_answer_away() {
    let slow = format!("{ANSWER}\nwhile read -r line; do sleep 0.3; answer \"$line\"; done");
    let (client, _directory) = script(&slow, limits());
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::from_millis(100), client.version()).await;
        assert!(given_up.is_err());
    }
    client.version().await.unwrap();
}

#[tokio::test]
async fn an_idle_child_ends_and_the_next_request_starts_one() {
    let idle = Limits { idle: Duration::from_millis(200), ..limits() };
    let (client, _directory) =
        script(&format!("{ANSWER}\nwhile read -r line; do answer \"$line\"; done"), idle);
    let first: u32 = client.version().await.unwrap().machinery.parse().unwrap();
    let process = format!("/proc/{first}");
    eventually("the child is gone", async || {
        if std::path::Path::new(&process).exists() { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_ne!(client.version().await.unwrap().machinery, first.to_string());
}

/// As the controllers do: first the launcher, then confinement, then the client.
#[test]
fn a_client_that_confined_itself_still_has_its_child() {
    let confined = std::thread::spawn(|| {
        let (launcher, _directory) = script_launcher(&format!(
            "{ANSWER}\nn=0; while read -r line; do n=$((n+1)); test $n = 2 && exit 1; answer \"$line\"; done"
        ));
        let _ = bloomery_sys::confine::confine(&bloomery_sys::confine::Needs::default()).unwrap();
        let program = std::process::Command::new("/bin/true").status().unwrap_err();
        assert_eq!(program.kind(), std::io::ErrorKind::PermissionDenied);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = bloomery_talosconfig::Client::new(launcher, limits());
            for _ in 0..2 {
                client.version().await.unwrap();
                let error = client.version().await.unwrap_err();
                assert!(matches!(error, Error::Ended { .. }), "{error:?}");
            }
        });
    });
    confined.join().unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error_that_says_so() {
    let client = crate::support::client_of(std::path::Path::new("/nonexistent/talosconfig"), &[], limits());
    let error = client.version().await.unwrap_err();
    assert_eq!(
        bloomery_base::chain(&error),
        "failed to start Talos's configuration library: failed to start the program: No such file or directory (os error 2)"
    );
}

/// Fields of /proc/PID/status.
fn status(process: &str) -> std::collections::BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    text.lines().filter_map(|line| line.split_once(":\t")).map(|(k, v)| (k.into(), v.into())).collect()
}

#[tokio::test]
async fn the_child_has_no_rights_no_network_and_no_environment() {
    let attempts = r#"attempt() { if "$@" 2>/dev/null; then echo -n "$1-$2 "; fi; }
tcp() { (exec 3<>/dev/tcp/127.0.0.1/1) 2>&1 | grep -q refused; }
while read -r line; do
    id=${line#*:}; id=${id%%,*}
    done_=$(attempt tcp reached; attempt cat /etc/passwd | head -c 1; attempt touch "$0.new"; attempt mount none)
    limits=$(ulimit -c; ulimit -n)
    echo "{\"id\":$id,\"ok\":{\"machinery\":\"$$\",\"contract\":\"$done_\",\"kubernetes\":\"${HOME-}${USER-}${CARGO-}$limits\"}}" | tr '\n' ' '
    echo
done"#;
    let (client, _directory) = script(attempts, limits());
    let answer = client.version().await.unwrap();
    assert_eq!(answer.kubernetes, "0 64");
    let status = status(&answer.machinery);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    let network = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
    if nix::unistd::geteuid().is_root() {
        assert_ne!(network(&answer.machinery), network("self"));
    }
    // Files need Landlock.
    if std::env::var_os("BLOOMERY_INCOMPLETE_TESTS").is_none() {
        assert_eq!(answer.contract, "", "what it could do");
    }
    assert!(!answer.contract.contains("tcp") && !answer.contract.contains("mount"), "{}", answer.contract);
}
