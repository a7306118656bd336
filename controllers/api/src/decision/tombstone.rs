//! What the ledger is to say of a machine.
//!
//! Never lets a record of "never used", or one that is not the plane's own, end a claim.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;

use crate::evidence::{DiskRecord, DiskState, is_forgotten};
use crate::ledger::{Fate, Tombstone, revision_of};
use crate::marks::Marks;
use crate::plane::Authority;
use crate::server::Server;
use crate::server_binding::ServerBinding;

/// What the ledger is to say of a Server as it was read; `None` when it says so, or when the machine was never claimed.
pub fn entry(
    server: &Server,
    binding: Option<&ServerBinding>,
    authority: &Authority,
    now: &Time,
) -> Option<Tombstone> {
    let Authority::Holds { epoch, trust } = authority else { return None };
    let ledger = trust.ledger.as_deref()?;
    let name = server.metadata.name.clone()?;
    let uid = server.meta().uid.clone().filter(|uid| !uid.is_empty())?;
    let known = ledger.of(&name);
    let same = known.filter(|known| known.uid == uid);
    let record = DiskRecord::of(server);
    // What is not ours has no number that counts.
    let own = record.as_ref().filter(|record| record.is_ours(server, authority));
    let claimed = binding.is_some() || record.as_ref().is_some_and(|record| record.state.is_claim());
    let fate = if claimed {
        if is_forgotten(server) && server.metadata.deletion_timestamp.is_some() && binding.is_none() {
            Fate::Forgotten
        } else {
            Fate::Claimed
        }
    } else {
        let known = known?;
        match (own, same) {
            // An old record is no news.
            (Some(own), Some(same)) if own.seq < same.seq => return None,
            (Some(own), _) if own.state != DiskState::NeverUsed => Fate::Free,
            // "Never used" ends no claim, and what is not ours ends nothing.
            _ if known.fate == Fate::Free => return None,
            _ if is_forgotten(server) && server.metadata.deletion_timestamp.is_some() => Fate::Forgotten,
            _ => return None,
        }
    };
    let seq = own.map_or(0, |own| own.seq).max(same.map_or(0, |same| same.seq));
    let installed = claimed && is_installed(record.as_ref(), own, known, &uid);
    let id = own.filter(|own| own.seq == seq).map(|own| own.id.clone());
    let entry = Tombstone {
        server: name,
        uid,
        marks: Marks::of_server(server),
        fate,
        installed,
        seq,
        record: id.or_else(|| same.map(|same| same.record.clone())).unwrap_or_default(),
        epoch: *epoch,
        revision: revision_of(server),
        time: now.clone(),
    };
    (!known.is_some_and(|known| known.says_the_same(&entry))).then_some(entry)
}

/// Whether the node of the present claim is installed, by its record or by what was noted before of the same claim. A
/// Server that was made anew carries on the claim of the one before it until a record of its own says more than that.
fn is_installed(
    record: Option<&DiskRecord>,
    own: Option<&DiskRecord>,
    known: Option<&Tombstone>,
    uid: &str,
) -> bool {
    let is_new = |known: &Tombstone| {
        let before = if known.uid == uid { known.seq } else { 1 };
        own.is_some_and(|own| own.seq > before)
    };
    record.is_some_and(|record| record.state == DiskState::Installed)
        || known.is_some_and(|known| known.installed && known.fate != Fate::Free && !is_new(known))
}
