//! What must be on record before a bound machine is given the node system that will write to its disks.
//!
//! The Server controller puts every binding on record as soon as it sees it. While it does not run, a binding may
//! come, be used and be deleted by force, and the record would go on saying that the disks may be wiped: whoever
//! boots the machine makes sure of it first.
//! Never weakens a record: all it can do is to add a claim.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::evidence::{DiskRecord, Entry, Evidence, VoidReason, wipe_confirmed};
use crate::plane::Authority;
use crate::server::Server;
use crate::server_binding::ServerBinding;

/// What to do before the node system is given.
#[derive(Clone, Debug, PartialEq)]
pub enum BootClaim {
    /// Nothing: the claim is on record.
    OnRecord,
    /// Write this to the version of the Server that was read, and give nothing unless that succeeded.
    Write {
        /// The record.
        record: DiskRecord,
        /// Whether a person's confirmation of a wipe is void: it was given for the time before this binding.
        remove_confirmation: bool,
    },
    /// Give nothing, and why.
    Refuse(&'static str),
}

/// Decides from objects that were read just now. `id` names a record that is written, `now` dates it.
pub fn claim(
    server: &Server,
    binding: &ServerBinding,
    authority: &Authority,
    now: &Time,
    id: &str,
) -> BootClaim {
    if !authority.acts() {
        return BootClaim::Refuse("this plane is not the one that may act on machines");
    }
    let evidence = Evidence::of(server, authority);
    let confirmed = wipe_confirmed(server, authority);
    let leaving = binding.metadata.deletion_timestamp.is_some();
    let is_its = DiskRecord::of(server).is_some_and(|record| record.is_claim_for(binding));
    let write = |entry| {
        DiskRecord::new(server, entry, authority, id, now).map_or(
            BootClaim::Refuse("the claim cannot be recorded"),
            |record| BootClaim::Write { record, remove_confirmation: confirmed },
        )
    };
    if leaving {
        // Its cluster has let go: what is installed now would be wiped under way.
        return BootClaim::Refuse("its ServerBinding is being deleted");
    }
    match evidence {
        Evidence::Void(VoidReason::OtherPlane) => BootClaim::Refuse("another plane looks after this machine"),
        // One of another machine than the binding's says nothing of this one's node.
        Evidence::Installed if !is_its => write(Entry::Bound(binding)),
        Evidence::Bound | Evidence::Installed if !confirmed => BootClaim::OnRecord,
        Evidence::Installed | Evidence::Void(VoidReason::Installed) => write(Entry::Installed(binding)),
        Evidence::Bound
        | Evidence::None
        | Evidence::Void(_)
        | Evidence::NeverUsed(_)
        | Evidence::Unconsented(_)
        | Evidence::Released(_)
        | Evidence::Clean(_) => write(Entry::Bound(binding)),
    }
}

#[cfg(test)]
mod tests;
