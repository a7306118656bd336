//! Which Servers may be free, kept from the one watch of Servers and the one of bindings.

use std::sync::Arc;
use std::time::Duration;

use bloomery_api::infrastructure::allocation::Index;
use bloomery_platform::watch::{Change, Feed};
use kube::ResourceExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::watch::{GuardedBinding, GuardedServer};

/// Servers that become free are collected for so long: a hall that was wiped wakes those who wait once.
const COLLECT: Duration = Duration::from_millis(250);

/// The index. Clones share it.
#[derive(Clone, Default)]
pub struct Inventory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    index: Mutex<Index>,
    freed: Notify,
}

impl Inventory {
    /// Follows both feeds; it sees a change before any controller hears of it.
    pub fn follow(&self, servers: &mut Feed<GuardedServer>, bindings: &mut Feed<GuardedBinding>) {
        let inventory = self.clone();
        servers.observe(move |change| {
            let freed = match change {
                Change::Applied(server) => inventory.with(|index| match &server.0 {
                    Ok(server) => index.see_server(server),
                    Err(_) => index.forget_server(&server.name_any()),
                }),
                Change::Deleted(server) => inventory.with(|index| index.forget_server(&server.name_any())),
                Change::Listed => true,
            };
            inventory.tell(freed);
        });
        let inventory = self.clone();
        bindings.observe(move |change| match change {
            Change::Applied(binding) => inventory.with(|index| index.see_binding(&binding.name_any())),
            Change::Deleted(binding) => {
                let freed = inventory.with(|index| index.forget_binding(&binding.name_any()));
                inventory.tell(freed);
            }
            Change::Listed => inventory.tell(true),
        });
    }

    /// Looks at the index, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Index) -> T) -> T {
        look(&mut self.0.index.lock())
    }

    fn tell(&self, freed: bool) {
        if freed {
            self.0.freed.notify_one();
        }
    }

    /// Returns some time after a Server became free.
    pub async fn freed(&self) {
        self.0.freed.notified().await;
        tokio::time::sleep(COLLECT).await;
    }
}

/// A Server that is kept for one who is about to bind it; given back unless it was bound.
pub struct Taken {
    inventory: Inventory,
    server: String,
    is_bound: bool,
}

impl Taken {
    /// `None` if somebody has it.
    pub fn take(inventory: &Inventory, server: &str) -> Option<Self> {
        let is_taken = inventory.with(|index| index.take(server));
        is_taken.then(|| Self { inventory: inventory.clone(), server: server.to_owned(), is_bound: false })
    }

    /// It was bound: the watch will show it, and until then nobody else tries.
    pub fn keep(mut self) {
        self.is_bound = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_bound {
            self.inventory.with(|index| index.give_back(&self.server));
        }
    }
}
