//! Addresses of the names that Servers give for their controllers, looked up as the pool does: two Servers may name
//! one controller differently.
//!
//! Never holds up a machine for long: a name without an answer stays a name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bloomery_api::Server;
use bloomery_api::decision::controllers::contacts;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::net::lookup_host;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::fleet::Fleet;

/// For one name: resolvers try a second server after some seconds, and a machine waits for this.
const LIMIT: Duration = Duration::from_secs(2);
/// Names change their addresses seldom; every Server is looked at about as often.
const MEMORY: Duration = Duration::from_mins(5);
/// Questions at once when all names are new.
const AT_ONCE: usize = 16;

/// When each name was looked up.
#[derive(Default)]
pub(super) struct Names {
    /// All that were known when the first machine was looked at.
    first: OnceCell<()>,
    looked: Mutex<HashMap<String, Instant>>,
}

impl Names {
    /// Tells the fleet the addresses of `server`'s controller; the first time those of all.
    pub(super) async fn resolve(&self, fleet: &Fleet, server: &Server) {
        let all = async || {
            let looks = fleet.hosts().into_iter().map(|host| self.look(fleet, host));
            futures::stream::iter(looks).buffer_unordered(AT_ONCE).collect::<()>().await;
        };
        self.first.get_or_init(all).await;
        for (host, _) in contacts(server) {
            if host.parse::<IpAddr>().is_err() && self.is_due(&host) {
                self.look(fleet, host).await;
            }
        }
    }

    fn is_due(&self, host: &str) -> bool {
        let looked = self.looked.lock();
        looked.get(host).is_none_or(|at| at.elapsed() >= MEMORY)
    }

    async fn look(&self, fleet: &Fleet, host: String) {
        {
            let mut looked = self.looked.lock();
            looked.retain(|_, at| at.elapsed() < MEMORY);
            looked.insert(host.clone(), Instant::now());
        }
        // The port is of no interest.
        if let Ok(Ok(found)) = timeout(LIMIT, lookup_host((host.as_str(), 0))).await {
            fleet.resolve(&host, found.map(|address| address.ip()));
        }
    }
}

#[cfg(test)]
mod tests {
    use bloomery_api::plane::Authority;
    use bloomery_platform::watch::{Change, Feed};
    use kube::core::DeserializeGuard;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn server(name: &str, bmc: &str) -> Server {
        serde_json::from_value(json!({
            "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": name },
            "spec": { "accepted": true, "bmc": { "endpoint": bmc } },
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_name_and_its_address_meet_once_the_name_was_looked_up() {
        let mut feed = Feed::default();
        let (fleet, _concerned) = Fleet::new(feed.cache());
        let seeing = fleet.clone();
        feed.observe(move |change| seeing.see_server(change));
        let servers =
            [server("a", "localhost"), server("b", "127.0.0.1"), server("c", "no-such-name.invalid")];
        for event in [Event::Init]
            .into_iter()
            .chain(servers.iter().map(|server| Event::InitApply(DeserializeGuard(Ok(server.clone())))))
            .chain([Event::InitDone])
        {
            feed.see(event);
        }
        fleet.see_binding::<Server>(&Change::Listed);
        let judge = |server: &Server| fleet.judge(server, &Authority::Unknown).unwrap().shared;
        assert_eq!(judge(&servers[1]), None);
        let names = Names::default();
        names.resolve(&fleet, &servers[2]).await;
        assert_eq!(judge(&servers[1]).unwrap().others, ["a"], "all names are looked up the first time");
        assert!(!names.is_due("localhost") && !names.is_due("no-such-name.invalid") && names.is_due("other"));
    }
}
