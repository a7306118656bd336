//! Whether a record counts here and now.

use super::{DiskRecord, DiskState};
use crate::contents::{Contents, ContentsClass};
use crate::exempt::ExemptDisks;
use crate::ledger::{Fate, Tombstone};
use crate::plane::{Authority, label};
use crate::server::Server;
use crate::trust::Trust;

/// Name of a record that allows something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordId(pub String);

/// What the record proves here and now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// There is no record.
    None,
    /// There is one that proves nothing here.
    Void(VoidReason),
    /// This plane registered the machine and never gave it away, and acceptance is consent to wipe what its disks hold.
    NeverUsed(RecordId),
    /// This plane registered the machine and never gave it away, but what its disks hold needs a person's word on top
    /// of acceptance.
    Unconsented(ContentsClass),
    /// This plane took it back, or a person confirmed.
    Released(RecordId),
    /// This plane had it wiped.
    Clean(RecordId),
    /// A cluster has or had it, whoever wrote that.
    Bound,
    /// A cluster has or had it, and its node was installed, whoever wrote that.
    Installed,
}

/// Why a record proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoidReason {
    /// Its text cannot be read.
    Unreadable,
    /// It was written for another object: this one was restored, copied or moved.
    OtherObject,
    /// The Server carries the label of another plane.
    OtherPlane,
    /// It was written before the plane's state was restored or taken over.
    OtherEpoch,
    /// The plane did not sign it: an older release wrote it, or somebody made it up.
    Unsigned,
    /// The ledger has seen a later record of this Server.
    Superseded,
    /// The ledger knows the machine as claimed.
    Claimed,
    /// The ledger knows a later claim of this Server, whose node was installed.
    Installed,
    /// The plane's key or its ledger cannot be read.
    NoTrust,
    /// The plane does not know whether it may act.
    NoAuthority,
}

impl VoidReason {
    /// Why, for conditions and logs.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unreadable => "its record cannot be read",
            Self::OtherObject => "its record is of another object: it was restored, copied or moved",
            Self::OtherPlane => "another plane looks after it",
            Self::OtherEpoch => "its record is from before a restore or takeover",
            Self::Unsigned => {
                "its record is not signed by this plane: an older release wrote it, or it was edited"
            }
            Self::Superseded => "its record is older than the one that this plane saw last",
            Self::Claimed => "this plane's ledger knows the machine as claimed by a cluster",
            Self::Installed => {
                "its record is older than the node that this plane's ledger knows as installed"
            }
            Self::NoTrust => "this plane's key or ledger cannot be read",
            Self::NoAuthority => "this plane does not know whether it may act",
        }
    }
}

impl Evidence {
    /// Reads the record of `server` in the light of what this plane is.
    pub fn of(server: &Server, authority: &Authority) -> Self {
        let record = DiskRecord::read(server);
        if let Authority::Holds { epoch: _, trust } = authority
            && label(server).is_some_and(|plane| !trust.is_own(plane))
        {
            return Self::Void(VoidReason::OtherPlane);
        }
        if is_before_installed(server, record.as_ref().and_then(|record| record.as_ref().ok()), authority) {
            return Self::Void(VoidReason::Installed);
        }
        match record {
            // A claim keeps everybody away, wherever it comes from.
            Some(Ok(record)) if record.state == DiskState::Bound => claim(server, &record, authority),
            Some(Ok(DiskRecord { state: DiskState::Installed, .. })) => Self::Installed,
            Some(Ok(record)) => Self::judge(server, record, authority).unwrap_or_else(Self::Void),
            Some(Err(_)) => Self::Void(VoidReason::Unreadable),
            None => Self::None,
        }
    }

    fn judge(server: &Server, record: DiskRecord, authority: &Authority) -> Result<Self, VoidReason> {
        let Authority::Holds { epoch, trust } = authority else { return Err(VoidReason::NoAuthority) };
        if !record.is_of(server, record.epoch) {
            return Err(VoidReason::OtherObject);
        }
        if record.epoch != *epoch {
            return Err(VoidReason::OtherEpoch);
        }
        if trust.key.is_none() {
            return Err(VoidReason::NoTrust);
        }
        if !record.is_signed_by(trust) || record.seq == 0 {
            return Err(VoidReason::Unsigned);
        }
        compare(server, &record, trust)?;
        let DiskRecord { state, id, contents, .. } = record;
        let id = RecordId(id);
        Ok(match state {
            DiskState::NeverUsed => never_used(server, id, contents, trust.any_contents),
            DiskState::Released => Self::Released(id),
            DiskState::Clean => Self::Clean(id),
            DiskState::Bound => Self::Bound,
            DiskState::Installed => Self::Installed,
        })
    }

    /// The record that allows a wipe, if one does.
    pub const fn allows_wipe(&self) -> Option<&RecordId> {
        match self {
            Self::NeverUsed(id) | Self::Released(id) => Some(id),
            Self::None
            | Self::Void(_)
            | Self::Unconsented(_)
            | Self::Clean(_)
            | Self::Bound
            | Self::Installed => None,
        }
    }

    /// True when the machine was let go already.
    pub const fn allows_release(&self) -> bool {
        matches!(self, Self::Released(_))
    }

    /// True when a cluster has or had the machine.
    pub const fn is_claim(&self) -> bool {
        match self {
            Self::Bound | Self::Installed => true,
            Self::None
            | Self::Void(_)
            | Self::NeverUsed(_)
            | Self::Unconsented(_)
            | Self::Released(_)
            | Self::Clean(_) => false,
        }
    }
}

/// A claim whose node was installed when the ledger saw it last is one of an installed node, also when a restore brought
/// back the record from before.
fn claim(server: &Server, record: &DiskRecord, authority: &Authority) -> Evidence {
    let is_installed = installed(server, authority)
        .is_some_and(|known| record.server_uid == known.uid && record.seq <= known.seq);
    if is_installed { Evidence::Installed } else { Evidence::Bound }
}

/// True when the ledger saw a node installed on this Server, or on one of its name, and `record` is none that the plane
/// wrote since: a restore, a copy or a person brought it back, or the Server was made anew. Whose node it is, and whether
/// a binding that is there is its own, cannot be told.
fn is_before_installed(server: &Server, record: Option<&DiskRecord>, authority: &Authority) -> bool {
    let (Some(known), Some(trust)) = (installed(server, authority), authority.trust()) else { return false };
    let is_later = |record: &DiskRecord| match (known.uid == record.server_uid, record.state.is_claim()) {
        (true, true) => record.seq >= known.seq,
        (true, false) => record.seq > known.seq,
        // The first record of a Server that was made anew is no word of a release if it is a claim.
        (false, true) => record.seq > 1,
        (false, false) => record.state != DiskState::NeverUsed,
    };
    !record.is_some_and(|record| {
        server.metadata.uid.as_ref() == Some(&record.server_uid)
            && is_later(record)
            && record.is_signed_by(trust)
    })
}

/// What the ledger knows of the Server of that name, if that is an installed node.
fn installed<'a>(server: &Server, authority: &'a Authority) -> Option<&'a Tombstone> {
    let known = authority.trust()?.ledger.as_deref()?.of(server.metadata.name.as_deref()?)?;
    (known.installed && known.fate != Fate::Free).then_some(known)
}

/// What the ledger says to a record that is signed.
fn compare(server: &Server, record: &DiskRecord, trust: &Trust) -> Result<(), VoidReason> {
    let ledger = trust.ledger.as_deref().ok_or(VoidReason::NoTrust)?;
    let Some(known) = ledger.of(server.metadata.name.as_deref().unwrap_or_default()) else { return Ok(()) };
    let is_claimed = match known.fate {
        Fate::Claimed | Fate::Forgotten | Fate::Vanished => true,
        Fate::Free => false,
    };
    if known.uid != record.server_uid {
        // The Server was made anew: that it was never used is not true of its machine.
        let ends = record.state != DiskState::NeverUsed;
        return if is_claimed && !ends { Err(VoidReason::Claimed) } else { Ok(()) };
    }
    if record.seq < known.seq || (record.seq == known.seq && record.id != known.record) {
        return Err(VoidReason::Superseded);
    }
    // The claim came after this record, and no later one ends it.
    if is_claimed && record.seq == known.seq { Err(VoidReason::Claimed) } else { Ok(()) }
}

/// Of a machine that was never given away, judged by what its disks held when it registered and hold by its inventory of
/// today. What was not there at registration is nothing that acceptance was given for.
fn never_used(server: &Server, id: RecordId, registered: Option<ContentsClass>, any: bool) -> Evidence {
    let registered = registered.unwrap_or(ContentsClass::Unknown);
    let today = Contents::of(server.spec.hardware.as_ref(), &ExemptDisks::of_or_none(server)).class;
    let worst = today.max(registered);
    if worst.is_covered_by_acceptance(any) && (today <= registered || any) {
        Evidence::NeverUsed(id)
    } else {
        Evidence::Unconsented(worst)
    }
}
