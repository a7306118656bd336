//! Input that is meant to do harm: an error of one request at most.

use std::time::Duration;

use bloomery_talosconfig::{Client, Code, Error, Generate, Level, Patch, Secret};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::support::{bundle, client, golden, read};

fn worker() -> Secret {
    Secret::from(read(golden().join("gen/1.13.0/v1.11/worker.yaml")))
}

/// Patches on which the library panics.
const PANICS: [&str; 2] =
    ["machine: {network: {interfaces: [null]}}", "cluster: {apiServer: {admissionControl: [null]}}"];

#[tokio::test]
async fn a_panic_of_the_library_is_an_error_of_one_request() {
    let client = client();
    let base = Secret::from(read(golden().join("gen/1.13.0/v1.13/controlplane.yaml")));
    for panics in PANICS {
        // Merging the second into what the first one made.
        let error =
            client.patch(&base, &[Patch::strategic(panics), Patch::strategic(panics)]).await.unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!(refusal.code, Code::Panic, "{refusal:?}");
        assert!(refusal.field.starts_with("patches["), "{refusal:?}");
        client.patch(&base, &[Patch::strategic("debug: true")]).await.unwrap();
    }
    let config = Secret::from("machine: {disks: [{partitions: [null]}]}\ncluster: {}");
    let error = client.validate(&config, Level::Node).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, Code::Panic);
    assert!(client.validate(&worker(), Level::Node).await.is_ok());
}

/// The child of the launcher that has this argument, once it has worked for a tenth of a second.
fn busy_child(argument: &str) -> Option<i32> {
    let processes = || {
        let entries = std::fs::read_dir("/proc").unwrap();
        entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok())
    };
    let launcher = processes().find(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|octet| *octet == 0).any(|one| one == argument.as_bytes())
    })?;
    processes().find(|pid| {
        // After the name in brackets: state, parent, nine more, then the clock ticks in user mode.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.get(1) == Some(&launcher.to_string().as_str())
            && fields.get(11).and_then(|ticks| ticks.parse::<u32>().ok()).is_some_and(|ticks| ticks >= 10)
    })
}

#[tokio::test]
async fn a_child_that_is_killed_in_the_middle_is_replaced() {
    let argument = format!("/nonexistent/{}", std::process::id());
    let program = bloomery_testkit::control_plane::talosconfig();
    let client = crate::support::client_of(&program, &[&argument], crate::support::limits());
    loop {
        // New secrets take long enough to be met in the middle, mostly.
        let asked = tokio::spawn({
            let client = client.clone();
            async move { client.new_secrets("v1.13").await }
        });
        let child = loop {
            match busy_child(&argument) {
                Some(child) => break child,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL).unwrap();
        if let Err(error) = asked.await.unwrap() {
            assert!(matches!(&error, Error::Ended { how, .. } if how == "signal 9"), "{error:?}");
            break;
        }
    }
    client.version().await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_before_it_is_sent() {
    let client = client();
    let long = Secret::from("x".repeat(5 << 20));
    let error = client.validate(&long, Level::Node).await.unwrap_err();
    assert!(matches!(error, Error::RequestTooLong { limit: 0x40_0000, .. }), "{error:?}");
    // One that is as long as allowed, and whose answer is not.
    let lines = "a".repeat(3 << 20);
    let judged = client.validate(&lines.into(), Level::Node).await.unwrap();
    assert!(!judged.valid);
    client.version().await.unwrap();
}

/// Texts for each place of a text.
fn texts() -> Vec<String> {
    let deep = |open: &str, close: &str, times: usize| open.repeat(times) + &close.repeat(times);
    let aliases = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, number| {
        let before = number - 1;
        text + &format!("a{number}: &a{number} [*a{before}, *a{before}, *a{before}]\n")
    });
    let mut all: Vec<String> = [
        "",
        "\0",
        "---",
        "--- ---",
        "null",
        "[]",
        "[null]",
        "{}",
        "- - -",
        "&a [*a]",
        "!!binary a",
        "%YAML 9.9\n---\na",
        "$patch: delete",
        "- $patch: delete",
        "machine: {$patch: delete}",
        "machine: {? {a: b} : c}",
        "\u{feff}a: b",
        "machine: {certSANs: [{$patch: delete}]}",
        "machine: {\"\": {$patch: delete}}",
        "<<: {machine: {$patch: delete}}",
        "cluster: {controlPlane: {endpoint: {$patch: delete}}}",
        "kind: X\n$patch: delete",
        "machine: &a {network: *a}",
    ]
    .map(str::to_owned)
    .to_vec();
    all.extend([deep("[", "]", 20_000), deep("{a: ", "}", 9_000), deep("- ", "", 30_000), aliases]);
    all
}

#[tokio::test]
async fn hostile_texts_end_nothing() {
    let client = client();
    let before = client.version().await.unwrap();
    for text in texts() {
        let secret = Secret::from(text.clone());
        let outcomes = [
            client.validate(&secret, Level::Node).await.err(),
            client.inspect_config(&secret).await.err(),
            client.patch(&worker(), &[Patch::strategic(text.clone())]).await.err(),
            client.normalize(&secret, &[Patch::strategic("debug: true")]).await.err(),
            client.inspect_secrets(&secret.clone().into()).await.err(),
            client.talosconfig(&secret.clone().into(), &text, std::slice::from_ref(&text)).await.err(),
            client.new_secrets(&format!("x{text}")).await.err(),
            client.generate(&Generate::new(text.clone(), "c", "e", bundle("secrets.yaml"))).await.err(),
            client
                .generate(&Generate::new("worker", text.clone(), text.clone(), bundle("secrets.yaml")))
                .await
                .err(),
        ];
        for error in outcomes.into_iter().flatten() {
            assert!(matches!(error, Error::Refused { .. }), "{text:.50}: {error:?}");
        }
    }
    assert_eq!(client.version().await.unwrap(), before);
}

#[tokio::test]
async fn operations_that_double_a_document_are_stopped() {
    let client = client();
    let mut operations = vec![json!({"op": "add", "path": "/a", "value": "x".repeat(1000)})];
    operations.extend(
        (0..40).map(
            |number| json!({"op": "copy", "from": "/machine", "path": format!("/machine/copy{number}")}),
        ),
    );
    let error = client.patch(&worker(), &[Patch::Json6902(operations.into())]).await.unwrap_err();
    assert!(error.to_string().contains("copy"), "{error}");
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

/// Lines of a good configuration, some cut, doubled, moved or changed.
fn mutated(base: &str) -> impl Strategy<Value = String> + use<> {
    let lines: Vec<String> = base.lines().map(str::to_owned).collect();
    let junk = prop::sample::select(vec![
        "null",
        "[]",
        "{}",
        "[null]",
        "$patch: delete",
        "- $patch: delete",
        "\"",
        "*a",
        "&a",
        "!!int x",
        "---",
        "99999999999999999999",
    ]);
    let change = (0..lines.len(), 0..5_usize, junk, 0..12_usize);
    prop::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut lines = lines.clone();
        for (at, how, junk, indent) in changes {
            let at = at % lines.len();
            match how {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[at].clone()),
                2 => lines.insert(at, format!("{}{junk}", " ".repeat(indent))),
                3 => {
                    let key = lines[at].split(':').next().unwrap_or_default();
                    lines[at] = format!("{key}: {junk}");
                }
                _ => lines[at] = lines[at].trim_start().into(),
            }
            if lines.is_empty() {
                lines.push(String::new());
            }
        }
        lines.join("\n")
    })
}

async fn answers_all(client: &Client, text: &str) -> Result<(), TestCaseError> {
    let secret = Secret::from(text);
    let outcomes = [
        client.validate(&secret, Level::Strict).await.err(),
        client.inspect_config(&secret).await.err(),
        client
            .patch(
                &secret,
                &[Patch::strategic("machine: {network: {interfaces: [{interface: e, dhcp: true}]}}")],
            )
            .await
            .err(),
        client.patch(&worker(), &[Patch::strategic(text)]).await.err(),
    ];
    for error in outcomes.into_iter().flatten() {
        prop_assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    }
    Ok(())
}

#[test]
fn mutated_configurations_end_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(async { client() });
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let plane = read(golden().join("gen/1.13.0/v1.13/controlplane.yaml"));
    runner.run(&mutated(&plane), |text| runtime.block_on(answers_all(&client, &text))).unwrap();
    runner.run(&".{0,200}", |text| runtime.block_on(answers_all(&client, &text))).unwrap();
}
