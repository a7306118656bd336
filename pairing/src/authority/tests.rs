//! The authority from question to answer, with a plane that notes what it is told.

use std::sync::{Mutex as StdMutex, PoisonError};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _};
use tempfile::TempDir;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;

/// What the plane was told, and what it says.
#[derive(Debug, Default)]
struct Noted {
    bundle: Option<Bundle>,
    lines: Vec<String>,
    asked_as: Vec<String>,
    rights: Vec<Rights>,
}

#[derive(Debug, Default)]
struct Notebook(StdMutex<Noted>);

impl Notebook {
    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is said from now on; the last one for ever.
    fn say(&self, rights: &[Rights]) {
        self.noted().rights = rights.iter().rev().copied().collect();
    }
}

impl Plane for Notebook {
    fn publish(&self, bundle: &Bundle) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.noted().bundle = Some(bundle.clone());
        Ok(())
    }

    async fn rights(&self, identity: &Identity) -> Rights {
        let mut noted = self.noted();
        noted.asked_as.push(identity.certificate.clone());
        if noted.rights.len() > 1 {
            noted.rights.pop().unwrap()
        } else {
            noted.rights.first().copied().unwrap()
        }
    }

    async fn audit(&self, entry: Entry) {
        self.noted().lines.push(entry.to_string());
    }
}

/// Notes what services are told.
#[derive(Debug, Default)]
struct Told(StdMutex<Vec<String>>);

impl Services for Told {
    async fn tell(&self, service: &str, command: ServiceCommand) -> Result<String, Refusal> {
        if service == "stuck" {
            return Err(Refusal::new(Refused::Conflict, "it is stuck"));
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(format!("{} {service}", command.as_str()));
        Ok("running".to_owned())
    }

    async fn log(&self, log: Log<'_>, lines: u32, after: Option<&str>) -> Result<LogPiece, Refusal> {
        let text = format!("{log:?} {lines} {after:?}\n");
        Ok(LogPiece { text, next: "1.2".to_owned(), more: false, skipped: false })
    }
}

struct Site {
    authority: Authority<Notebook>,
    services: Told,
    directory: TempDir,
}

const BUILT: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(::time::Duration::days(20_000));

impl Site {
    fn start(had_earlier_version: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Self::open(&directory, had_earlier_version).unwrap();
        Self { authority, services: Told::default(), directory }
    }

    fn open(directory: &TempDir, earlier: bool) -> Result<Authority<Notebook>, StoreError> {
        let path = |name: &str| directory.path().join(name);
        let files = Files { pairings: path("pairings.json"), secret: path("pairing-secret") };
        crate::load_or_create(&files.secret).unwrap();
        begin(&files.pairings, earlier)?;
        let authority = Authority::open(Notebook::default(), files, "server CA".to_owned(), BUILT)?;
        authority.plane.say(&[Rights::Full]);
        Ok(authority)
    }

    async fn answer(&self, question: Question) -> Answer {
        self.authority.answer(question, &self.services).await
    }

    async fn tell(&self, caller: &str, service: &str, command: ServiceCommand) -> Answer {
        let (caller, service) = (caller.to_owned(), service.to_owned());
        self.answer(Question::Tell { caller, service, command, address: "192.0.2.9".to_owned() }).await
    }

    /// The machine is restarted.
    fn restart(&mut self) {
        self.authority = Self::open(&self.directory, true).unwrap();
    }

    fn secret(&self) -> Secret {
        crate::load(&self.authority.files.secret).unwrap()
    }

    async fn pair(&self, key: &KeyPair) -> Answer {
        self.pair_with(self.secret(), &request(key)).await
    }

    async fn pair_with(&self, secret: Secret, csr: &str) -> Answer {
        let (csr, name, address) = (csr.to_owned(), "alice@laptop".to_owned(), "192.0.2.9".to_owned());
        self.answer(Question::Pair { secret, csr, name, address }).await
    }

    async fn paired(&self, key: &KeyPair) -> Issued {
        let Answer::Issued(issued) = self.pair(key).await else { panic!("not issued") };
        issued
    }

    async fn renew(&self, caller: &str, key: &KeyPair) -> Answer {
        let (caller, csr, address) = (caller.to_owned(), request(key), "192.0.2.9".to_owned());
        self.answer(Question::Renew { caller, csr, address }).await
    }

    async fn revoke(&self, caller: &str, id: &str, keep_code: bool) -> Answer {
        let (caller, id, address) = (caller.to_owned(), id.to_owned(), "192.0.2.9".to_owned());
        self.answer(Question::Revoke { caller, id, keep_code, address }).await
    }

    async fn reissue(&self, caller: &str) -> Answer {
        let (caller, address) = (caller.to_owned(), "192.0.2.9".to_owned());
        self.answer(Question::Reissue { caller, address }).await
    }

    fn bundle(&self) -> Bundle {
        self.authority.plane.noted().bundle.clone().unwrap()
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn request(key: &KeyPair) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // What a request wishes for is not what it gets.
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn why(answer: &Answer) -> Refused {
    match answer {
        Answer::Refused { why, .. } => *why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_names_the_person_holds_ninety_days_and_belongs_to_the_senders_key() {
    let site = Site::start(false);
    let key = key();
    let issued = site.paired(&key).await;
    let der = x509_parser::pem::parse_x509_pem(issued.certificate.as_bytes()).unwrap().1.contents;
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert_eq!(
        certificate.subject().to_string(),
        format!("O=bloomery:admins, CN=admin:alice@laptop#{}", issued.id)
    );
    assert_eq!(certificate.issuer().to_string(), format!("CN=bloomery:pairing:{}", issued.id));
    assert_eq!(certificate.public_key().raw, key.subject_public_key_info());
    assert!(!certificate.is_ca(), "whatever the request wished for");
    let left = certificate.validity().not_after.timestamp() - OffsetDateTime::now_utc().unix_timestamp();
    assert!((LIFETIME_SECONDS - 60..=LIFETIME_SECONDS).contains(&left), "{left}");
    assert!(certificate.validity().not_before.timestamp() < BUILT.unix_timestamp(), "a clock that is behind");
    assert_eq!(site.bundle().pairings.len(), 1);
    let lines = site.authority.plane.noted().lines.clone();
    assert_eq!(
        lines,
        [format!(
            "action=\"pair\" user=\"admin:alice@laptop#{}\" address=\"192.0.2.9\" result=\"ok\"",
            issued.id
        )]
    );
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_handed_out_only_once_it_has_its_rights() {
    let site = Site::start(false);
    site.authority.plane.say(&[Rights::Unreachable, Rights::UnknownAuthority, Rights::Less, Rights::Full]);
    let issued = site.paired(&key()).await;
    assert_eq!(site.authority.plane.noted().asked_as.len(), 4);
    for asked_as in &site.authority.plane.noted().asked_as {
        assert_ne!(*asked_as, issued.certificate, "asked with a key of its own");
    }
    for rights in [Rights::Unreachable, Rights::UnknownAuthority, Rights::Less] {
        site.authority.plane.say(&[rights]);
        assert_eq!(why(&site.pair(&key()).await), Refused::NotReady, "{rights:?}");
        assert_eq!(site.bundle().pairings.len(), 1, "nothing is left of it: {rights:?}");
    }
}

#[tokio::test]
async fn nothing_is_signed_without_the_secret_or_for_a_key_that_the_sender_does_not_hold() {
    let site = Site::start(false);
    let key = key();
    let wrong = site.pair_with(Secret::generate().unwrap(), &request(&key)).await;
    assert_eq!(why(&wrong), Refused::WrongSecret);
    let mut forged = x509_parser::pem::parse_x509_pem(request(&key).as_bytes()).unwrap().1.contents;
    *forged.last_mut().unwrap() ^= 1;
    let forged = data_encoding::BASE64.encode(&forged);
    let forged =
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{forged}\n-----END CERTIFICATE REQUEST-----\n");
    for csr in ["", "rubbish", &forged, &key.serialize_pem()] {
        assert_eq!(why(&site.pair_with(site.secret(), csr).await), Refused::BadRequest, "{csr}");
    }
    assert!(site.authority.plane.noted().bundle.is_none(), "no authority was made");
}

#[tokio::test]
async fn a_renewal_is_for_the_same_key_and_person_alone() {
    let site = Site::start(false);
    let (alices, mallorys) = (key(), key());
    let issued = site.paired(&alices).await;
    let Answer::Issued(renewed) = site.renew(&issued.id, &alices).await else { panic!("not renewed") };
    assert_eq!((&renewed.id, &renewed.user), (&issued.id, &issued.user));
    // The process in between is in somebody's hands: it asks in the name of another, for a key of its own.
    assert_eq!(why(&site.renew(&issued.id, &mallorys).await), Refused::Forbidden);
    assert_eq!(why(&site.renew("shared", &mallorys).await), Refused::Forbidden);
    assert_eq!(why(&site.renew("00000000", &mallorys).await), Refused::Forbidden);
}

#[tokio::test]
async fn whoever_was_revoked_gets_nothing_more_not_even_after_a_restart() {
    let mut site = Site::start(false);
    let (alices, bobs) = (key(), key());
    let (alice, bob) = (site.paired(&alices).await, site.paired(&bobs).await);
    let former = site.secret();
    let Answer::Revoked { pairing, secret } = site.revoke(&alice.id, &bob.id, false).await else {
        panic!("not revoked")
    };
    assert_eq!((pairing.id.as_str(), pairing.state), (bob.id.as_str(), wire::PairingState::Revoked));
    assert_eq!(secret, Some(site.secret()));
    assert_ne!(site.secret(), former, "a code that was seen would bring access back");
    for restarted in [false, true] {
        if restarted {
            site.restart();
            site.authority.publish().await.unwrap();
        }
        assert_eq!(site.bundle().pairings.len(), 1, "{restarted}");
        assert_eq!(why(&site.renew(&bob.id, &bobs).await), Refused::Forbidden);
        assert_eq!(why(&site.reissue(&bob.id).await), Refused::Forbidden);
        assert_eq!(why(&site.revoke(&bob.id, &alice.id, true).await), Refused::Forbidden);
        let rights = site.answer(Question::Rights { caller: bob.id.clone() }).await;
        assert!(matches!(rights, Answer::Rights { rights: Rights::Less }), "{rights:?}");
        let answer = site.pair_with(former.clone(), &request(&bobs)).await;
        assert_eq!(why(&answer), Refused::WrongSecret);
    }
    assert!(matches!(site.renew(&alice.id, &alices).await, Answer::Issued(_)), "others go on");
}

#[tokio::test]
async fn whose_rights_were_taken_away_on_the_kubernetes_api_cannot_renew_or_get_codes() {
    let site = Site::start(false);
    let alices = key();
    let alice = site.paired(&alices).await;
    let code = site.secret();
    for (rights, expected) in [(Rights::Less, Refused::Forbidden), (Rights::Unreachable, Refused::NotReady)] {
        site.authority.plane.say(&[rights]);
        assert_eq!(why(&site.renew(&alice.id, &alices).await), expected);
        assert_eq!(why(&site.reissue(&alice.id).await), expected);
        assert_eq!(site.secret(), code);
    }
    // An emergency does not wait for the API, and learns no code either.
    let Answer::Revoked { secret, .. } = site.revoke(&alice.id, &alice.id, false).await else { panic!() };
    assert_eq!(secret, None);
    assert_ne!(site.secret(), code);
}

#[tokio::test]
async fn the_earlier_versions_certificate_is_listed_and_can_be_revoked_for_good() {
    let mut site = Site::start(true);
    let alice = site.paired(&key()).await;
    assert!(site.bundle().shared);
    assert_eq!(why(&site.reissue("shared").await), Refused::Forbidden);
    let Answer::Pairings { pairings } = site.answer(Question::List).await else { panic!() };
    assert_eq!(pairings[0].id, "shared");
    assert!(matches!(site.revoke(&alice.id, "shared", true).await, Answer::Revoked { .. }));
    assert!(!site.bundle().shared);
    site.restart();
    site.authority.publish().await.unwrap();
    assert!(!site.bundle().shared);
}

#[tokio::test]
async fn a_damaged_list_is_told_and_kept() {
    let site = Site::start(false);
    site.paired(&key()).await;
    let path = site.authority.files.pairings.clone();
    for damaged in ["", "{", r#"{"version":2,"pairings":[]}"#] {
        std::fs::write(&path, damaged).unwrap();
        let error = Site::open(&site.directory, true).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. } | StoreError::Newer { .. }), "{error:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
    }
}

#[tokio::test]
async fn answers_over_the_socket_and_survives_rubbish() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Site { authority, services, directory } = Site::start(false);
    let path = directory.path().join("authority.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server =
        tokio::spawn(serve(listener, std::sync::Arc::new(authority), std::sync::Arc::new(services), None));
    let endless = vec![b'x'; 100_000];
    for rubbish in [&b"\n"[..], b"{}\n", b"\xff\xff\n", &endless] {
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        // A line that is too long is not read to its end.
        let _ = stream.write_all(rubbish).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || String::from_utf8_lossy(&answer).contains("badRequest"));
    }
    assert!(matches!(crate::local::ask(&path, &Question::Ready).await.unwrap(), Answer::Ok));
    server.abort();
}

#[tokio::test]
async fn services_are_told_by_administrators_and_brought_back_while_the_api_is_away() {
    use ServiceCommand::{Hold, Restart, Start};
    let site = Site::start(false);
    let id = site.paired(&KeyPair::generate().unwrap()).await.id;
    let all = [Hold, Start, Restart];
    let table: [(Rights, &[ServiceCommand]); 4] = [
        (Rights::Full, &all),
        (Rights::Unreachable, &[Start, Restart]),
        (Rights::UnknownAuthority, &[]),
        (Rights::Less, &[]),
    ];
    for (rights, obeyed) in table {
        site.authority.plane.say(&[rights]);
        for command in all {
            let before = site.authority.plane.noted().lines.len();
            let answer = site.tell(&id, "controllers", command).await;
            let told = std::mem::take(&mut *site.services.0.lock().unwrap());
            let line = site.authority.plane.noted().lines[before..].join("\n");
            assert!(line.contains(&format!("action=\"{} controllers\"", command.as_str())), "{line}");
            if obeyed.contains(&command) {
                assert!(matches!(answer, Answer::Told { ref state } if state == "running"), "{answer:?}");
                assert_eq!(told, [format!("{} controllers", command.as_str())]);
                assert!(line.ends_with("result=\"ok\""), "{line}");
            } else {
                assert!(matches!(answer, Answer::Refused { .. }), "{rights:?} {command:?}: {answer:?}");
                assert!(told.is_empty() && !line.contains("\"ok\""), "{rights:?} {command:?}: {line}");
            }
        }
    }
    site.authority.plane.say(&[Rights::Full]);
    for caller in ["00000000", "rubbish", wire::SHARED_ID] {
        let answer = site.tell(caller, "controllers", Start).await;
        assert!(matches!(answer, Answer::Refused { why: Refused::Forbidden, .. }), "{caller}: {answer:?}");
    }
    let stuck = site.tell(&id, "stuck", Restart).await;
    assert!(matches!(stuck, Answer::Refused { why: Refused::Conflict, .. }), "{stuck:?}");
    assert!(site.services.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_log_begins_with_a_bounded_number_of_lines() {
    let site = Site::start(false);
    let (lines, after) = (u32::MAX, Some("1.2".to_owned()));
    for (question, expected) in [
        (
            Question::Log { service: "etcd".to_owned(), lines, after: after.clone() },
            "Service(\"etcd\") 2000 Some(\"1.2\")\n",
        ),
        (
            Question::MachineLog { server: "u".to_owned(), lines, after },
            "Machine(\"u\") 2000 Some(\"1.2\")\n",
        ),
    ] {
        let Answer::Log(piece) = site.answer(question).await else { panic!("no log") };
        assert_eq!(piece.text, expected);
    }
}
