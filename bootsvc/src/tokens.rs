//! Gives boot tokens to machines and checks those that agents show.
//!
//! Duty: the key in its Secret, and [`Boots`], the memory of who was given what. It must never log a token
//! or the key, and never replace a key that is there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bloomery_agent_api::{BmcInfo, seal};
use bloomery_api::Server;
use bloomery_api::crds::MOVE_LABEL;
use bloomery_api::decision::order::Order;
use bloomery_api::evidence::RecordId;
use bloomery_api::plane::Authority;
use bloomery_api::trust::{KEY_LEN, SigningKey};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use rand::RngCore as _;
use serde_json::json;

use crate::boots::{Boots, Caller, Memory, Problem};
use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};
use crate::token::{NONCE_LEN, Node, Token};

pub const KEY_NAMESPACE: &str = "default";
pub const KEY_SECRET: &str = "bloomery-agent-token";
pub const KEY_FIELD: &str = "key";
/// Field of the Secret with the X25519 key that accounts of management controllers are sealed to.
pub const SEALING_FIELD: &str = "sealing-key";
/// How long a key that was read is used before it is looked at again: a pivot brings another.
const KEY_MEMO: Duration = Duration::from_mins(1);

/// The key is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("failed to reach the Kubernetes API for the key of boot tokens")]
    Away,
    #[error("failed to {verb} Secret {KEY_NAMESPACE}/{KEY_SECRET}")]
    Api { verb: &'static str, source: Box<kube::Error> },
    #[error("failed to read Secret {KEY_NAMESPACE}/{KEY_SECRET} in time")]
    Silent,
    #[error("failed to find {KEY_LEN} octets under {KEY_FIELD} in Secret {KEY_NAMESPACE}/{KEY_SECRET}")]
    Malformed,
}

/// A call that is not the machine's present agent's.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Problem(Problem),
    #[error("failed to check the boot token")]
    Key(#[source] Arc<KeyError>),
}

impl From<KeyError> for CheckError {
    fn from(error: KeyError) -> Self {
        Self::Key(Arc::new(error))
    }
}

/// A sealed account that is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The keys are not at hand.
    #[error("failed to open a sealed account")]
    Key(#[source] KeyError),
    /// There is no key to seal to.
    #[error("failed to open a sealed account: this plane has no key for that")]
    NoKey,
    #[error("failed to take a sealed account")]
    Seal(#[source] seal::Error),
}

/// Gives and checks tokens. Clones share their memory.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    kubernetes: Kubernetes,
    required: bool,
    boots: Mutex<Boots>,
    keys: tokio::sync::Mutex<Option<(Instant, Keys)>>,
}

#[derive(Clone)]
struct Keys {
    token: SigningKey,
    /// None where it could not be put into a Secret of an older release.
    sealing: Option<[u8; seal::KEY_LENGTH]>,
}

impl Tokens {
    /// `required` is `--require-agent-token`.
    pub fn new(kubernetes: Kubernetes, required: bool) -> Self {
        Self(Arc::new(Inner {
            kubernetes,
            required,
            boots: Mutex::default(),
            keys: tokio::sync::Mutex::default(),
        }))
    }

    /// A new token for the machine; all earlier ones are worth nothing from now on.
    pub async fn give(&self, uuid: &str) -> Result<String, KeyError> {
        let key = self.keys().await?.token;
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let token = self.boots(|boots| {
            let token = Token::sign(&key, uuid, nonce, boots.next_ms(uuid, now_ms()));
            boots.give(uuid, token);
            token
        });
        Ok(token.text())
    }

    /// A new token of a node, and what names its boot on record.
    pub async fn give_node(&self, node: &Node<'_>) -> Result<(String, String), KeyError> {
        let key = self.keys().await?.token;
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let token = Token::sign_node(&key, node, nonce, now_ms());
        Ok((token.text(), token.id()))
    }

    /// What names the boot of the token that a node shows; `None` if we did not make it for this node.
    pub async fn node(&self, node: &Node<'_>, shown: &str) -> Result<Option<String>, KeyError> {
        let Some(token) = Token::parse(shown) else { return Ok(None) };
        let key = self.keys().await?.token;
        Ok(token.is_signed_for(&key, node).then(|| token.id()))
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
        self.boots(|boots| boots.end(uuid, now_ms()));
    }

    /// The signed order to wipe for the caller's boot; none where the plane may not act or the boot is over. That of an
    /// agent of upstream's is kept for it: such an agent cannot show one.
    pub async fn sign_order(
        &self,
        caller: &Caller,
        server: &Server,
        authority: &Authority,
        record: &RecordId,
    ) -> Result<Option<Vec<u8>>, KeyError> {
        let key = self.keys().await?.token;
        let Some(order) = Order::sign(&key, server, authority, record, caller.boot()) else {
            return Ok(None);
        };
        if caller.token.is_none() {
            self.with(caller, |memory| memory.upstream_order.clone_from(&order));
        }
        Ok(Some(order))
    }

    /// The order that the caller shows, if it is good for the Server as it is now.
    pub async fn order(
        &self,
        caller: &Caller,
        server: &Server,
        authority: &Authority,
        shown: &[u8],
    ) -> Result<Option<Order>, KeyError> {
        let key = self.keys().await?.token;
        let kept = match &caller.token {
            Some(_) => None,
            None => self.with(caller, |memory| memory.upstream_order.clone()),
        };
        let shown = kept.as_deref().unwrap_or(shown);
        Ok(Order::verify(&key, server, authority, shown, caller.boot()))
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
        let key = self.keys().await?.token;
        if !token.is_signed(&key, uuid) {
            return Err(CheckError::Problem(Problem::Forged));
        }
        self.boots(|boots| boots.admit(uuid, token, now_ms())).map_err(CheckError::Problem)?;
        Ok(caller)
    }

    /// Which of these names a token was given for: a machine says its system UUID, which more than one Server can have.
    pub async fn subject<'a>(&self, names: &'a [String], shown: &str) -> Option<&'a str> {
        let token = Token::parse(shown)?;
        let key = self.keys().await.ok()?.token;
        names.iter().map(String::as_str).find(|name| token.is_signed(&key, name))
    }

    /// Whether an agent must show a token.
    pub fn required(&self) -> bool {
        self.0.required
    }

    /// The key that accounts are sealed to.
    pub async fn sealing_key(&self) -> Option<[u8; seal::KEY_LENGTH]> {
        self.keys().await.ok()?.sealing.as_ref().map(seal::public_key)
    }

    /// Its fingerprint, as the kernel argument of the agent tells it.
    pub async fn plane_fingerprint(&self) -> Option<String> {
        self.sealing_key().await.map(|key| seal::fingerprint(&key))
    }

    /// What is in the sealed account of the machine with this system UUID.
    pub async fn open(&self, uuid: &str, info: &BmcInfo) -> Result<BmcInfo, OpenError> {
        let keys = self.keys().await.map_err(OpenError::Key)?;
        let sealing = keys.sealing.ok_or(OpenError::NoKey)?;
        seal::open(&sealing, uuid, info).map_err(OpenError::Seal)
    }

    /// Works with what is remembered of the caller's boot; `None` when that boot is over.
    pub fn with<T>(&self, caller: &Caller, work: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        self.boots(|boots| boots.memory(caller).map(work))
    }

    fn boots<T>(&self, work: impl FnOnce(&mut Boots) -> T) -> T {
        work(&mut self.0.boots.lock())
    }

    async fn keys(&self) -> Result<Keys, KeyError> {
        let mut known = self.0.keys.lock().await;
        if let Some((_, keys)) = known.as_ref().filter(|(read, _)| read.elapsed() < KEY_MEMO) {
            return Ok(keys.clone());
        }
        match read_or_create(&self.0.kubernetes).await {
            Ok(keys) => {
                *known = Some((Instant::now(), keys.clone()));
                Ok(keys)
            }
            // The old ones are better than none while the API is away.
            Err(error) => known.as_ref().map(|(_, keys)| keys.clone()).ok_or(error),
        }
    }
}

fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

async fn read_or_create(kubernetes: &Kubernetes) -> Result<Keys, KeyError> {
    let client = kubernetes.client().ok_or(KeyError::Away)?;
    let secrets: Api<Secret> = Api::namespaced(client, KEY_NAMESPACE);
    tokio::time::timeout(ANSWER_WITHIN, async {
        let found = if let Some(found) = read(&secrets).await? {
            found
        } else {
            create(&secrets).await?;
            // Read back: another may have been quicker.
            read(&secrets).await?.ok_or(KeyError::Malformed)?
        };
        let (keys, metadata) = found;
        if keys.sealing.is_some() {
            return Ok(keys);
        }
        // Of an older release: it had one key only.
        match add_sealing_key(&secrets, &metadata).await {
            Ok(()) => Ok(read(&secrets).await?.map_or(keys, |(keys, _)| keys)),
            Err(error) => {
                let error = bloomery_base::chain(&error);
                tracing::warn!(secret = KEY_SECRET, error, "no key to seal accounts to");
                Ok(keys)
            }
        }
    })
    .await
    .unwrap_or(Err(KeyError::Silent))
}

fn failed(verb: &'static str) -> impl FnOnce(kube::Error) -> KeyError {
    move |source| KeyError::Api { verb, source: Box::new(source) }
}

async fn read(secrets: &Api<Secret>) -> Result<Option<(Keys, ObjectMeta)>, KeyError> {
    let Some(secret) = secrets.get_opt(KEY_SECRET).await.map_err(failed("read"))? else { return Ok(None) };
    let field = |name: &str| secret.data.as_ref().and_then(|data| data.get(name));
    let token =
        field(KEY_FIELD).and_then(|octets| SigningKey::from_slice(&octets.0)).ok_or(KeyError::Malformed)?;
    let sealing = field(SEALING_FIELD).map(|octets| octets.0.as_slice().try_into()).transpose();
    let sealing = sealing.map_err(|_| KeyError::Malformed)?;
    Ok(Some((Keys { token, sealing }, secret.metadata)))
}

fn new_key() -> ByteString {
    let mut octets = vec![0; KEY_LEN];
    rand::rng().fill_bytes(&mut octets);
    ByteString(octets)
}

/// Only into the Secret that was read: a key that is there is never replaced.
async fn add_sealing_key(secrets: &Api<Secret>, read: &ObjectMeta) -> Result<(), KeyError> {
    let change = json!({
        "metadata": { "uid": read.uid, "resourceVersion": read.resource_version },
        "data": { SEALING_FIELD: new_key() },
    });
    match secrets.patch(KEY_SECRET, &PatchParams::default(), &Patch::Merge(change)).await {
        Ok(_) => tracing::info!(secret = KEY_SECRET, "key that accounts are sealed to created"),
        // Another was quicker.
        Err(kube::Error::Api(status)) if status.is_conflict() => {}
        Err(error) => return Err(failed("update")(error)),
    }
    Ok(())
}

async fn create(secrets: &Api<Secret>) -> Result<(), KeyError> {
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(KEY_SECRET.to_owned()),
            namespace: Some(KEY_NAMESPACE.to_owned()),
            labels: Some([(MOVE_LABEL.to_owned(), String::new())].into()),
            ..ObjectMeta::default()
        },
        data: Some([KEY_FIELD, SEALING_FIELD].map(|field| (field.to_owned(), new_key())).into()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => tracing::info!(secret = KEY_SECRET, "key of boot tokens created"),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(failed("create")(error)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fake_api::{Failure, FakeApi};

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
    async fn accounts_are_sealed_to_a_key_that_is_made_once() {
        let api = FakeApi::default();
        let (one, restarted) = (tokens(&api), tokens(&api));
        let key = one.sealing_key().await.unwrap();
        assert_eq!(restarted.sealing_key().await, Some(key));
        let fingerprint = one.plane_fingerprint().await.unwrap();
        let account = BmcInfo { user: "sidero".to_owned(), pass: "secret".to_owned(), ..BmcInfo::default() };
        let sealed = seal::PlaneKey::verified(&key, &fingerprint).unwrap().seal(UUID, &account).unwrap();
        assert_eq!(restarted.open(UUID, &sealed).await.unwrap().pass, "secret");
        // Another machine's box is none of this one's.
        assert!(matches!(restarted.open("other", &sealed).await, Err(OpenError::Seal(_))));
    }

    #[tokio::test]
    async fn a_secret_of_an_older_release_keeps_its_key_and_gets_one_to_seal_to() {
        let api = FakeApi::default();
        let old = data_encoding::BASE64.encode(&[5; KEY_LEN]);
        api.put(SECRET, json!({ "data": { "key": old } }));
        let token = Token::sign(&SigningKey::new([5; KEY_LEN]), UUID, [1; NONCE_LEN], now_ms()).text();
        let (one, other) = (tokens(&api), tokens(&api));
        assert!(one.check(UUID, Some(&token)).await.is_ok());
        let key = one.sealing_key().await;
        assert!(key.is_some() && key == other.sealing_key().await);
        assert_eq!(api.object(SECRET).unwrap()["data"]["key"], old.as_str());
        // Where it may not be written, tokens are given and checked all the same.
        api.put(SECRET, json!({ "data": { "key": old } }));
        api.fail_writes(SECRET, Failure::Status(403));
        let refused = tokens(&api);
        assert!(refused.give(UUID).await.is_ok());
        assert_eq!(refused.sealing_key().await, None);
    }

    #[tokio::test]
    async fn a_token_tells_which_server_of_one_uuid_it_is_for() {
        let api = FakeApi::default();
        let tokens = tokens(&api);
        let names = ["one".to_owned(), "other".to_owned()];
        let token = tokens.give("other").await.unwrap();
        assert_eq!(tokens.subject(&names, &token).await, Some("other"));
        assert_eq!(tokens.subject(&names[..1], &token).await, None);
        assert_eq!(tokens.subject(&names, "x").await, None);
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
