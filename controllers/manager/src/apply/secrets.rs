//! Writes Secrets again that were stored before the API server had a key for them: it encrypts what is written, and
//! leaves what is not.
//!
//! It must never change a Secret. That it is done stands in a `ConfigMap` in etcd itself, so that a backup from before is
//! done again.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};

const RECORD: (&str, &str) = ("sidero-system", "bloomery-secrets-at-rest");
/// Its entry: the key that all Secrets are encrypted with.
const KEY: &str = "key";
const MANAGER: &str = "bloomery-apply";
/// Secrets of one list, so that none is large.
const PAGE: u32 = 200;
const CONCURRENCY: usize = 4;
/// The Secret was changed or deleted since it was listed: it is encrypted, or gone.
const NOT_OURS_ANY_MORE: [u16; 2] = [404, 409];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read which key Secrets are encrypted with")]
    Record(#[source] kube::Error),
    #[error("failed to list Secrets")]
    List(#[source] kube::Error),
    #[error("failed to write Secret {name} again")]
    Write {
        /// `NAMESPACE/NAME`.
        name: String,
        source: kube::Error,
    },
    #[error("failed to record that Secrets are encrypted")]
    Done(#[source] kube::Error),
}

/// Writes every Secret again unless it has been done for this key; returns how many.
pub async fn encrypt(client: &Client, key: &str) -> Result<usize, Error> {
    let records: Api<ConfigMap> = Api::namespaced(client.clone(), RECORD.0);
    let record = records.get_opt(RECORD.1).await.map_err(Error::Record)?;
    let done = record.and_then(|record| record.data?.get(KEY).cloned());
    if done.as_deref() == Some(key) {
        return Ok(0);
    }
    let count = write_all(client).await?;
    let record = ConfigMap {
        metadata: ObjectMeta {
            name: Some(RECORD.1.to_owned()),
            namespace: Some(RECORD.0.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), key.to_owned())])),
        ..ConfigMap::default()
    };
    let params = PatchParams::apply(MANAGER).force();
    records.patch(RECORD.1, &params, &Patch::Apply(&record)).await.map_err(Error::Done)?;
    Ok(count)
}

async fn write_all(client: &Client) -> Result<usize, Error> {
    let all: Api<Secret> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut count = 0;
    loop {
        let page = all.list(&params).await.map_err(Error::List)?;
        let mut writes = futures::stream::iter(page.items)
            .map(async |secret| write(client, secret).await)
            .buffer_unordered(CONCURRENCY);
        while let Some(outcome) = writes.next().await {
            outcome?;
            count += 1;
        }
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => params = params.continue_token(&next),
            _ => return Ok(count),
        }
    }
}

/// Replaces the Secret by itself, of the same resource version.
async fn write(client: &Client, secret: Secret) -> Result<(), Error> {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    match api.replace(&name, &PostParams::default(), &secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if NOT_OURS_ANY_MORE.contains(&status.code) => Ok(()),
        Err(source) => Err(Error::Write { name: format!("{namespace}/{name}"), source }),
    }
}
