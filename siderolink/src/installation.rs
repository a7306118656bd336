//! Which network the installation has, and the plane's key in it: the Secret `sidero-system/siderolink`.
//!
//! It is only read here: `controllers apply` makes it. One that vanishes (`clusterctl move` takes it along) changes
//! nothing until the next start; one that changes (it was brought by a move) is followed.

use std::time::Duration;

use bloomery_api::siderolink::{INSTALLATION_ID, Network, PRIVATE_KEY, SECRET_NAME, key};
use bloomery_platform::client::Kubernetes;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::sync::watch;
use zeroize::Zeroizing;

/// The namespace of the Secret.
pub const NAMESPACE: &str = "sidero-system";
/// How often it is asked for until it is there.
const FIRST_EVERY: Duration = Duration::from_secs(1);
/// How often a change is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// An installation.
#[derive(Clone, PartialEq, Eq)]
pub struct Installation {
    /// Its network.
    pub network: Network,
    /// The plane's private key.
    pub private_key: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Installation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Installation").field("network", &self.network.to_string()).finish_non_exhaustive()
    }
}

/// Why a Secret is no installation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// An entry is not there.
    #[error("failed to find the entry {0:?} in Secret {NAMESPACE}/{SECRET_NAME}")]
    Missing(&'static str),
    /// An entry is no text.
    #[error("failed to read the entry {0:?} in Secret {NAMESPACE}/{SECRET_NAME}")]
    Unreadable(&'static str),
}

impl Installation {
    /// Reads the Secret.
    pub fn of(secret: &Secret) -> Result<Self, Unusable> {
        let text = |name| {
            let data = secret.data.as_ref().and_then(|data| data.get(name)).ok_or(Unusable::Missing(name))?;
            std::str::from_utf8(&data.0).map_err(|_| Unusable::Unreadable(name))
        };
        let private_key = key(text(PRIVATE_KEY)?.trim()).ok_or(Unusable::Unreadable(PRIVATE_KEY))?;
        let id = text(INSTALLATION_ID)?;
        Ok(Self { network: Network::of_installation(id), private_key: Zeroizing::new(private_key) })
    }
}

/// Keeps `installation` what the Secret says.
pub async fn follow(kubernetes: Kubernetes, installation: watch::Sender<Option<Installation>>) {
    let mut said = String::new();
    loop {
        let news = look(&kubernetes).await;
        let problem = match news {
            Ok(Some(found)) => {
                let changed = installation.send_if_modified(|current| {
                    let is_news = current.as_ref() != Some(&found);
                    *current = Some(found.clone());
                    is_news
                });
                if changed {
                    tracing::info!(network = %found.network, "installation read");
                }
                String::new()
            }
            Ok(None) => String::new(),
            Err(problem) => problem,
        };
        if !problem.is_empty() && problem != said {
            tracing::warn!(error = problem, "installation not read");
        }
        said = problem;
        let is_there = installation.borrow().is_some();
        tokio::time::sleep(if is_there { LOOK_EVERY } else { FIRST_EVERY }).await;
    }
}

/// `None` while the API is away.
async fn look(kubernetes: &Kubernetes) -> Result<Option<Installation>, String> {
    let Some(client) = kubernetes.client() else { return Ok(None) };
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    match secrets.get_opt(SECRET_NAME).await {
        Ok(Some(secret)) => Installation::of(&secret).map(Some).map_err(|error| bloomery_base::chain(&error)),
        Ok(None) => Err(format!("Secret {NAMESPACE}/{SECRET_NAME} does not exist")),
        Err(error) => Err(bloomery_base::chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let entry = |(name, text): &(&str, &str)| ((*name).to_owned(), ByteString(text.as_bytes().to_vec()));
        Secret { data: Some(entries.iter().map(entry).collect::<BTreeMap<_, _>>()), ..Secret::default() }
    }

    #[test]
    fn a_secret_is_read_as_sidero_wrote_it() {
        let key = "AKfdafTbmPeEqjtDc3OPGK9FriGO7CCBBIOZG4RjgmY=";
        let found = Installation::of(&secret(&[("installation-id", key), ("private-key", key)])).unwrap();
        assert_eq!(found.network.to_string(), "fdae:2859:5bb1:7a03::/64");
        assert_eq!(found.private_key[1], 0xa7);
        assert!(!format!("{found:?}").contains("private_key: "), "{found:?}");
        let cases: [(&[(&str, &str)], Unusable); 4] = [
            (&[], Unusable::Missing("private-key")),
            (&[("private-key", key)], Unusable::Missing("installation-id")),
            (&[("private-key", "AAAA"), ("installation-id", key)], Unusable::Unreadable("private-key")),
            (&[("private-key", ""), ("installation-id", key)], Unusable::Unreadable("private-key")),
        ];
        for (entries, expected) in cases {
            assert_eq!(Installation::of(&secret(entries)), Err(expected), "{entries:?}");
        }
    }
}
