//! `bloomery assets`, with the identity that pairing gave.

use crate::run::bloomery;
use crate::site::Site;
use crate::status::paired;

#[tokio::test]
async fn an_asset_is_uploaded_listed_and_deleted() {
    let site = Site::start().await;
    let kubeconfig = paired(&site).await;
    let file = site.path("vmlinuz");
    // More than one piece.
    let content = vec![7_u8; 5 << 20];
    std::fs::write(&file, &content).unwrap();
    let file = file.display().to_string();
    let run = bloomery(
        &["assets", "upload", &file, "--name", "talos", "--kubeconfig", &kubeconfig, "-o", "json"],
        "",
    )
    .await;
    assert!(run.success, "{}", run.stderr);
    let uploaded: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let place = site.path("assets/talos");
    assert_eq!(uploaded["url"], format!("file://{}", place.display()));
    assert_eq!(uploaded["sha512"].as_str().unwrap().len(), 128);
    assert_eq!(std::fs::read(place).unwrap(), content);

    let run = bloomery(&["assets", "upload", &file, "--kubeconfig", &kubeconfig], "").await;
    assert!(run.success && run.stdout.contains("sha512: "), "{}{}", run.stdout, run.stderr);
    let run = bloomery(&["assets", "list", "--kubeconfig", &kubeconfig], "").await;
    assert!(run.success, "{}", run.stderr);
    let names: Vec<_> = run.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["NAME", "talos", "vmlinuz"]);

    let run = bloomery(&["assets", "delete", "talos", "--kubeconfig", &kubeconfig], "").await;
    assert!(run.success && !run.stdout.contains("talos"), "{}{}", run.stdout, run.stderr);
    for (arguments, told) in [
        (["assets", "delete", "talos"], "there is no asset"),
        (["assets", "delete", "../admin.json"], "failed to use the name"),
        (["assets", "upload", "/nonexistent/k"], "failed to read"),
    ] {
        let run = bloomery(&[&arguments[..], &["--kubeconfig", &kubeconfig]].concat(), "").await;
        assert!(!run.success && run.stderr.contains(told), "{told}: {}", run.stderr);
    }
}
