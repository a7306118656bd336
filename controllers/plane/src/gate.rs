//! The question before every act: is this still the plane that acts?
//!
//! Never answers from a watch: one that was lost would say yes for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_api::Plane;
use bloomery_api::decision::Lookup;
use bloomery_api::plane::{Authority, NAME, Seen};
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::Mutex;
use tracing::{info, warn};

/// How long one answer serves the decisions that follow: a rack asks once a second, not a thousand times. A plane
/// that is fenced still acts for so long, and whoever takes over waits longer than that.
const MEMO: Duration = Duration::from_secs(1);
/// An API server that takes longer has not said yes.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Answers whether this plane may act. Clones share their memory.
#[derive(Clone)]
pub struct Gate(Arc<Source>);

struct Source {
    client: Client,
    id: String,
    state: Mutex<State>,
}

struct State {
    seen: Seen,
    last: Option<Read>,
}

struct Read {
    asked: Instant,
    authority: Authority,
}

impl Gate {
    /// For the plane with this identity, which has seen the state so far.
    pub fn new(client: Client, id: String, seen: Seen) -> Self {
        Self(Arc::new(Source { client, id, state: Mutex::new(State { seen, last: None }) }))
    }

    /// How far it has seen the state.
    pub(crate) async fn seen(&self) -> Seen {
        self.0.state.lock().await.seen
    }

    /// This plane's identity.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// What this plane may do now.
    pub async fn current(&self) -> Authority {
        let arrived = Instant::now();
        let mut state = self.0.state.lock().await;
        // One that was asked for after we came is as good as our own.
        let recent = |read: &&Read| read.asked >= arrived || read.asked.elapsed() < MEMO;
        if let Some(read) = state.last.as_ref().filter(recent) {
            return read.authority.clone();
        }
        let asked = Instant::now();
        let authority = self.0.read(&mut state.seen).await;
        if state.last.as_ref().is_none_or(|read| read.authority != authority) {
            log(&authority, &self.0.id);
        }
        state.last = Some(Read { asked, authority: authority.clone() });
        authority
    }
}

impl Source {
    /// Lists in place of getting: only a list says how far the whole state is.
    async fn read(&self, seen: &mut Seen) -> Authority {
        let planes: Api<Plane> = Api::all(self.client.clone());
        match tokio::time::timeout(ANSWER_WITHIN, planes.list(&ListParams::default())).await {
            Ok(Ok(list)) => {
                let revision = list.metadata.resource_version.as_deref().unwrap_or_default().parse();
                let plane = list.items.iter().find(|plane| plane.metadata.name.as_deref() == Some(NAME));
                let found = Authority::of(&self.id, Lookup::from(plane));
                revision.map_or(Authority::Unknown, |revision| seen.judge(found, revision))
            }
            Ok(Err(error)) => {
                warn!(%error, "plane not read");
                Authority::Unknown
            }
            Err(_) => Authority::Unknown,
        }
    }
}

fn log(authority: &Authority, id: &str) {
    match authority {
        Authority::Holds { epoch } => info!(epoch, "this plane acts on machines"),
        Authority::Fenced { holder } => warn!(
            holder,
            id,
            "this plane does not act: another one does; to hand over: kubectl annotate plane plane {}={id}",
            crate::TAKEOVER_ANNOTATION
        ),
        Authority::Unknown => warn!("not known whether this plane may act: nothing is done"),
    }
}
