//! A lock for each key: work on one waits for its turn, work on others does not. Unused locks are dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

#[derive(Clone, Debug)]
pub(crate) struct KeyedLock<Q>(Arc<Mutex<HashMap<Q, Arc<tokio::sync::Mutex<()>>>>>);

impl<Q> Default for KeyedLock<Q> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<Q: Clone + Eq + Hash> KeyedLock<Q> {
    /// Waits for the key's turn; it ends when the guard is dropped.
    pub(crate) async fn lock(&self, key: &Q) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock();
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(key.clone()).or_default().clone()
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
        let first = locks.lock(&"a").await;
        assert!(locks.lock(&"a").now_or_never().is_none());
        assert!(locks.lock(&"b").now_or_never().is_some());
        drop(first);
        assert!(locks.lock(&"a").now_or_never().is_some());
        assert_eq!(locks.0.lock().len(), 1, "locks that nobody has are forgotten");
    }
}
