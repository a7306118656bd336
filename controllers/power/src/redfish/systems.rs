//! The machine's System among all that a service has.
//!
//! Never guesses between several: without the machine's UUID only a single one is taken, and only one that does not
//! name another machine. Never takes a page for the whole, and never gives up at the first that cannot be read.

use std::collections::HashSet;

use http::header::HeaderValue;

use super::error::Error;
use super::model::{ServiceRoot, System, parse_collection, parse_system};
use super::service::Service;
use crate::identity::{Guid, Identity};

/// Most pages of a collection: the largest chassis known have some fifty nodes.
const MAX_PAGES: usize = 32;

/// The machine's System, as it was read.
pub(super) struct Found {
    pub(super) path: String,
    pub(super) system: System,
    pub(super) etag: Option<HeaderValue>,
}

/// All members of a collection that were found.
struct Listed {
    paths: Vec<String>,
    /// How many there are, as far as that is known.
    systems: u64,
    /// Pages and members that could not be read, and why.
    unreadable: Vec<String>,
}

impl Listed {
    /// There is exactly one, for sure.
    fn is_single(&self) -> bool {
        self.systems == 1 && self.paths.len() == 1 && self.unreadable.is_empty()
    }
}

/// The System of `identity`'s machine: the one with its UUID, else the only one.
pub(super) async fn find(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    identity: &Identity,
) -> Result<Found, Error> {
    let mut listed = list(service, root).await?;
    let uuid = identity.uuids.first().map_or_else(|| identity.server.to_ascii_lowercase(), Guid::to_string);
    // Many BMCs name a System by its UUID: look there first.
    let named = |path: &str| path.to_ascii_lowercase().trim_end_matches('/').ends_with(&uuid);
    listed.paths.sort_by_key(|path| !named(path));
    let single = listed.is_single();
    let (mut ours, mut others, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for path in &listed.paths {
        match read(service, root, path.clone()).await {
            Ok(found) if is_ours(&found, identity) => {
                if named(path) {
                    return Ok(found);
                }
                ours.push(found);
            }
            Ok(found) => {
                told.extend(usable(&found.system));
                others.push(found);
            }
            Err(error) if single => return Err(error),
            Err(error) => listed.unreadable.push(reason(path, &error)),
        }
    }
    match (ours.len(), ours.pop()) {
        (0, None) => {}
        (1, Some(found)) => return Ok(found),
        (_, last) => {
            let paths = ours.into_iter().chain(last).map(|found| found.path).collect();
            return Err(Error::Twins { uuid, paths });
        }
    }
    match others.pop() {
        Some(found) if single => {
            identity.judge(usable(&found.system), false).map_err(Error::Identity)?;
            Ok(found)
        }
        _ => {
            let Listed { paths: _, systems, unreadable } = listed;
            Err(Error::NoSystem { systems, uuid, told, unreadable })
        }
    }
}

fn guid(system: &System) -> Option<Guid> {
    system.uuid.as_deref().and_then(Guid::parse)
}

/// A GUID that says something.
fn usable(system: &System) -> Option<Guid> {
    guid(system).filter(|guid| !guid.is_placeholder())
}

fn is_ours(found: &Found, identity: &Identity) -> bool {
    guid(&found.system).is_some_and(|guid| identity.is(guid))
}

/// Reads all pages of the Systems.
async fn list(service: &mut Service<'_>, root: &ServiceRoot) -> Result<Listed, Error> {
    let mut listed = Listed { paths: Vec::new(), systems: 0, unreadable: Vec::new() };
    let (mut counted, mut next) = (0, Some(root.systems.clone()));
    let mut seen = Vec::new();
    while let Some(path) = next.take() {
        if seen.len() >= MAX_PAGES || seen.contains(&path) {
            listed.unreadable.push(format!("{path}: no page after {} is read", seen.len()));
            break;
        }
        let page = async {
            let answer = service.get(&path, root).await?;
            parse_collection(service.origin(), &answer.body)
                .map_err(|source| Error::Parse { path: path.clone(), source })
        };
        let page = match page.await {
            Ok(page) => page,
            Err(error) if seen.is_empty() => return Err(error),
            Err(error) => {
                listed.unreadable.push(reason(&path, &error));
                break;
            }
        };
        if page.unusable > 0 {
            listed.unreadable.push(format!("{path}: {} members without a usable link", page.unusable));
        }
        counted = page.count.unwrap_or(counted);
        listed.paths.extend(page.members);
        listed.systems += u64::try_from(page.unusable).unwrap_or(u64::MAX);
        next = page.next;
        seen.push(path);
    }
    // A member that stands on two pages is one.
    let mut once = HashSet::new();
    listed.paths.retain(|path| once.insert(path.clone()));
    let found = u64::try_from(listed.paths.len()).unwrap_or(u64::MAX);
    listed.systems = listed.systems.saturating_add(found).max(counted);
    Ok(listed)
}

pub(super) async fn read(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    path: String,
) -> Result<Found, Error> {
    let answer = service.get(&path, root).await?;
    match parse_system(service.origin(), &path, &answer.body) {
        Ok(system) => Ok(Found { path, system, etag: answer.etag }),
        Err(source) => Err(Error::Parse { path, source }),
    }
}

/// A failure that is one of several.
fn reason(path: &str, error: &Error) -> String {
    match error.status() {
        Some(status) => format!("{path}: HTTP status {status}"),
        None => format!("{path}: {}", bloomery_base::chain(error)),
    }
}
