//! What is on record about a machine's disks: the positive, persisted evidence that wiping needs (promise S2).
//!
//! Duty: the record in the annotation [`DISKS_ANNOTATION`], and whether it counts for this very object and plane.
//! Never takes a record of another object (uid), of another plane's time (epoch) or one that cannot be read as leave
//! to write: what a restore, a move or a copy brings along is no evidence, except that a claim is always believed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use serde::{Deserialize, Serialize};

use crate::plane::Authority;
use crate::server::Server;

/// Annotation of a Server with the [`DiskRecord`] as JSON.
pub const DISKS_ANNOTATION: &str = "bloomery.dev/disks";
/// Annotation of a Server by which a person allows one wipe where nothing is on record. Its value is the Server's
/// `metadata.uid`, so that it means nothing on a copy.
pub const CONFIRM_WIPE_ANNOTATION: &str = "bloomery.dev/confirm-wipe";

/// Annotation of a Server that would have been accepted when it registered, but was not known to a state that had been
/// restored: the mark of the Plane object at that time. For people; nothing is decided by it.
pub const UNKNOWN_AFTER_RESTORE_ANNOTATION: &str = "bloomery.dev/unknown-after-restore";

/// What happened last to the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskState {
    /// The machine registered with this plane, which never gave it to a cluster.
    NeverUsed,
    /// A ServerBinding claims them.
    Bound,
    /// A ServerBinding claimed them and was deleted under our eyes, or a person confirmed that they may go.
    Released,
    /// The agent wiped them on our order.
    Clean,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskRecord {
    /// What happened last.
    pub state: DiskState,
    /// `metadata.uid` of the Server it was written for.
    #[serde(rename = "serverUID")]
    pub server_uid: String,
    /// Epoch of the plane that wrote it.
    pub epoch: i64,
    /// Names this record; every change makes a new one.
    pub id: String,
    /// When it was written. For people; nothing is decided by it.
    pub since: Time,
    /// `metadata.uid` of the binding, for [`DiskState::Bound`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
}

impl DiskRecord {
    /// A record about `server`, written in `epoch`.
    pub fn new(server: &Server, state: DiskState, epoch: i64, id: &str, now: &Time) -> Self {
        let server_uid = server.meta().uid.clone().unwrap_or_default();
        Self { state, server_uid, epoch, id: id.to_owned(), since: now.clone(), binding: None }
    }

    /// True when it was written for this very object in this epoch.
    pub fn is_of(&self, server: &Server, epoch: i64) -> bool {
        !self.server_uid.is_empty()
            && server.meta().uid.as_deref() == Some(self.server_uid.as_str())
            && self.epoch == epoch
    }

    /// The record as the annotation's value.
    pub fn to_annotation(&self) -> String {
        // A struct of texts and numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The record of a Server, if it has one that can be read.
    pub fn of(server: &Server) -> Option<Self> {
        let text = server.meta().annotations.as_ref()?.get(DISKS_ANNOTATION)?;
        serde_json::from_str(text).ok()
    }
}

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
    /// This plane registered the machine and never gave it away.
    NeverUsed(RecordId),
    /// This plane took it back, or a person confirmed.
    Released(RecordId),
    /// This plane had it wiped.
    Clean(RecordId),
    /// A cluster has or had it, whoever wrote that.
    Bound,
}

/// Why a record proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoidReason {
    /// Its text cannot be read.
    Unreadable,
    /// It was written for another object: this one was restored, copied or moved.
    OtherObject,
    /// It was written before the plane's state was restored or taken over.
    OtherEpoch,
    /// The plane does not know whether it may act.
    NoAuthority,
}

impl Evidence {
    /// Reads the record of `server` in the light of what this plane is.
    pub fn of(server: &Server, authority: &Authority) -> Self {
        let annotations = server.meta().annotations.as_ref();
        let Some(text) = annotations.and_then(|all| all.get(DISKS_ANNOTATION)) else { return Self::None };
        let Ok(record) = serde_json::from_str::<DiskRecord>(text) else {
            return Self::Void(VoidReason::Unreadable);
        };
        let DiskRecord { state, server_uid, epoch, id, since: _, binding: _ } = record;
        // A claim keeps everybody away, wherever it comes from.
        if state == DiskState::Bound {
            return Self::Bound;
        }
        let Some(current) = authority.epoch() else { return Self::Void(VoidReason::NoAuthority) };
        if server_uid.is_empty() || server.meta().uid.as_deref() != Some(server_uid.as_str()) {
            return Self::Void(VoidReason::OtherObject);
        }
        if epoch != current {
            return Self::Void(VoidReason::OtherEpoch);
        }
        let id = RecordId(id);
        match state {
            DiskState::NeverUsed => Self::NeverUsed(id),
            DiskState::Released => Self::Released(id),
            DiskState::Clean => Self::Clean(id),
            DiskState::Bound => Self::Bound,
        }
    }

    /// The record that allows a wipe, if one does.
    pub const fn allows_wipe(&self) -> Option<&RecordId> {
        match self {
            Self::NeverUsed(id) | Self::Released(id) => Some(id),
            Self::None | Self::Void(_) | Self::Clean(_) | Self::Bound => None,
        }
    }
}

/// True when a person confirmed that the disks of this very object may be wiped.
pub fn wipe_confirmed(server: &Server) -> bool {
    let annotations = server.meta().annotations.as_ref();
    let confirmed = annotations.and_then(|all| all.get(CONFIRM_WIPE_ANNOTATION));
    confirmed.is_some_and(|uid| !uid.is_empty() && server.meta().uid.as_ref() == Some(uid))
}
