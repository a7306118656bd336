//! Whoever answers in a BMC's place gets no password, and a BMC of another machine gets no command.

use std::sync::Arc;
use std::time::Duration;

use crate::support::mock::{Certificate, Mock, ONE, OTHER, Reply, Then, UUID, ordinary, system};
use bloomery_power::endpoint::{Origin, Scheme, parse_endpoint};
use bloomery_power::identity::{Guid, Identity};
use bloomery_power::ipmi::Credentials;
use bloomery_power::redfish::Redfish;
use bloomery_power::{
    Action, Always, Bmc as _, BmcTarget, CertificatePin, Config, DEFAULT_PORT, Network, Pool, Power, PxeMode,
    Target, probe,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SYSTEM: &str = "/redfish/v1/Systems/1";
const ACTIONS: [Action; 4] = [Action::On, Action::Off, Action::Cycle, Action::PxeOnce(PxeMode::Uefi)];

#[tokio::test]
async fn the_first_certificate_is_pinned_and_another_is_told_nothing() {
    let certificate = Certificate::new();
    let pin = certificate.pin;
    let mock = Mock::with(vec![certificate], ordinary).await;
    let client = mock.driver(None);
    assert_eq!(client.certificate(), None);
    assert_eq!(client.power_state().await.unwrap(), Power::On);
    assert_eq!(client.certificate(), Some(pin));
    assert_eq!(mock.driver(Some(pin)).power_state().await.unwrap(), Power::On);

    let impostor = Mock::start(ordinary).await;
    let client = impostor.driver(Some(pin));
    for action in ACTIONS {
        let error = client.command(action, &Always).await.unwrap_err();
        assert_eq!((error.category(), error.is_retryable()), ("certificate", false), "{error:?}");
        assert_eq!(error.changed_certificate().map(|(pinned, _)| pinned), Some(pin));
    }
    assert!(impostor.requests().is_empty(), "{:?}", impostor.requests());
    // For the probe it counts as found, so that the change is noticed.
    let credentials = Credentials { user: "u".into(), pass: "p".into() };
    let endpoint = parse_endpoint(&impostor.origin.to_string()).unwrap();
    assert_eq!(
        probe(&endpoint, DEFAULT_PORT, &credentials, Some(pin)).await.as_ref(),
        Some(&impostor.origin)
    );
}

#[tokio::test]
async fn another_certificate_in_the_middle_of_a_command_is_told_nothing() {
    let certificates = vec![Certificate::new(), Certificate::new()];
    let mock = Mock::with(certificates, |request| ordinary(request).then(Then::Close(Duration::ZERO))).await;
    let error = mock.driver(None).power_state().await.unwrap_err();
    assert_eq!(error.category(), "certificate", "{error:?}");
    let with_password =
        |request: &crate::support::mock::Request| request.headers.contains_key("authorization");
    assert!(!mock.requests().iter().any(with_password), "{:?}", mock.requests());
}

#[tokio::test]
async fn a_certificate_without_its_key_is_worth_nothing() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let own = rcgen::generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let foreign = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let copied = Certificate::at(own.cert.der().clone(), foreign, &[version]);
        let pin = copied.pin;
        let impostor = Mock::with(vec![copied], ordinary).await;
        for pinned in [None, Some(pin)] {
            let client = impostor.driver(pinned);
            let error = client.power_state().await.unwrap_err();
            assert_eq!(error.category(), "protocol", "{error:?}");
            assert_eq!(client.certificate(), pinned, "it is not learnt");
        }
        assert!(impostor.requests().is_empty());
        // With its key it is all right.
        let right = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let mock =
            Mock::with(vec![Certificate::at(own.cert.der().clone(), right, &[version])], ordinary).await;
        assert_eq!(mock.driver(Some(pin)).power_state().await.unwrap(), Power::On);
    }
}

/// Certificates of X.509 version 1, expired, as BMCs have them, with RSA keys.
fn old(certificate: &'static [u8], key: &'static [u8]) -> Certificate {
    Certificate::of(CertificateDer::from(certificate), PrivateKeyDer::try_from(key).unwrap())
}

#[tokio::test]
async fn an_old_certificate_is_as_good_as_its_key() {
    let strong = old(include_bytes!("data/v1-rsa2048.crt"), include_bytes!("data/v1-rsa2048.key"));
    let pin = strong.pin;
    let mock = Mock::with(vec![strong], ordinary).await;
    assert_eq!(mock.driver(Some(pin)).power_state().await.unwrap(), Power::On);
}

#[tokio::test]
async fn no_common_cipher_suite_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut hello = [0; 512];
            let _ = tcp.read(&mut hello).await;
            // An alert of TLS 1.2, fatal: handshake_failure.
            let _ = tcp.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).await;
            let _ = tcp.shutdown().await;
        }
    });
    let origin = Origin { scheme: Scheme::Https, host: "127.0.0.1".to_owned(), port };
    let credentials = Credentials { user: "u".into(), pass: "p".into() };
    let client = Redfish::new(origin, Identity::of(UUID), credentials, None);
    let error = client.power_state().await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    for words in ["RSA key exchange", "CBC", "lanplus"] {
        assert!(cause.contains(words), "{cause}");
    }
}

#[tokio::test]
async fn a_service_without_tls_is_never_given_a_password_or_a_session() {
    let mock = Mock::with(Vec::new(), |request| match request.path.as_str() {
        "/redfish/v1/" => ordinary(request),
        _ => Reply::new(401, "").header("WWW-Authenticate: Basic realm=x"),
    })
    .await;
    let error = mock.driver(None).command(Action::On, &Always).await.unwrap_err();
    assert_eq!(error.category(), "insecure", "{error:?}");
    assert!(mock.changes().is_empty());
    let secret = |request: &crate::support::mock::Request| {
        request.headers.contains_key("authorization") || request.body.contains("Password")
    };
    assert!(!mock.requests().iter().any(secret));
    // One that asks nobody is used.
    let open = Mock::with(Vec::new(), ordinary).await;
    assert_eq!(open.driver(None).power_state().await.unwrap(), Power::On);
}

/// A BMC whose only System tells this.
async fn single(uuid: &'static str) -> Mock {
    Mock::start(move |request| match request.path.as_str() {
        "/redfish/v1/Systems" => Reply::new(200, ONE),
        SYSTEM => Reply::new(200, system(SYSTEM, uuid, "")),
        _ => ordinary(request),
    })
    .await
}

#[tokio::test]
async fn the_only_system_is_taken_unless_it_names_another_machine() {
    for (told, is_ours) in [
        (UUID, true),
        ("38947555-7742-3448-3784-823347823834", true),
        ("55759438-4277-4834-3784-823347823834", true),
        ("", true),
        ("00000000-0000-0000-0000-000000000000", true),
        ("03000200-0400-0500-0006-000700080009", true),
        (OTHER, false),
    ] {
        let mock = single(told).await;
        let client = mock.driver(None);
        assert_eq!(client.power_state().await.is_ok(), is_ours, "{told}");
        for action in [Action::On, Action::Off, Action::Cycle] {
            let result = client.command(action, &Always).await;
            assert_eq!(result.is_ok(), is_ours, "{told} {action:?}: {result:?}");
            if let Err(error) = result {
                assert_eq!((error.category(), error.is_retryable()), ("other_machine", false));
                assert_eq!(error.other_machine().unwrap().told, Guid::parse(OTHER));
            }
        }
        assert_eq!(mock.changes().is_empty(), !is_ours, "{:?}", mock.changes());
    }
}

#[tokio::test]
async fn a_bmc_that_several_servers_name_has_to_say_whose_it_is() {
    let must_prove = || Identity { must_prove: true, ..Identity::of(UUID) };
    let silent = single("").await;
    let error = silent.driver_of(must_prove(), None).command(Action::On, &Always).await.unwrap_err();
    assert_eq!(error.category(), "other_machine");
    assert!(silent.changes().is_empty());
    let proven = single(UUID).await;
    proven.driver_of(must_prove(), None).command(Action::On, &Always).await.unwrap();
}

#[tokio::test]
async fn the_pool_keeps_the_first_certificate_until_whoever_asks_does() {
    let certificate = Certificate::new();
    let pin = certificate.pin;
    let mock = Mock::with(vec![certificate], ordinary).await;
    let config = Config { gap: Duration::ZERO, ..Config::default() };
    let pool = Pool::new(config, Arc::new(()), Arc::new(Network::default()));
    let target = |pinned: Option<CertificatePin>| {
        let bmc = BmcTarget {
            endpoint: mock.origin.to_string(),
            port: DEFAULT_PORT,
            user: "u".into(),
            pass: "p".into(),
            interface: "redfish".to_owned(),
            pinned,
        };
        Target { identity: Identity::of(UUID), bmc: Some(bmc), management_api: None }
    };
    let first = pool.client(&target(None)).unwrap();
    assert_eq!(first.certificate(), None);
    first.power_state().await.unwrap();
    assert_eq!(first.certificate(), Some(pin));
    let kept = pool.client(&target(Some(pin))).unwrap();
    assert_eq!(kept.certificate(), None, "nothing is left to keep");
    kept.power_state().await.unwrap();
    assert_eq!(kept.certificate(), None, "nor afterwards");
    let wrong = pool.client(&target(Some(CertificatePin::of(b"another")))).unwrap();
    assert_eq!(wrong.power_state().await.unwrap_err().category(), "certificate");
    // The change of mind is tried at once, without a delay for failures.
    let removed = pool.client(&target(None)).unwrap();
    removed.power_state().await.unwrap();
    assert_eq!(removed.certificate(), Some(pin));
}
