//! Certificates on a disk that is cut off, damaged and used again.

use super::identities::CLIENTS;
use super::provision::{Names, Provisioner};
use super::*;
use crate::accounts::Accounts;
use crate::console::Console;
use crate::layout::Layout;
use crate::service_requests::ServiceRequests;
use crate::status::StatusStore;
use crate::supervise::cgroup::Cgroups;
use crate::supervise::log_file::LogSink;
use crate::supervise::reaper::Reaper;
use crate::supervise::{Shared, Supervisor};
use base64::Engine;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use x509_parser::prelude::*;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(::time::Duration::days(21_000));

fn provision(pki: &Pki, layout: &Layout, names: &Names) {
    Provisioner { pki, layout, accounts: Accounts::Single, now: NOW }.everything(names).unwrap();
}

fn parsed(path: &Path) -> Vec<u8> {
    x509_parser::pem::parse_x509_pem(&fs::read(path).unwrap()).unwrap().1.contents
}

#[test]
fn what_is_made_once_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(dir.path(), NOW).unwrap();
    let second = Pki::open(dir.path(), NOW + ::time::Duration::days(900)).unwrap();
    assert_eq!(first.ca.certificate(), second.ca.certificate());
    assert_eq!(first.etcd_ca.certificate(), second.etcd_ca.certificate());
    assert_ne!(first.ca.certificate(), first.etcd_ca.certificate());
    assert_eq!(first.appliance_fingerprint().to_string(), second.appliance_fingerprint().to_string());
    for file in [
        "ca.crt",
        "ca.key",
        "client-ca.crt",
        "client-ca.key",
        "etcd-ca.crt",
        "etcd-ca.key",
        "sa.key",
        "sa.pub",
        "appliance.key",
        "pairings.json",
    ] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_power_cut_between_key_and_certificate_is_mended_with_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    drop(Pki::open(dir.path(), NOW).unwrap());
    let key = fs::read(dir.path().join("ca.key")).unwrap();
    fs::remove_file(dir.path().join("ca.crt")).unwrap();
    drop(Pki::open(dir.path(), NOW).unwrap());
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), key);
}

#[test]
fn damage_is_told_and_never_overwritten() {
    let whole = tempfile::tempdir().unwrap();
    drop(Pki::open(whole.path(), NOW).unwrap());
    let other = tempfile::tempdir().unwrap();
    drop(Pki::open(other.path(), NOW).unwrap());
    let cases: [(&str, Option<Vec<u8>>, &str); 5] = [
        ("ca.key", None, "failed to find"),
        ("ca.key", Some(Vec::new()), "damaged"),
        ("ca.crt", Some(fs::read(other.path().join("ca.crt")).unwrap()), "does not belong to its key"),
        ("sa.key", Some(b"rubbish".to_vec()), "damaged"),
        ("appliance.key", Some(vec![b'-'; 4000]), "damaged"),
    ];
    for (file, content, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(whole.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        let path = dir.path().join(file);
        match &content {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = Pki::open(dir.path(), NOW).unwrap_err();
        assert!(error.to_string().contains(expected), "{file}: {error}");
        assert_eq!(fs::read(&path).ok(), content, "{file} was touched");
    }
}

#[test]
fn serving_certificates_follow_the_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(dir.path());
    let pki = Pki::open(&layout.pki(), NOW).unwrap();
    let mut names =
        Names { hostname: "forge".into(), endpoint: Some("plane.example.org".into()), addresses: vec![] };
    provision(&pki, &layout, &names);
    names.addresses = vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    Provisioner { pki: &pki, layout: &layout, accounts: Accounts::Single, now: NOW }.serving(&names).unwrap();
    for service in ["kube-apiserver", "appliance"] {
        let der = parsed(&layout.service_file(service, "tls.crt"));
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let sans = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
        for name in ["DNSName(localhost)", "DNSName(forge)", "DNSName(plane.example.org)"] {
            assert!(sans.iter().any(|san| san == name), "{service}: {name} not in {sans:?}");
        }
        assert!(sans.contains(&"IPAddress(c0:00:02:07)".to_owned()), "{sans:?}");
        assert_eq!(sans.iter().filter(|san| san.starts_with("IPAddress(20:01:0d:b8")).count(), 1);
        assert_eq!(sans.contains(&"DNSName(kubernetes.default.svc)".to_owned()), service == "kube-apiserver");
        let key =
            KeyPair::from_pem(&fs::read_to_string(layout.service_file(service, "tls.key")).unwrap()).unwrap();
        assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
    }
    let der = parsed(&layout.service_file("appliance", "tls.crt"));
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let fingerprint = bloomery_pairing::Fingerprint::of_public_key(certificate.public_key().raw);
    assert_eq!(fingerprint.to_string(), pki.appliance_fingerprint().to_string());
}

#[test]
fn every_client_has_its_own_name_and_only_apply_is_a_master_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(dir.path());
    let pki = Pki::open(&layout.pki(), NOW).unwrap();
    provision(&pki, &layout, &Names { hostname: "forge".into(), ..Names::default() });
    for client in CLIENTS {
        let path = layout.service_file(client.service, "kubeconfig");
        let config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let data = config["users"][0]["user"]["client-certificate-data"].as_str().unwrap();
        let pem = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        let der = x509_parser::pem::parse_x509_pem(&pem).unwrap().1.contents;
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let name = certificate.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
        let groups: Vec<_> = certificate
            .subject()
            .iter_organization()
            .map(|group| group.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(name, client.user);
        assert_eq!(groups, client.groups);
        let days = (certificate.validity().not_after.timestamp() - NOW.unix_timestamp()) / 86_400;
        assert_eq!(
            (days == 1, groups == ["system:masters"]),
            (name == "bloomery:apply", name == "bloomery:apply")
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn etcd_and_the_api_trust_different_authorities() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(dir.path());
    let pki = Pki::open(&layout.pki(), NOW).unwrap();
    provision(&pki, &layout, &Names { hostname: "forge".into(), ..Names::default() });
    let issuer = |service: &str, file: &str| {
        let der = parsed(&layout.service_file(service, file));
        X509Certificate::from_der(&der).unwrap().1.issuer().to_string()
    };
    assert_eq!(issuer("etcd", "tls.crt"), "CN=bloomery-etcd");
    assert_eq!(issuer("kube-apiserver", "etcd.crt"), "CN=bloomery-etcd");
    assert_eq!(issuer("kube-apiserver", "tls.crt"), "CN=bloomery");
}

/// A machine whose servers note what they take; no API server runs there.
async fn people(layout: &Layout) -> (Pki, std::sync::Arc<people::People>) {
    let pki = Pki::open(&layout.pki(), NOW).unwrap();
    provision(&pki, layout, &Names { hostname: "forge".into(), ..Names::default() });
    let logs = LogSink::start(layout.logs(), 1 << 20);
    let servers = people::Servers::new(layout, Accounts::Single, logs, &pki).with_api_port(1);
    let people = people::open(servers, NOW).await.unwrap();
    (pki, people)
}

/// Requests about services of a machine that has none.
fn no_services(layout: &Layout) -> ServiceRequests {
    let shared = Shared {
        reaper: Reaper::default(),
        cgroups: Cgroups::none(),
        logs: LogSink::start(layout.logs(), 1 << 10),
        console: Console::with(|_| {}),
        status: StatusStore::default(),
    };
    ServiceRequests::new(Arc::new(Supervisor::start(Vec::new(), &shared).unwrap()), layout.logs())
}

#[tokio::test]
async fn a_new_plane_takes_no_certificate_of_the_servers_authority() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(dir.path());
    for boot in 0..2 {
        let (pki, _people) = people(&layout).await;
        let clients = fs::read_to_string(layout.service_file("kube-apiserver", people::API_CLIENTS)).unwrap();
        assert_eq!(clients, pki.client_ca.certificate(), "boot {boot}");
        assert_ne!(pki.client_ca.certificate(), pki.ca.certificate());
        let own = fs::read_to_string(layout.service_file("appliance", people::APPLIANCE_CLIENTS)).unwrap();
        assert_eq!(own, "", "boot {boot}: nobody has paired");
    }
}

#[tokio::test]
async fn a_plane_of_an_earlier_version_keeps_its_code_and_for_a_while_its_administrators() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(dir.path());
    drop(Pki::open(&layout.pki(), NOW).unwrap());
    // What an earlier version left.
    for file in ["client-ca.key", "client-ca.crt", "pairings.json"] {
        fs::remove_file(layout.pki().join(file)).unwrap();
    }
    fs::create_dir_all(layout.former_pairing_secret().parent().unwrap()).unwrap();
    let code = bloomery_pairing::load_or_create(&layout.former_pairing_secret()).unwrap();
    for boot in 0..2 {
        let (pki, people) = people(&layout).await;
        assert_eq!(bloomery_pairing::load(&layout.pairing_secret()).unwrap(), code, "boot {boot}");
        assert!(!layout.former_pairing_secret().exists());
        let clients = fs::read_to_string(layout.service_file("kube-apiserver", people::API_CLIENTS)).unwrap();
        assert_eq!(
            clients,
            format!("{}{}", pki.client_ca.certificate(), pki.ca.certificate()),
            "boot {boot}"
        );
        let question = bloomery_pairing::local::Question::List;
        let bloomery_pairing::local::Answer::Pairings { pairings } =
            people.answer(question, &no_services(&layout)).await
        else {
            panic!("no list")
        };
        assert_eq!(pairings.len(), 1);
        assert_eq!((pairings[0].id.as_str(), pairings[0].user.as_str()), ("shared", "bloomery:admin"));
    }
}

#[tokio::test]
async fn no_key_that_signs_is_in_a_directory_of_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::under(dir.path());
    let (_pki, people) = people(&layout).await;
    people::listen(&people, no_services(&layout), &layout, Accounts::Single).unwrap();
    let mode = fs::metadata(layout.service_file("appliance", people::SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut names: Vec<_> = fs::read_dir(layout.service("appliance"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["authority.sock", "pairings.crt", "tls.crt", "tls.key"]);
}
