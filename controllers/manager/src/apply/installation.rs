//! The Secret of SideroLink: which network the installation has, and the plane's key in it. Made once.
//!
//! It carries the label that makes `clusterctl move` take it along, and lies in the namespace of the infrastructure
//! provider, whose Secrets every move looks at; upstream's, `default/siderolink`, moves with clusters of that namespace
//! alone. It must never be replaced: nodes have addresses of its network in their configurations.

use std::collections::BTreeMap;

use bloomery_api::siderolink::{INSTALLATION_ID, PRIVATE_KEY, SECRET_NAME, key, key_text, private_key};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

/// Where it lies.
const NAMESPACE: &str = "sidero-system";
/// Where Sidero Metal 0.6 has it.
const FORMER_NAMESPACE: &str = "default";
/// What `clusterctl move` takes along although no Cluster owns it.
const MOVE_LABEL: &str = "clusterctl.cluster.x-k8s.io/move";

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("failed to look for Secret {namespace}/{SECRET_NAME}")]
    Look { namespace: &'static str, source: kube::Error },
    #[error("failed to make Secret {NAMESPACE}/{SECRET_NAME}")]
    Make(#[source] kube::Error),
}

/// Makes the Secret if there is none, of what upstream's says if that is there; says whether it was made.
pub async fn ensure(client: &Client) -> Result<bool, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let look = |namespace| move |source| Error::Look { namespace, source };
    if secrets.get_opt(SECRET_NAME).await.map_err(look(NAMESPACE))?.is_some() {
        return Ok(false);
    }
    let former: Api<Secret> = Api::namespaced(client.clone(), FORMER_NAMESPACE);
    let former = former.get_opt(SECRET_NAME).await.map_err(look(FORMER_NAMESPACE))?;
    let data = former.and_then(|former| usable(former.data?)).unwrap_or_else(made);
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET_NAME.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(BTreeMap::from([(MOVE_LABEL.to_owned(), String::new())])),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(true),
        // Another replica, or a move, was first: theirs counts.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(Error::Make(error)),
    }
}

/// What of another Secret is needed, if it is whole.
fn usable(mut data: BTreeMap<String, ByteString>) -> Option<BTreeMap<String, ByteString>> {
    data.retain(|name, _| name == INSTALLATION_ID || name == PRIVATE_KEY);
    let text = |name| std::str::from_utf8(&data.get(name)?.0).ok().map(str::trim);
    let is_whole = text(PRIVATE_KEY).is_some_and(|text| key(text).is_some())
        && text(INSTALLATION_ID).is_some_and(|text| !text.is_empty());
    is_whole.then_some(data)
}

fn made() -> BTreeMap<String, ByteString> {
    let text = || ByteString(key_text(&private_key(rand::random())).into_bytes());
    BTreeMap::from([(INSTALLATION_ID.to_owned(), text()), (PRIVATE_KEY.to_owned(), text())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_secret_is_taken_over() {
        let whole = made();
        assert_eq!(usable(whole.clone()), Some(whole.clone()));
        let mut more = whole.clone();
        more.insert("other".to_owned(), ByteString(b"x".to_vec()));
        assert_eq!(usable(more), Some(whole.clone()));
        for (name, value) in [(INSTALLATION_ID, " "), (PRIVATE_KEY, "AAAA"), (PRIVATE_KEY, "")] {
            let mut broken = whole.clone();
            broken.insert(name.to_owned(), ByteString(value.as_bytes().to_vec()));
            assert_eq!(usable(broken), None, "{name} {value:?}");
            let mut less = whole.clone();
            less.remove(name);
            assert_eq!(usable(less), None, "without {name}");
        }
    }

    #[test]
    fn no_two_installations_are_alike() {
        let (one, other) = (made(), made());
        assert!(one[INSTALLATION_ID] != other[INSTALLATION_ID] && one[PRIVATE_KEY] != other[PRIVATE_KEY]);
        assert_ne!(one[INSTALLATION_ID], one[PRIVATE_KEY]);
    }
}
