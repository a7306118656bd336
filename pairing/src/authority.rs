//! PID 1's side of pairing: it keeps the list of pairings, signs certificates on demand and answers the appliance
//! server over a Unix socket.
//!
//! A certificate is handed out only once the Kubernetes API takes it and gives it an administrator's rights. Nothing
//! is signed for a new key without the secret of the pairing code, and a renewal is for the paired key alone, so the
//! process that faces the network cannot make itself an administrator.

mod audit;
mod refusal;
mod registry;
mod serve;
mod show;
mod sign;
mod store;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRngCore as _;
use rand::rngs::OsRng;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use audit::{Entry, WrongCodes};
pub use refusal::Refusal;
pub use registry::{
    AuthorityPem, LIFETIME_SECONDS, MAX_LIVE, NewPairing, Record, Registry, RegistryError, SHARED_SECONDS,
    Shared,
};
pub use serve::serve;
pub use sign::{Identity, SignError};
pub use store::StoreError;

use crate::local::{Answer, Issued, Question, Refused, Rights};
use crate::person::{PairingId, Person};
use crate::wire::{LogPiece, ServiceCommand};
use crate::{Secret, wire};
use refusal::{not_yet, without_rights};
use show::{bundle, moment, now, rfc3339, shown, user};
use sign::{Request, Validity};

/// How long a pairing waits for its rights; the client's request lasts 30 s.
const RIGHTS_LIMIT: Duration = Duration::from_secs(20);
/// How often the API server is asked meanwhile: it sees a new authority within milliseconds, seldom within a minute.
const RIGHTS_INTERVAL: Duration = Duration::from_millis(250);
/// A stand-in asks one question.
const STAND_IN_LIFETIME: time::Duration = time::Duration::minutes(10);
/// IDs that are taken are drawn anew; two in a row happen once in 10⁹ years.
const DRAWS: usize = 8;

/// The authorities whose client certificates the servers are to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// PEM certificates, one for each pairing that is good.
    pub pairings: Vec<String>,
    /// Whether the certificate that an earlier version handed out is taken too.
    pub shared: bool,
}

/// What the authority needs of the machine that it runs on.
pub trait Plane: Send + Sync + 'static {
    /// Gives the servers the authorities whose certificates they are to take.
    ///
    /// # Errors
    /// When they cannot be given; the former ones are in force then.
    fn publish(&self, bundle: &Bundle) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Asks the Kubernetes API what the identity may do.
    fn rights(&self, identity: &Identity) -> impl Future<Output = Rights> + Send;

    /// Writes a line of the audit log.
    fn audit(&self, entry: Entry) -> impl Future<Output = ()> + Send;
}

/// Which log is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log<'a> {
    /// A service's.
    Service(&'a str),
    /// The kernel log of the machine with this Server.
    Machine(&'a str),
}

/// The services of the machine, as far as administrators may reach them.
pub trait Services: Send + Sync + 'static {
    /// Tells a service; its state afterwards. The caller's rights are checked before.
    fn tell(
        &self,
        service: &str,
        command: ServiceCommand,
    ) -> impl Future<Output = Result<String, Refusal>> + Send;

    /// Some lines of a log: so many from the end, or those after a cursor.
    fn log(
        &self,
        log: Log<'_>,
        lines: u32,
        after: Option<&str>,
    ) -> impl Future<Output = Result<LogPiece, Refusal>> + Send;
}

/// Where the authority's own files are.
#[derive(Debug, Clone)]
pub struct Files {
    /// The list of pairings.
    pub pairings: PathBuf,
    /// The secret of the pairing code.
    pub secret: PathBuf,
}

/// Signs for people.
#[derive(Debug)]
pub struct Authority<P> {
    plane: P,
    files: Files,
    /// PEM: signs the servers' certificates.
    server_ca: String,
    /// When the image was built; no certificate begins later than that, however wrong the clock is.
    built: OffsetDateTime,
    registry: Mutex<Registry>,
    /// Held while the secret is made anew.
    secret: Mutex<()>,
    wrong_codes: WrongCodes,
}

/// Begins a list if there is none. `had_earlier_version` says whether the plane was made by a version that gave
/// everybody the same certificate, which is taken for a while then.
pub fn begin(pairings: &Path, had_earlier_version: bool) -> Result<(), StoreError> {
    store::open(pairings, had_earlier_version.then(|| now().unix_timestamp())).map(drop)
}

impl<P: Plane> Authority<P> {
    /// Opens the list that [`begin`] made. The servers are given what is in it by [`Authority::publish`].
    pub fn open(
        plane: P,
        files: Files,
        server_ca: String,
        built: OffsetDateTime,
    ) -> Result<Self, StoreError> {
        let registry = store::open(&files.pairings, None)?;
        Ok(Self {
            plane,
            files,
            server_ca,
            built,
            registry: Mutex::new(registry),
            secret: Mutex::default(),
            wrong_codes: WrongCodes::default(),
        })
    }

    /// Gives the servers the present authorities; also to be called now and then, as pairings expire.
    pub async fn publish(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let registry = self.registry.lock().await;
        self.plane.publish(&bundle(&registry, now().unix_timestamp()))
    }

    /// Answers one question.
    pub async fn answer(&self, question: Question, services: &impl Services) -> Answer {
        let answer = match question {
            Question::Ready => self.ready(),
            Question::Pair { secret, csr, name, address } => self.pair(&secret, &csr, &name, &address).await,
            Question::Renew { caller, csr, address } => self.renew(&caller, &csr, &address).await,
            Question::List => Ok(self.list().await),
            Question::Revoke { caller, id, keep_code, address } => {
                self.revoke(&caller, &id, keep_code, &address).await
            }
            Question::Reissue { caller, address } => self.reissue(&caller, &address).await,
            Question::Rights { caller } => Ok(Answer::Rights { rights: self.rights_of(&caller).await }),
            Question::Tell { caller, service, command, address } => {
                self.tell(&caller, &service, command, &address, services).await
            }
            Question::Log { service, lines, after } => {
                let lines = lines.min(wire::MAX_LOG_LINES);
                services.log(Log::Service(&service), lines, after.as_deref()).await.map(Answer::Log)
            }
            Question::MachineLog { server, lines, after } => {
                let lines = lines.min(wire::MAX_LOG_LINES);
                services.log(Log::Machine(&server), lines, after.as_deref()).await.map(Answer::Log)
            }
            Question::Note { caller, action, result, address } => {
                let user = self.user_of(&caller).await;
                self.plane.audit(Entry::new(&action, &user, &address, &result)).await;
                Ok(Answer::Ok)
            }
        };
        answer.unwrap_or_else(|Refusal { why, message }| Answer::Refused { why, message })
    }

    fn ready(&self) -> Result<Answer, Refusal> {
        match crate::load(&self.files.secret) {
            Ok(_) => Ok(Answer::Ok),
            Err(error) => Err(Refusal::new(Refused::NotReady, error.to_string())),
        }
    }

    async fn pair(&self, secret: &Secret, csr: &str, name: &str, address: &str) -> Result<Answer, Refusal> {
        let expected = crate::load(&self.files.secret)
            .map_err(|error| Refusal::new(Refused::NotReady, error.to_string()))?;
        if *secret != expected {
            if let Some(result) = self.wrong_codes.count(Instant::now()) {
                self.plane.audit(Entry::new("pair", "-", address, &result)).await;
            }
            return Err(Refusal::new(Refused::WrongSecret, "the secret is not the one of the present code"));
        }
        let outcome = self.admit(csr, name, address).await;
        let (user, result) = match &outcome {
            Ok(issued) => (issued.user.clone(), "ok".to_owned()),
            Err(refusal) => (name.to_owned(), refusal.message.clone()),
        };
        self.plane.audit(Entry::new("pair", &user, address, &result)).await;
        outcome.map(Answer::Issued)
    }

    /// Adds a pairing, and hands it out once it has its rights.
    async fn admit(&self, csr: &str, name: &str, address: &str) -> Result<Issued, Refusal> {
        let request = Request::read(csr)?;
        let person: Person =
            name.parse().map_err(|error| Refusal::new(Refused::BadRequest, format!("{error}")))?;
        let record = {
            let mut registry = self.registry.lock().await;
            let id = registry
                .new_id(std::iter::repeat_with(|| OsRng.try_next_u64().ok()).take(DRAWS).flatten())
                .ok_or_else(|| Refusal::new(Refused::Internal, "failed to draw an ID"))?;
            let authority = sign::new_authority(&id, self.begin())?;
            let (public_key, address) = (request.public_key(), address.to_owned());
            let new = NewPairing { id, person, public_key, address, authority };
            self.change(&mut registry, |registry, now| registry.add(new, now).cloned())?
        };
        let rights = self.wait_for_rights(&record).await;
        // Signed before it is looked at again: a pairing may have been revoked meanwhile.
        let issued = self.issue(&record, &request);
        match (rights, issued) {
            (Rights::Full, Ok(issued)) => Ok(issued),
            (rights, outcome) => {
                let mut registry = self.registry.lock().await;
                self.change(&mut registry, |registry, _| {
                    registry.withdraw(&record.id);
                    Ok(())
                })?;
                outcome?;
                Err(not_yet(rights))
            }
        }
    }

    async fn wait_for_rights(&self, record: &Record) -> Rights {
        let deadline = Instant::now() + RIGHTS_LIMIT;
        loop {
            let rights = match self.stand_in(record) {
                Ok(identity) => self.plane.rights(&identity).await,
                Err(_) => Rights::UnknownAuthority,
            };
            if rights == Rights::Full || Instant::now() + RIGHTS_INTERVAL >= deadline {
                return rights;
            }
            tokio::time::sleep(RIGHTS_INTERVAL).await;
        }
    }

    async fn renew(&self, caller: &str, csr: &str, address: &str) -> Result<Answer, Refusal> {
        let user = self.user_of(caller).await;
        let outcome = self.renewed(caller, csr).await;
        self.plane.audit(Entry::new("renew", &user, address, outcome_text(&outcome))).await;
        outcome.map(Answer::Issued)
    }

    async fn renewed(&self, caller: &str, csr: &str) -> Result<Issued, Refusal> {
        let id = self.administrator(caller).await?;
        let request = Request::read(csr)?;
        let mut registry = self.registry.lock().await;
        let record = self.change(&mut registry, |registry, now| {
            registry.renew(&id, &request.public_key(), now).cloned()
        })?;
        self.issue(&record, &request)
    }

    async fn list(&self) -> Answer {
        let registry = self.registry.lock().await;
        Answer::Pairings { pairings: shown(&registry, now().unix_timestamp()) }
    }

    async fn revoke(
        &self,
        caller: &str,
        id: &str,
        keep_code: bool,
        address: &str,
    ) -> Result<Answer, Refusal> {
        let user = self.user_of(caller).await;
        let outcome = self.revoked(caller, id, keep_code).await;
        let action = format!("revoke {id}");
        self.plane.audit(Entry::new(&action, &user, address, outcome_text(&outcome))).await;
        outcome
    }

    async fn revoked(&self, caller: &str, id: &str, keep_code: bool) -> Result<Answer, Refusal> {
        let rights = self.rights_of(caller).await;
        // Taking rights away is not to wait for an API server that is down.
        if !matches!(rights, Rights::Full | Rights::Unreachable) {
            return Err(without_rights(rights));
        }
        let pairing = {
            let mut registry = self.registry.lock().await;
            self.change(&mut registry, |registry, now| match id {
                wire::SHARED_ID => registry.revoke_shared(now),
                other => {
                    let id: PairingId =
                        other.parse().map_err(|_| RegistryError::Unknown { id: other.to_owned() })?;
                    registry.revoke(&id, now).map(drop)
                }
            })?;
            let id = id.to_ascii_lowercase();
            let pairings = shown(&registry, now().unix_timestamp());
            pairings.into_iter().find(|pairing| pairing.id == id).ok_or(RegistryError::Unknown { id })?
        };
        if keep_code {
            return Ok(Answer::Revoked { pairing, secret: None });
        }
        let secret = self.new_secret().await?;
        // Told to a proven administrator alone; the console shows it in any case.
        Ok(Answer::Revoked { pairing, secret: Some(secret).filter(|_| rights == Rights::Full) })
    }

    async fn reissue(&self, caller: &str, address: &str) -> Result<Answer, Refusal> {
        let user = self.user_of(caller).await;
        let outcome = match self.administrator(caller).await {
            Ok(_) => self.new_secret().await,
            Err(refusal) => Err(refusal),
        };
        self.plane.audit(Entry::new("reissue", &user, address, outcome_text(&outcome))).await;
        outcome.map(|secret| Answer::Reissued { secret })
    }

    async fn tell(
        &self,
        caller: &str,
        service: &str,
        command: ServiceCommand,
        address: &str,
        services: &impl Services,
    ) -> Result<Answer, Refusal> {
        let user = self.user_of(caller).await;
        let outcome = match (self.rights_of(caller).await, command) {
            // What brings a service back is not to wait for an API server that may be the one that is down.
            (Rights::Full, _) | (Rights::Unreachable, ServiceCommand::Start | ServiceCommand::Restart) => {
                services.tell(service, command).await
            }
            (rights, _) => Err(without_rights(rights)),
        };
        let action = format!("{} {service}", command.as_str());
        self.plane.audit(Entry::new(&action, &user, address, outcome_text(&outcome))).await;
        outcome.map(|state| Answer::Told { state })
    }

    async fn new_secret(&self) -> Result<Secret, Refusal> {
        let _one_at_a_time = self.secret.lock().await;
        let secret =
            Secret::generate().map_err(|error| Refusal::internal("make a new pairing code", &error))?;
        crate::store(&self.files.secret, &secret)?;
        Ok(secret)
    }

    /// The caller's ID, if it is good and its rights are known to be an administrator's.
    async fn administrator(&self, caller: &str) -> Result<PairingId, Refusal> {
        match self.rights_of(caller).await {
            Rights::Full => caller.parse().map_err(|_| without_rights(Rights::Less)),
            rights => Err(without_rights(rights)),
        }
    }

    /// What a pairing may do; one that is not good may do nothing, and the shared certificate is no administrator's.
    async fn rights_of(&self, caller: &str) -> Rights {
        let record = match caller.parse::<PairingId>() {
            Ok(id) => self.registry.lock().await.live(&id, now().unix_timestamp()).cloned(),
            Err(_) => None,
        };
        let Some(record) = record else { return Rights::Less };
        match self.stand_in(&record) {
            Ok(identity) => self.plane.rights(&identity).await,
            Err(_) => Rights::Less,
        }
    }

    async fn user_of(&self, caller: &str) -> String {
        if caller == wire::SHARED_ID {
            return wire::SHARED_USER.to_owned();
        }
        let registry = self.registry.lock().await;
        let found = registry.pairings().iter().find(|record| record.id.as_str() == caller);
        found.map_or_else(|| format!("unknown pairing {caller}"), user)
    }

    /// Changes the list, keeps it, and tells the servers; a list that cannot be kept is not changed.
    fn change<T>(
        &self,
        registry: &mut Registry,
        change: impl FnOnce(&mut Registry, i64) -> Result<T, RegistryError>,
    ) -> Result<T, Refusal> {
        let now = now().unix_timestamp();
        let mut changed = registry.clone();
        let value = change(&mut changed, now)?;
        store::keep(&self.files.pairings, &changed)?;
        *registry = changed;
        self.plane
            .publish(&bundle(registry, now))
            .map_err(|error| Refusal::internal("tell the servers of the pairings", error.as_ref()))?;
        Ok(value)
    }

    fn issue(&self, record: &Record, request: &Request) -> Result<Issued, Refusal> {
        let authority = record
            .live_authority(now().unix_timestamp())
            .ok_or_else(|| RegistryError::Ended { id: record.id.to_string() })?;
        let until = moment(record.expires);
        let validity = Validity { from: self.begin(), until };
        Ok(Issued {
            certificate_authority: self.server_ca.clone(),
            certificate: sign::sign_request(authority, &user(record), request, validity)?,
            id: record.id.to_string(),
            user: user(record),
            expires: rfc3339(record.expires),
        })
    }

    fn stand_in(&self, record: &Record) -> Result<Identity, Refusal> {
        let authority = record
            .live_authority(now().unix_timestamp())
            .ok_or_else(|| RegistryError::Ended { id: record.id.to_string() })?;
        let validity = Validity { from: self.begin(), until: now() + STAND_IN_LIFETIME };
        Ok(sign::stand_in(authority, &user(record), validity)?)
    }

    /// From when on certificates hold: a clock that is wrong now must not make them begin in the future.
    fn begin(&self) -> OffsetDateTime {
        self.built.min(now())
    }
}

fn outcome_text<T>(outcome: &Result<T, Refusal>) -> &str {
    match outcome {
        Ok(_) => "ok",
        Err(refusal) => &refusal.message,
    }
}

#[cfg(test)]
mod tests;
