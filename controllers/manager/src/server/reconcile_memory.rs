//! How each reconcile ended, so that the echo of its own writes is not work again: a Server that nothing happened to is skipped.
//!
//! Never keeps a reconcile from happening for longer than it asked to be called again, and never once any object,
//! or whether this plane may act, is another than at its end.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bloomery_api::plane::Authority;
use parking_lot::Mutex;

use crate::fleet::Judgement;
use crate::table::Key;
use crate::written::Version;

/// What a reconcile ended with.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    /// The Server, our own writes included.
    pub(super) server: Version,
    pub(super) binding: Option<Version>,
    /// Whether this plane could act, and on which records.
    pub(super) authority: Authority,
    pub(super) judged: Judgement,
    /// When it asked to be called again.
    pub(super) until: Instant,
}

/// What is there before anything is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) server: &'a Version,
    pub(super) binding: Option<&'a Version>,
    pub(super) authority: &'a Authority,
    pub(super) judged: &'a Judgement,
}

/// What is known before anything is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Nothing changed: nothing to do for this long.
    Settled(Duration),
    /// The cache is behind our own last write.
    Behind,
    /// Something changed, or it is time.
    Changed,
}

/// How each Server's last reconcile ended.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<Key, Settled>>);

impl Memory {
    pub(super) fn settle(&self, object: &Key, settled: Settled) {
        self.0.lock().insert(object.clone(), settled);
    }

    /// Forgets a Server that is gone, or whose reconcile begins.
    pub(super) fn forget(&self, object: &Key) {
        self.0.lock().remove(object);
    }

    /// Compares what the caches have with how the last reconcile ended.
    pub(super) fn compare(&self, object: &Key, seen: Seen<'_>, now: Instant) -> Freshness {
        let Seen { server, binding, authority, judged } = seen;
        let all = self.0.lock();
        let Some(settled) = all.get(object) else { return Freshness::Changed };
        let is_behind = server.is_before(&settled.server);
        let is_same = (is_behind || *server == settled.server)
            && binding == settled.binding.as_ref()
            && *authority == settled.authority
            && *judged == settled.judged;
        let left = settled.until.saturating_duration_since(now);
        match (is_same && !left.is_zero(), is_behind) {
            (true, _) => Freshness::Settled(left),
            (false, true) => Freshness::Behind,
            (false, false) => Freshness::Changed,
        }
    }
}

#[cfg(test)]
mod tests {
    use bloomery_api::decision::controllers::SharedController;
    use bloomery_api::trust::{SigningKey, Trust};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use kube::runtime::reflector::ObjectRef;

    use super::*;

    fn version(uid: &str, version: &str) -> Version {
        Version::of(&ObjectMeta {
            uid: Some(uid.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        })
    }

    fn object(name: &str) -> Key {
        ObjectRef::<bloomery_api::Server>::new(name).erase()
    }

    fn holds(epoch: i64) -> Authority {
        Authority::Holds { epoch, trust: Trust::new(SigningKey::new([7; 32]), "own") }
    }

    const LATER: Duration = Duration::from_secs(10);

    fn memory(start: Instant) -> Memory {
        let memory = Memory::default();
        let settled = Settled {
            server: version("a", "20"),
            binding: Some(version("b", "7")),
            authority: holds(1),
            judged: Judgement::default(),
            until: start + LATER,
        };
        memory.settle(&object("m"), settled);
        memory
    }

    #[test]
    fn only_the_same_objects_under_the_same_authority_are_settled_and_only_for_a_time() {
        let start = Instant::now();
        let memory = memory(start);
        let (acts, judged) = (holds(1), Judgement::default());
        let known = |server: &Version, binding: Option<&Version>, authority: &Authority, after: u64| {
            let seen = Seen { server, binding, authority, judged: &judged };
            memory.compare(&object("m"), seen, start + Duration::from_secs(after))
        };
        let (server, binding) = (version("a", "20"), version("b", "7"));
        let settled = |seconds| Freshness::Settled(Duration::from_secs(seconds));
        assert_eq!(known(&server, Some(&binding), &acts, 0), settled(10));
        assert_eq!(known(&server, Some(&binding), &acts, 9), settled(1));
        assert_eq!(known(&server, Some(&binding), &acts, 10), Freshness::Changed, "it is time");
        assert_eq!(known(&server, None, &acts, 0), Freshness::Changed, "the binding went");
        assert_eq!(known(&server, Some(&version("b", "8")), &acts, 0), Freshness::Changed);
        assert_eq!(known(&server, Some(&version("c", "7")), &acts, 0), Freshness::Changed, "another binding");
        assert_eq!(known(&server, Some(&binding), &holds(2), 0), Freshness::Changed);
        assert_eq!(known(&server, Some(&binding), &Authority::Unknown, 0), Freshness::Changed);
        assert_eq!(known(&version("a", "21"), Some(&binding), &acts, 0), Freshness::Changed);
        assert_eq!(
            known(&version("z", "19"), Some(&binding), &acts, 0),
            Freshness::Changed,
            "another Server"
        );
        let shared = SharedController { endpoint: "10.0.0.5".to_owned(), others: vec!["n".to_owned()] };
        let concerned = Judgement { conflict: None, shared: Some(shared) };
        let seen = Seen { server: &server, binding: Some(&binding), authority: &acts, judged: &judged };
        let sharing = Seen { judged: &concerned, ..seen };
        assert_eq!(
            memory.compare(&object("m"), sharing, start),
            Freshness::Changed,
            "another Server concerns it"
        );
        assert_eq!(memory.compare(&object("other"), seen, start), Freshness::Changed);
        memory.forget(&object("m"));
        assert_eq!(memory.compare(&object("m"), seen, start), Freshness::Changed);
    }

    #[test]
    fn a_cache_that_is_behind_our_own_write_is_nothing_new_until_something_else_changes() {
        let start = Instant::now();
        let memory = memory(start);
        let (old, binding) = (version("a", "9"), version("b", "7"));
        let (acts, judged) = (holds(1), Judgement::default());
        let known = |server: &Version, binding: Option<&Version>, after: u64| {
            let seen = Seen { server, binding, authority: &acts, judged: &judged };
            memory.compare(&object("m"), seen, start + Duration::from_secs(after))
        };
        assert_eq!(known(&old, Some(&binding), 0), Freshness::Settled(LATER), "as numbers, not as text");
        assert_eq!(known(&old, None, 0), Freshness::Behind);
        assert_eq!(known(&old, Some(&binding), 10), Freshness::Behind);
        assert_eq!(known(&version("a", "x"), Some(&binding), 0), Freshness::Changed, "nothing is sure");
    }
}
