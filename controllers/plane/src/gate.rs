//! The question before every act: is this still the plane that acts?
//!
//! Never answers from a watch: one that was lost would say yes for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bloomery_api::Plane;
use bloomery_api::decision::Lookup;
use bloomery_api::plane::{Authority, NAME};
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
    last: Mutex<Option<Read>>,
}

struct Read {
    asked: Instant,
    authority: Authority,
}

impl Gate {
    /// For the plane with this identity.
    pub fn new(client: Client, id: String) -> Self {
        Self(Arc::new(Source { client, id, last: Mutex::new(None) }))
    }

    /// This plane's identity.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// What this plane may do now.
    pub async fn current(&self) -> Authority {
        let arrived = Instant::now();
        let mut last = self.0.last.lock().await;
        // One that was asked for after we came is as good as our own.
        let recent = |read: &&Read| read.asked >= arrived || read.asked.elapsed() < MEMO;
        if let Some(read) = last.as_ref().filter(recent) {
            return read.authority.clone();
        }
        let asked = Instant::now();
        let authority = self.0.read().await;
        if last.as_ref().is_none_or(|read| read.authority != authority) {
            log(&authority, &self.0.id);
        }
        *last = Some(Read { asked, authority: authority.clone() });
        authority
    }
}

impl Source {
    async fn read(&self) -> Authority {
        let planes: Api<Plane> = Api::all(self.client.clone());
        match tokio::time::timeout(ANSWER_WITHIN, planes.get_opt(NAME)).await {
            Ok(Ok(plane)) => Authority::of(&self.id, Lookup::from(plane.as_ref())),
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
