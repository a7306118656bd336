//! What the watch of all Servers tells [`super::Servers`].

use std::collections::BTreeMap;

use bloomery_api::{Server, ServerSpec};
use tokio_util::sync::CancellationToken;

use super::{Known, Servers, version};
use crate::health::Part;
use crate::kubernetes::Kubernetes;
use crate::watch::{self, Keeper, Seen};

impl Servers {
    /// Follows the Servers until `shutdown`.
    pub async fn follow(self, kubernetes: Kubernetes, part: Part, shutdown: CancellationToken) {
        watch::follow::<Server>(self, kubernetes, part, shutdown).await;
    }
}

impl Keeper<Server> for Servers {
    /// What was noted meanwhile and is later than all of the list stays.
    fn listed(&self, all: BTreeMap<String, Seen<Server>>) {
        let listing: Vec<_> =
            all.into_iter().map(|(name, seen)| (name, Known::of(&readable(seen)))).collect();
        self.with(|state| {
            let of = |known: &Known| version(&known.server);
            let latest = listing.iter().map(|(_, known)| of(known)).max().unwrap_or_default();
            let before = std::mem::take(&mut state.servers);
            (state.aliases, state.unaccepted) = (0, 0);
            let later = before.into_iter().filter(|(_, known)| of(known) > latest);
            for (name, known) in listing.into_iter().chain(later) {
                state.put(name, known);
            }
            // Anything may have gone.
            state.built = None;
            if !std::mem::replace(&mut state.listed, true) {
                tracing::info!(servers = state.servers.len(), "all Servers are known");
            }
        });
    }

    fn changed(&self, _: String, server: Seen<Server>) {
        self.note(&readable(server));
    }

    fn removed(&self, name: &str) {
        self.with(|state| state.remove(name));
    }
}

/// A Server that cannot be read is known by its name, which is its machine's UUID, and by its annotations.
fn readable(server: Seen<Server>) -> Server {
    server.unwrap_or_else(|metadata| {
        let mut server = Server::new(metadata.name.as_deref().unwrap_or_default(), ServerSpec::default());
        server.metadata = metadata;
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
            names.iter().map(|(name, version)| ((*name).to_owned(), Ok(server(name, version)))).collect()
        };
        servers.listed(list(&[("a", "5"), ("b", "7")]));
        assert_eq!(names(&servers), ["a", "b", "made-meanwhile"]);
        // An older version of what is known changes nothing.
        servers.note(&server("a", "4"));
        assert_eq!(
            servers.known("a").and_then(|known| known.server.metadata.resource_version.clone()).as_deref(),
            Some("5")
        );
        servers.listed(list(&[("b", "12")]));
        assert_eq!(names(&servers), ["b"]);
    }
}
