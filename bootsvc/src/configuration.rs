//! The machine configuration of a bound machine: which boot may have it, and where it is read from.
//!
//! The state is on the binding, so that another replica, or this program after a restart, judges alike. It must never
//! read a Secret but the one of the binding at hand.

use std::time::{Duration, Instant};

use bloomery_api::ServerBinding;
use bloomery_api::metadata::delivery::{Asked, Refusal, Shown, Sight, may_have_configuration};
use bloomery_api::metadata::rendered::{NAMESPACE, NotRendered, Rendered, secret_name};
use bloomery_api::plane::Authority;
use bloomery_api::server::Server;
use bloomery_api::server_binding::Boot;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::Patch;
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;

use crate::kubernetes::ANSWER_WITHIN;
use crate::neighbours::Seen;
use crate::recent::Recent;
use crate::token::Node;
use crate::tokens::{KeyError, Tokens};
use crate::writes;

/// Refused clients are told of at most so often for one Server and one reason, and for so many of these at most.
const TOLD_AGAIN: Duration = Duration::from_mins(1);
const MOST_TOLD: usize = 4096;

/// Why a boot is not put on record, or a configuration not had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to reach the Kubernetes API")]
    Away,
    #[error("failed to {verb} {what}")]
    Api { verb: &'static str, what: &'static str, source: Box<kube::Error> },
    #[error("failed to {verb} {what} in time")]
    Silent { verb: &'static str, what: &'static str },
    #[error("failed to get the key of boot tokens")]
    Key(#[source] KeyError),
    #[error("failed to name the binding: it has no uid")]
    Unnamed,
    #[error("failed to find the machine configuration: it was not made yet")]
    NotYet,
    #[error("failed to use the Secret with the machine configuration")]
    Secret(#[source] NotRendered),
}

/// Puts a new boot on record, in the place of all before, and gives its token.
pub async fn grant(
    client: &Client,
    tokens: &Tokens,
    binding: &ServerBinding,
    epoch: i64,
    card: Option<&str>,
) -> Result<String, Error> {
    let (token, id) = tokens.give_node(&node(binding, epoch)?).await.map_err(Error::Key)?;
    let boot = Boot {
        id,
        epoch,
        card: card.unwrap_or_default().to_owned(),
        given_at: Some(now()),
        delivered_at: None,
    };
    let mut fields = json!(boot);
    // What the boot before was given is not this one's.
    fields["deliveredAt"] = json!(boot.delivered_at);
    fields["card"] = json!(card);
    // The uid makes it a conflict on a binding that was made anew meanwhile.
    let change = json!({ "metadata": { "uid": binding.metadata.uid }, "status": { "boot": fields } });
    patch(client, binding, &Patch::Merge(change), "record").await?;
    Ok(token)
}

/// Puts on record that the configuration was delivered in full, unless another boot was given meanwhile.
pub async fn record_delivery(client: &Client, binding: &ServerBinding, boot: &str) -> Result<(), Error> {
    let steps = json!([
        { "op": "test", "path": "/metadata/uid", "value": binding.metadata.uid },
        { "op": "test", "path": "/status/boot/id", "value": boot },
        { "op": "add", "path": "/status/boot/deliveredAt", "value": now() },
    ]);
    let steps = serde_json::from_value(steps).unwrap_or_default();
    patch::<()>(client, binding, &Patch::Json(steps), "record the delivery to").await
}

async fn patch<T: serde::Serialize + std::fmt::Debug>(
    client: &Client,
    binding: &ServerBinding,
    change: &Patch<T>,
    verb: &'static str,
) -> Result<(), Error> {
    const WHAT: &str = "the boot of a ServerBinding";
    let bindings: Api<ServerBinding> = Api::all(client.clone());
    let name = binding.metadata.name.as_deref().unwrap_or_default();
    let params = writes::params();
    match tokio::time::timeout(ANSWER_WITHIN, bindings.patch_status(name, &params, change)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(Error::Api { verb, what: WHAT, source: Box::new(source) }),
        Err(_) => Err(Error::Silent { verb, what: WHAT }),
    }
}

/// The configuration of a binding, or why there is none.
pub async fn read(client: &Client, binding: &ServerBinding) -> Result<Rendered, Error> {
    const WHAT: &str = "the Secret with the machine configuration";
    let name = secret_name(binding.metadata.name.as_deref().unwrap_or_default());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    match tokio::time::timeout(ANSWER_WITHIN, secrets.get_opt(&name)).await {
        Ok(Ok(Some(secret))) => Rendered::of(&secret, binding).map_err(|error| match error {
            // The one of the binding before: the new one comes.
            NotRendered::OtherBinding => Error::NotYet,
            NotRendered::Foreign | NotRendered::Unreadable => Error::Secret(error),
        }),
        Ok(Ok(None)) => Err(Error::NotYet),
        Ok(Err(source)) => Err(Error::Api { verb: "read", what: WHAT, source: Box::new(source) }),
        Err(_) => Err(Error::Silent { verb: "read", what: WHAT }),
    }
}

/// What a client shows and what is seen of it.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub token: Option<&'a str>,
    pub seen: &'a Seen,
}

/// Whether a client may have the configuration: the boot that its token is of, or why not.
pub async fn judge(
    tokens: &Tokens,
    server: &Server,
    binding: &ServerBinding,
    authority: &Authority,
    client: Asker<'_>,
) -> Result<Result<String, Refusal>, Error> {
    let Some(epoch) = authority.epoch() else { return Ok(Err(Refusal::NotActing)) };
    let boot = match client.token {
        Some(shown) => tokens.node(&node(binding, epoch)?, shown).await.map_err(Error::Key)?,
        None => None,
    };
    let shown = match (&boot, client.token) {
        (Some(boot), _) => Shown::Boot(boot),
        (None, Some(_)) => Shown::Forged,
        (None, None) => Shown::Nothing,
    };
    let sight = match client.seen {
        Seen::Card(card) => Sight::Card(card),
        Seen::Beyond => Sight::Beyond,
        Seen::Unknown => Sight::Unknown,
    };
    let asked = Asked { server, binding, authority, shown, sight, now: &now() };
    Ok(may_have_configuration(&asked).map(|()| boot.unwrap_or_default()))
}

fn node(binding: &ServerBinding, epoch: i64) -> Result<Node<'_>, Error> {
    let (Some(server), Some(uid)) = (&binding.metadata.name, &binding.metadata.uid) else {
        return Err(Error::Unnamed);
    };
    Ok(Node { server, binding: uid, epoch })
}

fn now() -> Time {
    Time(Timestamp::now())
}

/// Of which refusals people were told lately: who asks again and again makes no flood of events.
pub struct Told(Mutex<Recent<(String, Refusal)>>);

impl Default for Told {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MOST_TOLD, TOLD_AGAIN)))
    }
}

impl Told {
    /// Whether this is news.
    pub fn is_news(&self, server: &str, refusal: Refusal) -> bool {
        let (key, now) = ((server.to_owned(), refusal), Instant::now());
        let mut told = self.0.lock();
        if told.has(&key, now) {
            return false;
        }
        told.note(key.clone(), now);
        // What there is no room to remember is not told either.
        told.has(&key, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_in_a_while_and_a_flood_is_bounded() {
        let told = Told::default();
        assert!(told.is_news("a", Refusal::NoToken) && !told.is_news("a", Refusal::NoToken));
        assert!(told.is_news("a", Refusal::Forged) && told.is_news("b", Refusal::NoToken));
        let news = (0..10_000).filter(|number| told.is_news(&number.to_string(), Refusal::NoToken)).count();
        assert!(news <= MOST_TOLD, "{news}");
    }
}
