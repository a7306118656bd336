//! Gives boot tokens to machines and checks those that agents show.
//!
//! Duty: the key in its Secret, and [`Boots`], the memory of who was given what. It must never log a token
//! or the key, and never replace a key that is there.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bloomery_api::crds::MOVE_LABEL;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use rand::RngCore as _;

use crate::boots::{Boots, Caller, Memory, Problem};
use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};
use crate::token::{KEY_LEN, Key, NONCE_LEN, Token};

/// Namespace of the key.
pub const KEY_NAMESPACE: &str = "default";
/// Secret with the key.
pub const KEY_SECRET: &str = "bloomery-agent-token";
/// Field of the Secret.
pub const KEY_FIELD: &str = "key";
/// How long a key that was read is used before it is looked at again: a pivot brings another.
const KEY_MEMO: Duration = Duration::from_mins(1);

/// The key is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no Kubernetes API yet.
    #[error("failed to reach the Kubernetes API for the key of boot tokens")]
    Away,
    /// Reading or creating failed.
    #[error("failed to {verb} Secret {KEY_NAMESPACE}/{KEY_SECRET}")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Cause.
        source: Box<kube::Error>,
    },
    /// No answer.
    #[error("failed to read Secret {KEY_NAMESPACE}/{KEY_SECRET} in time")]
    Silent,
    /// Something else is in the Secret.
    #[error("failed to find {KEY_LEN} octets under {KEY_FIELD} in Secret {KEY_NAMESPACE}/{KEY_SECRET}")]
    Malformed,
}

/// A call that is not the machine's present agent's.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The token.
    #[error(transparent)]
    Problem(Problem),
    /// Nobody can tell.
    #[error("failed to check the boot token")]
    Key(#[source] KeyError),
}

/// Gives and checks tokens. Clones share their memory.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    kubernetes: Kubernetes,
    required: bool,
    boots: Mutex<Boots>,
    key: tokio::sync::Mutex<Option<(Instant, Key)>>,
}

impl Tokens {
    /// `required` is `--require-agent-token`.
    pub fn new(kubernetes: Kubernetes, required: bool) -> Self {
        Self(Arc::new(Inner {
            kubernetes,
            required,
            boots: Mutex::default(),
            key: tokio::sync::Mutex::default(),
        }))
    }

    /// A new token for the machine; all earlier ones are worth nothing from now on.
    pub async fn give(&self, uuid: &str) -> Result<String, KeyError> {
        let key = self.key().await?;
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let token = key.sign(uuid, nonce, now_ms());
        self.boots(|boots| boots.give(uuid, token));
        Ok(token.text())
    }

    /// The machine has a Server: what is remembered of its boots is kept apart from strangers'.
    pub fn keep(&self, uuid: &str) {
        self.boots(|boots| boots.keep(uuid));
    }

    /// The machine's agent called from `address`.
    pub fn called(&self, caller: &Caller, address: IpAddr) {
        self.boots(|boots| boots.called(caller, address, Instant::now()));
    }

    /// Whether the machine's present agent called a moment ago, from another address than this one.
    pub fn is_alive_elsewhere(&self, uuid: &str, address: IpAddr) -> bool {
        self.boots(|boots| boots.is_alive_elsewhere(uuid, address, Instant::now()))
    }

    /// The machine was told to boot something else.
    pub fn end(&self, uuid: &str) {
        self.boots(|boots| boots.end(uuid));
    }

    /// Whether the token that an agent shows, or that it shows none, makes it the machine's present agent.
    pub async fn check(&self, uuid: &str, shown: Option<&str>) -> Result<Caller, CheckError> {
        let Some(shown) = shown else {
            return if self.0.required {
                Err(CheckError::Problem(Problem::Missing))
            } else {
                Ok(Caller { uuid: uuid.to_owned(), token: None })
            };
        };
        let token = Token::parse(shown).ok_or(CheckError::Problem(Problem::Forged))?;
        let caller = Caller { uuid: uuid.to_owned(), token: Some(token) };
        if self.boots(|boots| boots.is_current(uuid, &token)) {
            return Ok(caller);
        }
        let key = self.key().await.map_err(CheckError::Key)?;
        if !key.has_signed(uuid, &token) {
            return Err(CheckError::Problem(Problem::Forged));
        }
        self.boots(|boots| boots.admit(uuid, token, now_ms())).map_err(CheckError::Problem)?;
        Ok(caller)
    }

    /// Works with what is remembered of the caller's boot; `None` when that boot is over.
    pub fn with<T>(&self, caller: &Caller, work: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        self.boots(|boots| boots.memory(caller).map(work))
    }

    /// Whether this process gave the caller its boot.
    pub fn was_given(&self, caller: &Caller) -> bool {
        self.boots(|boots| boots.was_given(caller))
    }

    fn boots<T>(&self, work: impl FnOnce(&mut Boots) -> T) -> T {
        work(&mut self.0.boots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn key(&self) -> Result<Key, KeyError> {
        let mut known = self.0.key.lock().await;
        if let Some((_, key)) = known.as_ref().filter(|(read, _)| read.elapsed() < KEY_MEMO) {
            return Ok(key.clone());
        }
        match read_or_create(&self.0.kubernetes).await {
            Ok(key) => {
                *known = Some((Instant::now(), key.clone()));
                Ok(key)
            }
            // The old one is better than none while the API is away.
            Err(error) => known.as_ref().map(|(_, key)| key.clone()).ok_or(error),
        }
    }
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

async fn read_or_create(kubernetes: &Kubernetes) -> Result<Key, KeyError> {
    let client = kubernetes.client().ok_or(KeyError::Away)?;
    tokio::time::timeout(ANSWER_WITHIN, async {
        if let Some(key) = read(&client).await? {
            return Ok(key);
        }
        create(&client).await?;
        // Read back: another may have been quicker.
        read(&client).await?.ok_or(KeyError::Malformed)
    })
    .await
    .unwrap_or(Err(KeyError::Silent))
}

async fn read(client: &Client) -> Result<Option<Key>, KeyError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), KEY_NAMESPACE);
    let secret = secrets
        .get_opt(KEY_SECRET)
        .await
        .map_err(|source| KeyError::Api { verb: "read", source: Box::new(source) })?;
    let Some(secret) = secret else { return Ok(None) };
    let octets = secret.data.as_ref().and_then(|data| data.get(KEY_FIELD));
    octets.and_then(|octets| Key::from_slice(&octets.0)).map(Some).ok_or(KeyError::Malformed)
}

async fn create(client: &Client) -> Result<(), KeyError> {
    let mut octets = vec![0; KEY_LEN];
    rand::rng().fill_bytes(&mut octets);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET.to_owned()),
            namespace: Some(KEY_NAMESPACE.to_owned()),
            labels: Some([(MOVE_LABEL.to_owned(), String::new())].into()),
            ..ObjectMeta::default()
        },
        data: Some([(KEY_FIELD.to_owned(), ByteString(octets))].into()),
        ..Secret::default()
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), KEY_NAMESPACE);
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => {
            tracing::info!(secret = KEY_SECRET, "key of boot tokens created");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(source) => Err(KeyError::Api { verb: "create", source: Box::new(source) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::{Failure, FakeApi};

    const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
    const SECRET: &str = "/api/v1/namespaces/default/secrets/bloomery-agent-token";

    fn tokens(api: &FakeApi) -> Tokens {
        Tokens::new(Kubernetes::with_client(api.client()), true)
    }

    fn problem(checked: &Result<Caller, CheckError>) -> Option<Problem> {
        match checked {
            Err(CheckError::Problem(problem)) => Some(*problem),
            Ok(_) | Err(CheckError::Key(_)) => None,
        }
    }

    #[tokio::test]
    async fn the_key_is_made_once_moves_along_and_outlives_a_restart() {
        let api = FakeApi::default();
        let token = tokens(&api).give(UUID).await.unwrap();
        let secret = api.object(SECRET).unwrap();
        assert_eq!(secret["metadata"]["labels"][MOVE_LABEL], "");
        let key = data_encoding::BASE64.decode(secret["data"]["key"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(key.len(), KEY_LEN);
        let restarted = tokens(&api);
        assert!(restarted.check(UUID, Some(&token)).await.is_ok());
        assert_eq!(api.writes().len(), 1);
        let other = UUID.replace('4', "5");
        assert_eq!(problem(&restarted.check(&other, Some(&token)).await), Some(Problem::Forged));
        assert_eq!(problem(&restarted.check(UUID, Some("x")).await), Some(Problem::Forged));
        assert_eq!(problem(&restarted.check(UUID, None).await), Some(Problem::Missing));
    }

    #[tokio::test]
    async fn racing_processes_end_up_with_one_key() {
        let api = FakeApi::default();
        let (one, other) = (tokens(&api), tokens(&api));
        let (token, second) = tokio::join!(one.give(UUID), other.give("other"));
        assert!(other.check(UUID, Some(&token.unwrap())).await.is_ok());
        assert!(one.check("other", Some(&second.unwrap())).await.is_ok());
    }

    #[tokio::test]
    async fn a_foreign_secret_is_left_alone() {
        let api = FakeApi::default();
        api.put(SECRET, serde_json::json!({ "data": { "key": "c2hvcnQ=" } }));
        assert!(matches!(tokens(&api).give(UUID).await, Err(KeyError::Malformed)));
        assert!(api.writes().is_empty());
        api.fail(SECRET, Failure::Status(403));
        assert!(matches!(tokens(&api).give(UUID).await, Err(KeyError::Api { .. })));
    }

    #[tokio::test]
    async fn an_agent_without_token_acts_only_where_that_is_allowed() {
        let api = FakeApi::default();
        let lenient = Tokens::new(Kubernetes::with_client(api.client()), false);
        let caller = lenient.check(UUID, None).await.unwrap();
        assert_eq!(caller.token, None);
        assert!(lenient.with(&caller, |_| ()).is_some());
        // A token that is shown must be good all the same.
        assert_eq!(problem(&lenient.check(UUID, Some("AA")).await), Some(Problem::Forged));
    }
}
