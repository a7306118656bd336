//! Whether this plane may act on machines, read with every decision (promise S3 of the design).
//!
//! Duty: this plane's identity from its file, the `Plane` object straight from the API, and what follows
//! from the two. Never keeps an answer longer than a second, and never takes what it could not read as leave.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_api::decision::Lookup;
use bloomery_api::plane::{self, Authority, Plane, Seen};
use kube::Api;
use kube::api::ListParams;
use serde::Deserialize;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::health::{Part, State};
use crate::kubernetes::{ANSWER_WITHIN, Kubernetes};

/// File with this plane's identity, below `--plane-dir`.
const ID_FILE: &str = "id";
/// How long an answer serves the decisions that follow: a rack that boots asks once a second, not a
/// thousand times.
const MEMO: Duration = Duration::from_secs(1);
/// How often services that cannot wait for an answer, such as DHCP, get a new one.
const POLL: Duration = Duration::from_secs(2);

/// The file.
#[derive(Deserialize)]
struct Identity {
    id: String,
    /// How far the controllers have seen the state: before they noticed a restore, nothing that it says counts.
    #[serde(default)]
    epoch: i64,
    #[serde(default)]
    revision: u64,
}

/// Answers whether this plane may act. Clones share their memory.
#[derive(Clone)]
pub struct PlaneAuthority(Arc<Source>);

struct Source {
    kubernetes: Kubernetes,
    file: PathBuf,
    state: Mutex<Memory>,
}

/// What is known from before.
#[derive(Default)]
struct Memory {
    seen: Seen,
    last: Option<Read>,
}

/// One reading.
struct Read {
    asked: Instant,
    authority: Authority,
}

impl PlaneAuthority {
    /// `directory` is `--plane-dir`.
    pub fn new(kubernetes: Kubernetes, directory: &Path) -> Self {
        Self(Arc::new(Source { kubernetes, file: directory.join(ID_FILE), state: Mutex::default() }))
    }

    /// What this plane may do now.
    pub async fn current(&self) -> Authority {
        let arrived = Instant::now();
        let mut memory = self.0.state.lock().await;
        let Memory { seen, last } = &mut *memory;
        // One that was asked for after we came is as good as our own.
        if let Some(read) = last.as_ref().filter(|read| read.asked >= arrived || read.asked.elapsed() < MEMO)
        {
            return read.authority.clone();
        }
        let asked = Instant::now();
        let authority = self.0.read(seen).await;
        if last.as_ref().is_none_or(|read| read.authority != authority) {
            log(&authority);
        }
        *last = Some(Read { asked, authority: authority.clone() });
        authority
    }

    /// Whether this plane is the one that acts, kept up to date until `shutdown` and reported in `part`. It begins
    /// with no; while nobody can tell, the last answer stands: what is asked later is refused then.
    pub fn watch(&self, part: Part, shutdown: CancellationToken) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        let authority = self.clone();
        tokio::spawn(async move {
            loop {
                let current = authority.current().await;
                let now = match current {
                    Authority::Holds { .. } => Some(true),
                    Authority::Fenced { .. } => Some(false),
                    Authority::Unknown => None,
                };
                sender.send_if_modified(|acts| now.is_some_and(|now| std::mem::replace(acts, now) != now));
                part.set(match current {
                    Authority::Holds { .. } => State::Up,
                    Authority::Fenced { holder } => State::Down(format!("fenced: {holder} acts")),
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

impl Source {
    /// Lists in place of getting: only a list says how far the whole state is. The file is read before, so that what
    /// it says is not from after the list.
    async fn read(&self, seen: &mut Seen) -> Authority {
        let Some(client) = self.kubernetes.client() else { return Authority::Unknown };
        let Some(Identity { id, epoch, revision }) = self.identity().await else { return Authority::Unknown };
        *seen = seen.and(Seen { epoch, revision });
        let planes: Api<Plane> = Api::all(client);
        let list = match tokio::time::timeout(ANSWER_WITHIN, planes.list(&ListParams::default())).await {
            Ok(Ok(list)) => list,
            Ok(Err(error)) => {
                tracing::warn!(error = crate::error::chain(&error), "plane not read");
                return Authority::Unknown;
            }
            Err(_) => return Authority::Unknown,
        };
        let Ok(revision) = list.metadata.resource_version.unwrap_or_default().parse() else {
            return Authority::Unknown;
        };
        let plane = list.items.iter().find(|found| found.metadata.name.as_deref() == Some(plane::NAME));
        seen.judge(Authority::of(&id, Lookup::from(plane)), revision)
    }

    /// Read each time: it is a line of text, and the controllers may write it after we started.
    async fn identity(&self) -> Option<Identity> {
        let text = tokio::fs::read(&self.file).await.ok()?;
        serde_json::from_slice(&text).ok().filter(|identity: &Identity| !identity.id.is_empty())
    }
}

fn log(authority: &Authority) {
    match authority {
        Authority::Holds { epoch } => tracing::info!(epoch, "this plane acts on machines"),
        Authority::Fenced { holder } => {
            tracing::warn!(holder, "this plane is fenced: another one acts on machines");
        }
        Authority::Unknown => tracing::warn!("not known whether this plane may act: nothing is decided"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_api::{Failure, FakeApi, PLANE, plane_held_by};
    use crate::health::{Health, Weight};

    fn with_identity(api: &FakeApi, id: &str) -> (PlaneAuthority, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        if !id.is_empty() {
            std::fs::write(directory.path().join("id"), id).unwrap();
        }
        (PlaneAuthority::new(Kubernetes::with_client(api.client()), directory.path()), directory)
    }

    #[tokio::test]
    async fn only_the_holder_acts() {
        let cases = [
            (r#"{"id":"own"}"#, Some("own"), Authority::Holds { epoch: 1 }),
            (r#"{"id":"own","since":"x"}"#, Some("own"), Authority::Holds { epoch: 1 }),
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
            (r#"{"id":"own","epoch":1,"revision":1}"#, Authority::Holds { epoch: 1 }),
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
        assert_eq!(authority.current().await, Authority::Holds { epoch: 2 });
    }

    #[tokio::test]
    async fn an_api_that_fails_gives_no_leave() {
        for failure in [Failure::Status(500), Failure::Page(404), Failure::Status(403)] {
            let api = FakeApi::default();
            api.put(PLANE, plane_held_by("own"));
            api.fail(PLANE, failure);
            let (authority, _directory) = with_identity(&api, r#"{"id":"own"}"#);
            assert_eq!(authority.current().await, Authority::Unknown, "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_thousand_decisions_ask_about_once() {
        let api = FakeApi::default();
        api.put(PLANE, plane_held_by("own"));
        let (authority, _directory) = with_identity(&api, r#"{"id":"own"}"#);
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
        assert!(!*acts.borrow());
        std::fs::write(directory.path().join("id"), r#"{"id":"own"}"#).unwrap();
        acts.wait_for(|acts| *acts).await.unwrap();
        api.put(PLANE, plane_held_by("other"));
        acts.wait_for(|acts| !*acts).await.unwrap();
        stop.cancel();
    }
}
