//! `bloomery kubeconfig`: what a user gets for a code, right or wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use bloomery_pairing::{Code, Fingerprint};

use crate::run::bloomery;
use crate::site::Site;

#[tokio::test]
async fn prints_a_kubeconfig_that_clients_can_read() {
    let site = Site::start().await;
    let (endpoint, code) = (site.endpoint().to_string(), site.code().to_string());
    let run = bloomery(&["kubeconfig", "--endpoint", &endpoint, "--code", &code], "").await;
    assert!(run.success, "{}", run.stderr);
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&run.stdout).unwrap();
    assert_eq!(kubeconfig.current_context.as_deref(), Some("bloomery"));
    let cluster = kubeconfig.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
    assert_eq!(cluster.tls_server_name.as_deref(), Some("bloomery.test"));
    let user = kubeconfig.auth_infos[0].auth_info.as_ref().unwrap();
    assert!(user.client_certificate_data.is_some() && user.client_key_data.is_some());
}

#[tokio::test]
async fn takes_the_code_as_people_type_it_and_from_standard_input() {
    let site = Site::start().await;
    let endpoint = site.endpoint().to_string();
    let typed = site.code().to_string().to_lowercase().replace('-', " ");
    let run = bloomery(&["kubeconfig", "--endpoint", &endpoint, "--code", "-"], &format!("{typed}\n")).await;
    assert!(run.success, "{}", run.stderr);
    assert!(run.stdout.contains("server: https://127.0.0.1:6443"));
}

#[tokio::test]
async fn writes_a_private_file_and_keeps_what_is_in_an_existing_one() {
    let site = Site::start().await;
    let (endpoint, code) = (site.endpoint().to_string(), site.code().to_string());
    let path = site.path("kubeconfig");
    fs::write(&path, "contexts: [{name: work, context: {cluster: work, user: me}}]\n").unwrap();
    let file = path.display().to_string();
    let arguments = [
        "kubeconfig",
        "--endpoint",
        &endpoint,
        "--code",
        &code,
        "--output",
        &file,
        "--name",
        "forge",
        "--api-port",
        "16443",
    ];
    for _ in 0..2 {
        let run = bloomery(&arguments, "").await;
        assert!(run.success, "{}", run.stderr);
        assert_eq!(run.stdout, "");
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let kubeconfig = kube::config::Kubeconfig::read_from(&path).unwrap();
    let contexts: Vec<&str> = kubeconfig.contexts.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(contexts, ["work", "forge"]);
    let cluster = kubeconfig.clusters[0].cluster.as_ref().unwrap();
    assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:16443"));
}

#[tokio::test]
async fn never_destroys_a_file_that_is_no_kubeconfig() {
    let site = Site::start().await;
    let (endpoint, code) = (site.endpoint().to_string(), site.code().to_string());
    let path = site.path("diary");
    fs::write(&path, "dear diary").unwrap();
    let file = path.display().to_string();
    let run =
        bloomery(&["kubeconfig", "--endpoint", &endpoint, "--code", &code, "--output", &file], "").await;
    assert!(!run.success);
    assert!(run.stderr.contains("failed to recognize the existing file as a kubeconfig"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), "dear diary");
}

/// Runs with a code and returns what the user is told.
async fn refused(endpoint: &str, code: &str) -> String {
    let run = bloomery(&["kubeconfig", "--endpoint", endpoint, "--code", code], "").await;
    assert!(!run.success);
    assert_eq!(run.stdout, "");
    run.stderr
}

#[tokio::test]
async fn says_what_is_wrong_with_a_code() {
    let site = Site::start().await;
    let endpoint = site.endpoint().to_string();
    let code = site.code().to_string();
    let last = if code.ends_with('7') { '8' } else { '7' };
    let mistyped = format!("{}{last}", &code[..code.len() - 1]);
    let told = refused(&endpoint, &mistyped).await;
    assert!(told.contains("mistyped, probably at character 5 of group 6"), "{told}");
    let told = refused(&endpoint, &code[..code.len() - 1]).await;
    assert!(told.contains("group 6 has 4 characters instead of 5"), "{told}");
    let other = Code::new(site.code().secret().clone(), Fingerprint::of_public_key(b"other")).to_string();
    let told = refused(&endpoint, &other).await;
    assert!(told.contains("failed to recognize the appliance") && told.contains("was not sent"), "{told}");
    let told = refused(&endpoint, &site.wrong_code().to_string()).await;
    assert!(told.contains("the code was refused"), "{told}");
    let mut told = String::new();
    for _ in 0..10 {
        told = refused(&endpoint, &site.wrong_code().to_string()).await;
    }
    assert!(told.contains("too many wrong codes; try again in "), "{told}");
}

#[tokio::test]
async fn says_when_nothing_answers() {
    let site = Site::start().await;
    let code = site.code().to_string();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let told = refused(&closed, &code).await;
    assert!(told.contains("failed to connect to the appliance at 127.0.0.1:"), "{told}");
    assert!(told.contains("refused"), "{told}");
    // The health port speaks, but not TLS.
    let told = refused(&site.health.to_string(), &code).await;
    assert!(told.contains("failed to set up TLS with"), "{told}");
    let run = bloomery(&["kubeconfig", "--endpoint", "http://x", "--code", &code], "").await;
    assert!(
        run.stderr.contains("is neither a DNS name nor an IP address")
            || run.stderr.contains("is not a port")
    );
}
