//! Subcommands that need no appliance.

use crate::run::bloomery;

#[tokio::test]
async fn the_example_configuration_is_valid() {
    let run = bloomery(&["config", "check", "-"], bloomery_config::EXAMPLE).await;
    assert!(run.success, "{}", run.stderr);
    assert_eq!(run.stdout, "-: valid\n");
}

#[tokio::test]
async fn problems_are_shown_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bloomery.yaml");
    std::fs::write(&path, "hostname: forge\nhostnames: forge\n").unwrap();
    let file = path.display().to_string();
    let run = bloomery(&["config", "check", &file], "").await;
    assert!(!run.success);
    assert!(run.stdout.starts_with(&format!("{file}:2:1: ")), "{}", run.stdout);
    let run = bloomery(&["config", "check", "-o", "json", &file], "").await;
    assert!(!run.success);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&report["valid"], &report["problems"][0]["line"]), (&false.into(), &2.into()));
    let run = bloomery(&["config", "check", "/nonexistent"], "").await;
    assert!(run.stderr.contains("failed to read /nonexistent: "), "{}", run.stderr);
}

#[tokio::test]
async fn completion_scripts_and_the_version_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let run = bloomery(&["completion", shell], "").await;
        assert!(run.success && run.stdout.contains("kubeconfig"), "{shell}");
    }
    let run = bloomery(&["version", "-o", "json"], "").await;
    let version: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}
