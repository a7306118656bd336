//! Whether this plane may act on machines, read with every decision (promise S3 of the design).
//!
//! Duty: the plane's gate as the boot services ask it, and its answer for those who cannot wait for one.
//! Never answers by itself: `bloomery_plane` does, for the controllers too.

use std::path::Path;
use std::time::Duration;

use bloomery_api::plane::Authority;
use bloomery_plane::{Gate, Look};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::{Part, State};
use crate::kubernetes::Kubernetes;

/// How often services that cannot wait for an answer, such as DHCP, get a new one.
const POLL: Duration = Duration::from_secs(2);

/// Answers whether this plane may act. Clones share their memory.
#[derive(Clone)]
pub struct PlaneAuthority(Gate);

impl PlaneAuthority {
    /// `directory` is `--plane-dir`, `any_contents` is `--auto-accept-non-empty`.
    pub fn new(kubernetes: Kubernetes, directory: &Path, any_contents: bool) -> Self {
        Self(Gate::new(move || kubernetes.client(), directory).accepting_any_contents(any_contents))
    }

    /// What this plane may do now.
    pub async fn current(&self) -> Authority {
        self.0.current().await
    }

    /// The authority, if this plane may act: a fenced one believes and orders nothing. Otherwise why not.
    pub async fn acting(&self) -> Result<Authority, String> {
        match self.current().await {
            authority @ Authority::Holds { .. } => Ok(authority),
            Authority::Fenced { holder } => {
                Err(format!("this plane does not act on machines: {holder} does"))
            }
            Authority::Stopped { why } => Err(format!("this plane stopped acting on machines: {why}")),
            Authority::Unknown => Err("not known whether this plane may act on machines".to_owned()),
        }
    }

    /// That, and whether the state was restored, both read at once.
    pub async fn look(&self) -> Look {
        self.0.look().await
    }

    /// Whether this plane answers machines, kept up to date until `shutdown` and reported in `part`. It begins with yes:
    /// machines that are switched on together with the plane find it, and wait for it. While nobody can tell, the last
    /// answer stands: what is asked later is refused then.
    pub fn watch(&self, part: Part, shutdown: CancellationToken) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(true);
        let authority = self.clone();
        tokio::spawn(async move {
            loop {
                let current = authority.current().await;
                let now = match current {
                    Authority::Holds { .. } => Some(true),
                    Authority::Fenced { .. } | Authority::Stopped { .. } => Some(false),
                    Authority::Unknown => None,
                };
                sender.send_if_modified(|acts| now.is_some_and(|now| std::mem::replace(acts, now) != now));
                part.set(match current {
                    Authority::Holds { .. } => State::Up,
                    Authority::Fenced { holder } => State::Down(format!("fenced: {holder} acts")),
                    Authority::Stopped { why } => State::Down(format!("stopped: {why}")),
                    Authority::Unknown => State::Down("not known whether this plane may act".to_owned()),
                });
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(POLL) => {}
                }
            }
        });
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bloomery_api::trust::{SigningKey, Trust};

    use crate::health::{Health, Weight};
    use crate::tests::fake_api::{Failure, FakeApi, PLANE, PLANE_KEY, plane_held_by};

    fn with_identity(api: &FakeApi, id: &str) -> (PlaneAuthority, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        if !id.is_empty() {
            std::fs::write(directory.path().join("id"), id).unwrap();
        }
        std::fs::write(directory.path().join("key"), PLANE_KEY).unwrap();
        (PlaneAuthority::new(Kubernetes::with_client(api.client()), directory.path(), false), directory)
    }

    fn holds(epoch: i64) -> Authority {
        Authority::Holds { epoch, trust: Trust::new(SigningKey::new(PLANE_KEY), "own") }
    }

    #[tokio::test]
    async fn only_the_holder_acts() {
        let cases = [
            (r#"{"id":"own","epoch":1}"#, Some("own"), holds(1)),
            (r#"{"id":"own","epoch":1,"since":"x"}"#, Some("own"), holds(1)),
            // The file follows when the plane that acted before has noticed.
            (r#"{"id":"own"}"#, Some("own"), Authority::Unknown),
            (r#"{"id":"own"}"#, Some("other"), Authority::Fenced { holder: "other".to_owned() }),
            (r#"{"id":"own"}"#, None, Authority::Unknown),
            (r#"{"id":""}"#, Some(""), Authority::Unknown),
            ("own", Some("own"), Authority::Unknown),
            ("", Some("own"), Authority::Unknown),
        ];
        for (id, holder, expected) in cases {
            let api = FakeApi::default();
            if let Some(holder) = holder {
                api.put(PLANE, plane_held_by(holder));
            }
            let (authority, _directory) = with_identity(&api, id);
            assert_eq!(authority.current().await, expected, "{id} {holder:?}");
        }
    }

    #[tokio::test]
    async fn a_restored_state_gives_no_leave_before_the_controllers_noticed() {
        let api = FakeApi::default();
        api.put(PLANE, plane_held_by("own"));
        // The file says that the state had got further.
        for (file, expected) in [
            (r#"{"id":"own","epoch":1,"revision":1}"#, holds(1)),
            (r#"{"id":"own","epoch":1,"revision":4000}"#, Authority::Unknown),
            (r#"{"id":"own","epoch":2,"revision":1}"#, Authority::Unknown),
        ] {
            let (authority, _directory) = with_identity(&api, file);
            assert_eq!(authority.current().await, expected, "{file}");
        }
        let mut raised = plane_held_by("own");
        raised["spec"]["epoch"] = serde_json::json!(2);
        api.put(PLANE, raised);
        let (authority, _directory) = with_identity(&api, r#"{"id":"own","epoch":1,"revision":4000}"#);
        assert_eq!(authority.current().await, Authority::Unknown);
        let (authority, _directory) = with_identity(&api, r#"{"id":"own","epoch":2,"revision":1}"#);
        assert_eq!(authority.current().await, holds(2));
    }

    #[tokio::test]
    async fn a_state_that_lacks_what_was_written_last_gives_no_leave_until_its_epoch_is_raised() {
        let file = r#"{"id":"own","epoch":1,"revision":1,"witness":"w1","nextWitness":"w2"}"#;
        let holding = |witness: &str, epoch: i64| {
            let mut plane = plane_held_by("own");
            plane["spec"]["epoch"] = serde_json::json!(epoch);
            plane["metadata"]["annotations"] = serde_json::json!({ "bloomery.dev/witness": witness });
            plane
        };
        for (found, epoch, expected) in [
            ("w1", 1, holds(1)),
            ("w2", 1, holds(1)),
            ("w0", 1, Authority::Unknown),
            ("", 1, Authority::Unknown),
            ("w9", 2, Authority::Unknown),
        ] {
            let api = FakeApi::default();
            api.put(PLANE, holding(found, epoch));
            let (authority, _directory) = with_identity(&api, file);
            assert_eq!(authority.current().await, expected, "{found} {epoch}");
        }
    }

    #[tokio::test]
    async fn an_api_that_fails_gives_no_leave() {
        for failure in [Failure::Status(500), Failure::Page(404), Failure::Status(403)] {
            let api = FakeApi::default();
            api.put(PLANE, plane_held_by("own"));
            api.fail(PLANE, failure);
            let (authority, _directory) = with_identity(&api, r#"{"id":"own","epoch":1}"#);
            assert_eq!(authority.current().await, Authority::Unknown, "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_thousand_decisions_ask_about_once() {
        let api = FakeApi::default();
        api.put(PLANE, plane_held_by("own"));
        let (authority, _directory) = with_identity(&api, r#"{"id":"own","epoch":1}"#);
        let asking: Vec<_> = (0..1000)
            .map(|_| {
                let authority = authority.clone();
                tokio::spawn(async move { authority.current().await })
            })
            .collect();
        for answer in asking {
            assert!(answer.await.unwrap().acts());
        }
        assert!(api.reads(PLANE) <= 10, "{}", api.reads(PLANE));
    }

    #[tokio::test]
    async fn an_identity_and_a_takeover_are_noticed() {
        let api = FakeApi::default();
        api.put(PLANE, plane_held_by("own"));
        let (authority, directory) = with_identity(&api, "");
        let stop = CancellationToken::new();
        let mut acts = authority.watch(Health::default().register("plane", Weight::Shown), stop.clone());
        assert!(*acts.borrow(), "nobody knows yet: machines are answered, and told to wait");
        std::fs::write(directory.path().join("id"), r#"{"id":"own","epoch":1}"#).unwrap();
        acts.wait_for(|acts| *acts).await.unwrap();
        api.put(PLANE, plane_held_by("other"));
        acts.wait_for(|acts| !*acts).await.unwrap();
        // It stays silent while nobody can tell.
        api.fail(PLANE, Failure::Status(500));
        while authority.current().await != Authority::Unknown {
            tokio::task::yield_now().await;
        }
        assert!(!*acts.borrow());
        stop.cancel();
    }
}
