//! The question before every act: is this still the plane that acts?
//!
//! Duty: this plane's identity from its file, the `Plane` object straight from the API, and what follows from the two.
//! Never answers from a watch: one that was lost would say yes for ever. Never keeps an answer longer than a second,
//! and never takes what it could not read as leave.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bloomery_api::Plane;
use bloomery_api::lookup::Lookup;
use bloomery_api::plane::{Authority, FENCED_ANNOTATION, NAME, Seen};
use bloomery_api::trust::Trust;
use bloomery_base::chain;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::identity::{self, Known};
use crate::key;
use crate::ledger::Reader;

/// How long one answer serves the decisions that follow: a rack asks once a second, not a thousand times. A plane
/// that is fenced still acts for so long after it asked.
pub(crate) const MEMO: Duration = Duration::from_secs(1);
/// An API server that takes longer has not said yes.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long the plane that takes over waits before it acts. An answer that the other plane asked for just before may
/// arrive after [`ANSWER_WITHIN`] and serve for [`MEMO`] after it was asked for; the rest is for the command that was
/// decided on by then. The gates of this plane say no for so long, because the controllers do not let its file follow
/// the raised epoch before.
pub(crate) const QUIET: Duration = Duration::from_secs(8);

/// Answers whether this plane may act. Clones share their memory.
#[derive(Clone)]
pub struct Gate(Arc<Source>);

struct Source {
    /// `None` while there is no way to the API yet.
    client: Box<dyn Fn() -> Option<Client> + Send + Sync>,
    directory: PathBuf,
    /// The option `autoAcceptNonEmpty`.
    any_contents: AtomicBool,
    ledger: Arc<parking_lot::Mutex<Reader>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    last: Option<Read>,
}

struct Read {
    asked: Instant,
    look: Look,
}

/// What was found out about this plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What it may do.
    pub authority: Authority,
    /// Since when and why unknown machines wait for a person (see [`bloomery_api::plane::RESTORED_ANNOTATION`]).
    pub restored: Option<String>,
}

impl Look {
    const BLIND: Self = Self { authority: Authority::Unknown, restored: None };
}

impl Gate {
    /// For the plane whose identity is in `directory`.
    pub fn new(client: impl Fn() -> Option<Client> + Send + Sync + 'static, directory: &Path) -> Self {
        let source = Source {
            client: Box::new(client),
            directory: directory.to_owned(),
            any_contents: AtomicBool::new(false),
            ledger: Arc::new(parking_lot::Mutex::new(Reader::new(directory))),
            state: Mutex::default(),
        };
        Self(Arc::new(source))
    }

    /// The same, told by the option `autoAcceptNonEmpty` whether contents that nobody read need a second consent.
    #[must_use]
    pub fn accepting_any_contents(self, any: bool) -> Self {
        self.0.any_contents.store(any, Ordering::Relaxed);
        self
    }

    /// How far it has seen the state.
    pub(crate) async fn seen(&self) -> Seen {
        self.0.state.lock().await.seen
    }

    /// What this plane may do now.
    pub async fn current(&self) -> Authority {
        self.look().await.authority
    }

    /// That, and whether the state was restored, both read at once.
    pub async fn look(&self) -> Look {
        let arrived = Instant::now();
        let mut state = self.0.state.lock().await;
        let State { seen, last } = &mut *state;
        // One that was asked for after we came is as good as our own.
        let recent = |read: &&Read| read.asked >= arrived || read.asked.elapsed() < MEMO;
        if let Some(read) = last.as_ref().filter(recent) {
            return read.look.clone();
        }
        let asked = Instant::now();
        let (look, id) = self.0.read(seen).await;
        if last.as_ref().is_none_or(|read| read.look != look) {
            log(&look, &id);
        }
        *last = Some(Read { asked, look: look.clone() });
        look
    }
}

impl Source {
    /// Lists in place of getting: only a list says how far the whole state is. The file is read before, so that what
    /// it says is not from after the list. With the look comes this plane's identity.
    async fn read(&self, seen: &mut Seen) -> (Look, String) {
        let Some((before, trust)) = self.known().await else { return (Look::BLIND, String::new()) };
        let look = self.judge(seen, &before, trust).await.unwrap_or(Look::BLIND);
        (look, before.id)
    }

    async fn judge(&self, seen: &mut Seen, before: &Known, trust: Trust) -> Option<Look> {
        *seen = seen.and(before.seen()).and(seen_by(&trust));
        let planes: Api<Plane> = Api::all((self.client)()?);
        let list = tokio::time::timeout(ANSWER_WITHIN, planes.list(&ListParams::default())).await.ok()?;
        let list = list.inspect_err(|error| warn!(error = %chain(error), "plane not read")).ok()?;
        let revision = list.metadata.resource_version.as_deref().unwrap_or_default().parse().ok()?;
        let plane = list.items.iter().find(|plane| plane.metadata.name.as_deref() == Some(NAME));
        let restored = plane.and_then(Plane::restored).map(str::to_owned);
        let found = Authority::of(&before.id, Lookup::from(plane), trust);
        // What a restore took off the object is still in the file.
        if let (Authority::Holds { .. }, Some(why)) = (&found, &before.fenced) {
            return Some(Look { authority: Authority::Stopped { why: why.clone() }, restored });
        }
        if let (Some(_), Some(plane)) = (found.epoch(), plane)
            && !before.knows(plane)
        {
            // It may have been written after the file was read; then the file says so by now.
            let (after, _) = self.known().await?;
            if !after.knows(plane) {
                return None;
            }
        }
        Some(Look { authority: seen.judge(found, revision), restored })
    }

    /// Read each time: it is a line of text, and the controllers write it while others ask. With it come the key and the
    /// ledger; without one of them no record but a claim counts.
    async fn known(&self) -> Option<(Known, Trust)> {
        let (directory, ledger) = (self.directory.clone(), Arc::clone(&self.ledger));
        let any_contents = self.any_contents.load(Ordering::Relaxed);
        let read = move || {
            let known = identity::known(&directory).filter(|known| !known.id.is_empty())?;
            let noted = ledger.lock().current();
            let noted =
                noted.inspect_err(|error| warn!(error = %chain(error), "ledger not read: nothing is wiped"));
            let trust = Trust {
                key: key::known(&directory),
                planes: Arc::from([known.id.clone()]),
                ledger: noted.ok(),
                any_contents,
            };
            Some((known, trust))
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }
}

/// How far the state had got when something was noted in the ledger.
pub(crate) fn seen_by(trust: &Trust) -> Seen {
    trust.ledger.as_deref().map(|ledger| Seen::from(ledger.seen())).unwrap_or_default()
}

fn log(Look { authority, restored }: &Look, id: &str) {
    match authority {
        Authority::Holds { epoch, .. } if restored.is_some() => {
            warn!(
                epoch,
                restored, "this plane acts on machines; those that it does not know wait for a person"
            );
        }
        Authority::Holds { epoch, trust } => {
            info!(epoch, "this plane acts on machines");
            if trust.key.is_none() {
                warn!("the plane's key cannot be read: no record of disks counts, nothing is wiped");
            }
        }
        Authority::Stopped { why } => warn!(
            why,
            "this plane stopped acting; look at its machines, then: kubectl annotate plane plane {FENCED_ANNOTATION}-"
        ),
        Authority::Fenced { holder } => warn!(
            holder,
            id,
            "this plane does not act: another one does; to hand over: kubectl annotate plane plane {}={id}",
            crate::TAKEOVER_ANNOTATION
        ),
        Authority::Unknown => warn!("not known whether this plane may act: nothing is done"),
    }
}
