//! Versions of objects, and which of them this process wrote: what a cache shows from before its own last write is not
//! decided on, as the write that follows would be refused.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use crate::table::Key;

/// When to look again where the cache does not show the last write yet.
pub(crate) const UNTIL_SHOWN: Duration = Duration::from_secs(2);

/// One state of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    uid: String,
    resource_version: String,
}

impl Version {
    /// Of an object as it was read or as a write returned it.
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
        }
    }

    /// Whether this is surely an earlier state of the same object. Versions are numbers that grow (KEP-5504); of one
    /// that is none nothing is sure.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        let number = |version: &Self| version.resource_version.parse::<u64>().ok();
        self.uid == other.uid && number(self).zip(number(other)).is_some_and(|(one, two)| one < two)
    }
}

/// What was written last, until the cache shows it.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<HashMap<Key, Version>>);

impl Written {
    /// Notes what a write returned. What is being deleted is not noted: nobody would forget it.
    pub(crate) fn note(&self, object: Key, meta: &ObjectMeta) {
        if meta.deletion_timestamp.is_none() {
            self.0.lock().insert(object, Version::of(meta));
        }
    }

    /// Whether the cache still has the object as it was before. Whoever waits is called again when it shows the write.
    pub(crate) fn is_awaited(&self, object: &Key, cached: &ObjectMeta) -> bool {
        let mut all = self.0.lock();
        let is_before = all.get(object).is_some_and(|written| Version::of(cached).is_before(written));
        let is_awaited = is_before && cached.deletion_timestamp.is_none();
        if !is_awaited {
            all.remove(object);
        }
        is_awaited
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::ObjectRef;

    use super::*;

    fn meta(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_an_earlier_state_of_the_same_object_is_before_another() {
        let cases = [
            (("a", "9"), ("a", "10"), true),
            (("a", "10"), ("a", "10"), false),
            (("a", "11"), ("a", "10"), false),
            (("a", "9"), ("b", "10"), false),
            (("a", "x"), ("a", "10"), false),
            (("a", ""), ("a", "10"), false),
        ];
        for ((uid, version), (other, later), expected) in cases {
            let (one, two) = (Version::of(&meta(uid, version)), Version::of(&meta(other, later)));
            assert_eq!(one.is_before(&two), expected, "{one:?} {two:?}");
        }
    }

    #[test]
    fn an_object_is_awaited_until_the_cache_has_what_was_written_or_another_or_it_goes() {
        let object = || ObjectRef::<bloomery_api::Server>::new("s").erase();
        let written = Written::default();
        assert!(!written.is_awaited(&object(), &meta("a", "1")), "nothing was written");
        written.note(object(), &meta("a", "5"));
        assert!(written.is_awaited(&object(), &meta("a", "4")));
        assert!(written.is_awaited(&object(), &meta("a", "4")), "still");
        assert!(!written.is_awaited(&object(), &meta("a", "5")));
        assert!(!written.is_awaited(&object(), &meta("a", "4")), "it was forgotten");
        for seen in [meta("b", "1"), ObjectMeta { deletion_timestamp: Some(now()), ..meta("a", "4") }] {
            written.note(object(), &meta("a", "5"));
            assert!(!written.is_awaited(&object(), &seen), "{seen:?}");
        }
        written.note(object(), &ObjectMeta { deletion_timestamp: Some(now()), ..meta("a", "5") });
        assert!(!written.is_awaited(&object(), &meta("a", "4")), "nobody would forget it");
    }

    fn now() -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::now())
    }
}
