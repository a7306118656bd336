//! What the watch of all Servers tells [`super::Servers`].

use std::future::Future;

use bloomery_api::{Server, ServerSpec};
use bloomery_platform::watch::{Change, Feed};
use kube::Client;
use kube::core::DeserializeGuard;

use super::Servers;

/// A Server, or what was wrong with it.
type Guarded = DeserializeGuard<Server>;

impl Servers {
    /// The Servers, and the watch that keeps them up to date while it is polled.
    pub fn watch(
        client: impl Fn() -> Option<Client> + Send,
        listed: impl Fn() + Send + 'static,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (servers, mut feed) = (Self::default(), Feed::default());
        servers.observe(&mut feed, listed);
        (servers, feed.run(client))
    }

    /// What was noted and is later than all that the watch tells stays.
    fn observe(&self, feed: &mut Feed<Guarded>, listed: impl Fn() + Send + 'static) {
        let servers = self.clone();
        feed.observe(move |change| match change {
            Change::Applied(server) => servers.note(&readable(server)),
            Change::Deleted(server) => {
                let server = readable(server);
                let name = server.metadata.name.as_deref().unwrap_or_default();
                servers.with(|state| state.remove(name, server.metadata.uid.as_deref()));
            }
            Change::Listed => {
                servers.with(|state| {
                    if !std::mem::replace(&mut state.listed, true) {
                        tracing::info!(servers = state.servers.len(), "all Servers are known");
                    }
                });
                listed();
            }
        });
    }
}

/// A Server that cannot be read is known by its name, which is its machine's UUID, and by its annotations.
fn readable(server: &Guarded) -> Server {
    match &server.0 {
        Ok(server) => server.clone(),
        Err(invalid) => {
            let name = invalid.metadata.name.clone().unwrap_or_default();
            tracing::warn!(server = name, error = invalid.error, "server cannot be read");
            let mut server = Server::new(&name, ServerSpec::default());
            server.metadata = invalid.metadata.clone();
            server
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

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
        let (servers, mut feed) = (Servers::default(), Feed::default());
        servers.observe(&mut feed, || ());
        let mut list = |all: &[(&str, &str)]| {
            feed.see(Event::Init);
            for (name, version) in all {
                feed.see(Event::InitApply(DeserializeGuard(Ok(server(name, version)))));
            }
            feed.see(Event::InitDone);
        };
        list(&[("gone", "3"), ("a", "4")]);
        // A registration of this moment.
        servers.note(&server("made-meanwhile", "9"));
        list(&[("a", "5"), ("b", "7")]);
        assert_eq!(names(&servers), ["a", "b", "made-meanwhile"]);
        // An older version of what is known changes nothing.
        servers.note(&server("a", "4"));
        let known = servers.known("a").map(|known| known.server.metadata.resource_version.clone());
        assert_eq!(known, Some(Some("5".to_owned())));
        list(&[("made-meanwhile", "9"), ("b", "12")]);
        assert_eq!(names(&servers), ["b", "made-meanwhile"]);
        list(&[("b", "12")]);
        assert_eq!(names(&servers), ["b"]);
    }

    #[test]
    fn the_end_of_an_object_is_not_that_of_its_successor() {
        let (servers, mut feed) = (Servers::default(), Feed::default());
        servers.observe(&mut feed, || ());
        let old = server("a", "4");
        feed.see(Event::Apply(DeserializeGuard(Ok(old.clone()))));
        let mut new = server("a", "6");
        new.metadata.uid = Some("another".to_owned());
        servers.note(&new);
        feed.see(Event::Delete(DeserializeGuard(Ok(old))));
        assert_eq!(names(&servers), ["a"]);
        feed.see(Event::Delete(DeserializeGuard(Ok(new))));
        assert!(names(&servers).is_empty());
    }
}
