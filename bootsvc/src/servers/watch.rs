//! The watch that keeps [`super::Servers`] up to date.

use std::collections::BTreeMap;
use std::time::Duration;

use bloomery_api::{Server, ServerSpec};
use futures::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use super::{Servers, version};
use crate::health::{Part, State};
use crate::kubernetes::Kubernetes;

/// Pause after an error: before the kinds are installed there are many, and machines wait.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a new client of the API is looked for.
const CLIENT_EVERY: Duration = Duration::from_secs(1);

impl Servers {
    /// Follows the Servers until `shutdown`. With each new client of the API it begins anew; what was read before counts
    /// until the new list is complete.
    pub async fn follow(self, kubernetes: Kubernetes, part: Part, shutdown: CancellationToken) {
        let following = async {
            loop {
                let mut clients = kubernetes.clients();
                let client = clients.borrow_and_update().clone();
                match client {
                    None => tokio::time::sleep(CLIENT_EVERY).await,
                    Some(client) => {
                        tokio::select! {
                            () = self.watch(client, &part) => {}
                            changed = clients.changed() => if changed.is_err() {
                                // It never changes any more: the client that is there is the last.
                                tokio::time::sleep(CLIENT_EVERY).await;
                            },
                        }
                    }
                }
            }
        };
        shutdown.run_until_cancelled(following).await;
    }

    async fn watch(&self, client: Client, part: &Part) {
        let servers: Api<DeserializeGuard<Server>> = Api::all(client);
        let mut events = std::pin::pin!(watch(servers, watcher::Config::default()).backoff(Steady));
        let mut listing = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing.clear(),
                Ok(Event::InitApply(server)) => {
                    let server = readable(server);
                    listing.insert(server.metadata.name.clone().unwrap_or_default(), server);
                }
                Ok(Event::InitDone) => {
                    self.listed(&std::mem::take(&mut listing));
                    part.set(State::Up);
                }
                Ok(Event::Apply(server)) => self.note(&readable(server)),
                Ok(Event::Delete(server)) => {
                    let name = readable(server).metadata.name.unwrap_or_default();
                    self.with(|state| state.remove(&name));
                }
                Err(error) => {
                    let error = bloomery_base::chain(&error);
                    tracing::debug!(error, "watch of Servers interrupted");
                    part.set(State::Down(error));
                }
            }
        }
    }

    /// The whole list was read. What was noted meanwhile and is later than all of it stays.
    fn listed(&self, listing: &BTreeMap<String, Server>) {
        self.with(|state| {
            let latest = listing.values().map(version).max().unwrap_or_default();
            let before = std::mem::take(&mut state.servers);
            for server in listing.values().chain(before.values().filter(|server| version(server) > latest)) {
                state.put(server);
            }
            // Anything may have gone.
            state.built = None;
            if !std::mem::replace(&mut state.listed, true) {
                tracing::info!(servers = state.servers.len(), "all Servers are known");
            }
        });
    }
}

/// The same pause each time.
struct Steady;

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PAUSE)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// A Server that cannot be read is known by its name, which is its machine's UUID, and by its annotations.
fn readable(server: DeserializeGuard<Server>) -> Server {
    server.0.unwrap_or_else(|invalid| {
        let name = invalid.metadata.name.clone().unwrap_or_default();
        tracing::warn!(server = name, error = invalid.error, "server cannot be read");
        let mut server = Server::new(&name, ServerSpec::default());
        server.metadata = invalid.metadata;
        server
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, version: &str) -> Server {
        let mut server = Server::new(name, ServerSpec::default());
        server.metadata.uid = Some(format!("uid-of-{name}"));
        server.metadata.resource_version = Some(version.to_owned());
        server
    }

    fn names(servers: &Servers) -> Vec<String> {
        servers.with(|state| state.servers.keys().cloned().collect())
    }

    #[test]
    fn a_list_takes_the_place_of_what_was_known_but_not_of_what_is_later() {
        let servers = Servers::default();
        servers.note(&server("gone", "3"));
        servers.note(&server("made-meanwhile", "9"));
        let list = |names: &[(&str, &str)]| {
            names.iter().map(|(name, version)| ((*name).to_owned(), server(name, version))).collect()
        };
        servers.listed(&list(&[("a", "5"), ("b", "7")]));
        assert_eq!(names(&servers), ["a", "b", "made-meanwhile"]);
        // An older version of what is known changes nothing.
        servers.note(&server("a", "4"));
        assert_eq!(
            servers.known("a").and_then(|known| known.metadata.resource_version).as_deref(),
            Some("5")
        );
        servers.listed(&list(&[("b", "12")]));
        assert_eq!(names(&servers), ["b"]);
    }
}
