//! A lock for each name: work on one name waits for its turn, work on others does not.
//!
//! Never keeps a lock that nobody holds or waits for.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

/// Locks by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyedLock(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl KeyedLock {
    /// Waits for the name's turn; it ends when the guard is dropped.
    pub(crate) async fn lock(&self, name: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock();
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(name.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_name_waits_and_another_does_not() {
        let locks = KeyedLock::default();
        let first = locks.lock("a").await;
        assert!(locks.lock("a").now_or_never().is_none());
        assert!(locks.lock("b").now_or_never().is_some());
        drop(first);
        assert!(locks.lock("a").now_or_never().is_some());
        assert_eq!(locks.0.lock().len(), 1, "locks that nobody has are forgotten");
    }
}
