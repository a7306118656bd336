//! The look at a Server after its binding was made: whether what it was bound for is still so.
//!
//! Between the look before and the binding another may have had the machine. The records are numbered: where the claim of
//! the new binding is the next one after the record that was seen, nobody had it in between.
//! Never says yes to what cannot be told.

use crate::decision::Standing;
use crate::evidence::{DiskRecord, Evidence};
use crate::plane::Authority;
use crate::plane::fence::is_moving;
use crate::server::Server;
use crate::server_binding::ServerBinding;

/// Whether a Server is free for a MetalMachine (`namespace/name`) as it stands without a binding.
pub fn is_free_for(server: &Server, standing: Standing, claimant: &str) -> bool {
    match standing {
        Standing::Clean => true,
        // Its binding was lost: to make it again is what brings the machine back.
        Standing::Lost => is_claimed_by(server, claimant),
        Standing::Unregistered
        | Standing::BoundWithoutServer
        | Standing::Bound
        | Standing::Installed
        | Standing::Discovered
        | Standing::Unconfirmed
        | Standing::Dirty
        | Standing::Conflicted => false,
    }
}

/// Whether the record on a Server is a claim of this MetalMachine (`namespace/name`).
pub fn is_claimed_by(server: &Server, claimant: &str) -> bool {
    DiskRecord::of(server)
        .is_some_and(|record| record.state.is_claim() && record.claimant.as_deref() == Some(claimant))
}

/// Compares the Server as it was `before` the binding was made with how it is `after`; why the binding must be undone.
pub fn verify(
    before: &Server,
    after: Option<&Server>,
    binding: &ServerBinding,
    authority: &Authority,
) -> Result<(), &'static str> {
    let Some(after) = after else { return Err("the Server is gone") };
    if after.metadata.uid.is_none() || after.metadata.uid != before.metadata.uid {
        return Err("the Server was made anew");
    }
    if after.metadata.deletion_timestamp.is_some() {
        return Err("the Server is being deleted");
    }
    if is_moving(&after.metadata) {
        return Err("the Server is being moved to another plane");
    }
    if !after.spec.accepted {
        return Err("the Server is not accepted any more");
    }
    let (then, now) = (DiskRecord::of(before), DiskRecord::of(after));
    let (Some(then), Some(now)) = (then, now) else { return Err("the Server has no record of its disks") };
    if then.id == now.id {
        // Nothing was recorded since: it stands as it stood, unless the plane no longer believes the record.
        let is_same = Evidence::of(before, authority) == Evidence::of(after, authority);
        let stands = Standing::of(Some(after), None, &Evidence::of(after, authority), None);
        let is_free = is_same && matches!(stands, Standing::Clean | Standing::Lost);
        return if is_free { Ok(()) } else { Err("the Server is not clean any more") };
    }
    if now.is_claim_of(binding) && now.seq == then.seq.saturating_add(1) {
        return Ok(());
    }
    Err("another had the Server in between")
}

#[cfg(test)]
mod tests;
