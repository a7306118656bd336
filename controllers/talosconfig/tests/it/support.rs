//! Clients with a launcher, and what the real programs gave.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bloomery_talosconfig::{Client, Launcher, Limits, Secret, SecretsBundle};
use bloomery_testkit::scaled;
use serde::Deserialize;
use serde_norway::Value;

pub(crate) use bloomery_testkit::golden;

/// Where a shell and what it needs lie.
const SHELL: [&str; 4] = ["/bin", "/usr", "/lib", "/lib64"];

pub(crate) fn limits() -> Limits {
    Limits {
        answer: scaled(Duration::from_secs(20)),
        new_secrets: scaled(Duration::from_mins(2)),
        ..Limits::default()
    }
}

fn launcher(program: &Path, libraries: &[&str]) -> Launcher {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talosconfig-launcher"));
    command.arg(program).args(libraries);
    Launcher::start(command).unwrap()
}

/// A client whose child is `program`, which may use `libraries`.
pub(crate) fn client_of(program: &Path, libraries: &[&str], limits: Limits) -> Client {
    Client::new(launcher(program, libraries), limits)
}

/// A client of Talos's library.
pub(crate) fn client() -> Client {
    client_of(&bloomery_testkit::control_plane::talosconfig(), &[], limits())
}

/// A launcher of a shell script, and the directory that it lies in. Requests arrive on its standard input.
pub(crate) fn script_launcher(text: &str) -> (Launcher, tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("talosconfig");
    std::fs::write(&program, format!("#!/bin/bash\n{text}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    (launcher(&program, &SHELL), directory)
}

/// A client whose child is that script.
pub(crate) fn script(text: &str, limits: Limits) -> (Client, tempfile::TempDir) {
    let (launcher, directory) = script_launcher(text);
    (Client::new(launcher, limits), directory)
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names in a directory of the golden files, sorted; there must be some.
pub(crate) fn cases(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(golden().join(directory)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.is_empty(), "{directory} is empty");
    names
}

pub(crate) fn bundle(file: &str) -> SecretsBundle {
    Secret::from(read(golden().join(file))).into()
}

/// The documents of a YAML text.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

/// Fails with all that differs, not with the first.
pub(crate) fn assert_none(differences: &[String]) {
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
