//! The record: what it says, and how it is written and signed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use serde::{Deserialize, Serialize};

use super::DISKS_ANNOTATION;
use crate::contents::ContentsClass;
use crate::ledger::revision_of;
use crate::plane::Authority;
use crate::server::Server;
use crate::server_binding::ServerBinding;
use crate::trust::{RecordKey, Trust};
use crate::zero::is_zero;

/// What a signature is of, so that it never fits anything else.
const PURPOSE: &[u8] = b"bloomery disk record 1";

/// What happened last to the disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskState {
    /// The machine registered with this plane, which never gave it to a cluster.
    NeverUsed,
    /// A ServerBinding claims them.
    Bound,
    /// A ServerBinding claims them, and its node is installed.
    Installed,
    /// A ServerBinding claimed them and was deleted under our eyes, or a person confirmed that they may go.
    Released,
    /// The agent wiped them on our order.
    Clean,
}

impl DiskState {
    /// True when a cluster has the disks.
    pub const fn is_claim(self) -> bool {
        match self {
            Self::Bound | Self::Installed => true,
            Self::NeverUsed | Self::Released | Self::Clean => false,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::NeverUsed => "neverUsed",
            Self::Bound => "bound",
            Self::Installed => "installed",
            Self::Released => "released",
            Self::Clean => "clean",
        }
    }
}

/// What is to be recorded.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// The machine registered; its disks hold this.
    NeverUsed(ContentsClass),
    /// This binding claims it.
    Bound(&'a ServerBinding),
    /// This binding claims it, and its node is installed.
    Installed(&'a ServerBinding),
    /// It was let go.
    Released,
    /// It was wiped.
    Clean,
}

impl Entry<'_> {
    /// What happened.
    pub const fn state(&self) -> DiskState {
        match self {
            Self::NeverUsed(_) => DiskState::NeverUsed,
            Self::Bound(_) => DiskState::Bound,
            Self::Installed(_) => DiskState::Installed,
            Self::Released => DiskState::Released,
            Self::Clean => DiskState::Clean,
        }
    }
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
    /// `metadata.uid` of the binding, for a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// The machine that claims, as `namespace/name`: unlike uids it survives a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimant: Option<String>,
    /// What the disks held when the machine registered, for [`DiskState::NeverUsed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<ContentsClass>,
    /// Number of this record among those of its Server, from 1; 0 in records of the release that did not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seq: u64,
    /// Revision of etcd that it follows: the version of the Server that it was decided on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// Signature with the plane's key, in hexadecimal; empty in records of the release that did not sign.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub mac: String,
}

impl DiskRecord {
    /// A record of `entry` about `server` as it was read, signed by the plane. `id` names it, `now` dates it. None
    /// where the plane may not act, or has no key and the entry is no claim: a claim is believed unsigned too.
    pub fn new(
        server: &Server,
        entry: Entry<'_>,
        authority: &Authority,
        id: &str,
        now: &Time,
    ) -> Option<Self> {
        let Authority::Holds { epoch, trust } = authority else { return None };
        if trust.key.is_none() && !entry.state().is_claim() {
            return None;
        }
        let (binding, claimant) = match entry {
            Entry::Bound(binding) | Entry::Installed(binding) => (uid_of(binding), claimant(binding)),
            Entry::NeverUsed(_) | Entry::Released | Entry::Clean => (None, None),
        };
        let contents = match entry {
            Entry::NeverUsed(contents) => Some(contents),
            Entry::Bound(_) | Entry::Installed(_) | Entry::Released | Entry::Clean => None,
        };
        let mut record = Self {
            state: entry.state(),
            server_uid: server.meta().uid.clone().unwrap_or_default(),
            epoch: *epoch,
            id: id.to_owned(),
            since: now.clone(),
            binding,
            claimant,
            contents,
            seq: next_number(server, trust),
            revision: revision_of(server),
            mac: String::new(),
        };
        if let Some(key) = &trust.key {
            record.sign(key);
        }
        Some(record)
    }

    /// Signs it as it is.
    pub(crate) fn sign(&mut self, key: &RecordKey) {
        self.mac = self.signed(|parts| key.sign(parts));
    }

    /// True when it was written for this very object in this epoch, by whomever.
    pub fn is_of(&self, server: &Server, epoch: i64) -> bool {
        !self.server_uid.is_empty()
            && server.meta().uid.as_deref() == Some(self.server_uid.as_str())
            && self.epoch == epoch
    }

    /// True when it was written for this very object in this epoch, by whoever has the plane's key.
    pub fn is_ours(&self, server: &Server, authority: &Authority) -> bool {
        let Authority::Holds { epoch, trust } = authority else { return false };
        self.is_of(server, *epoch) && self.is_signed_by(trust)
    }

    /// True when the plane's key signed it.
    pub fn is_signed_by(&self, trust: &Trust) -> bool {
        trust.key.is_some_and(|key| self.signed(|parts| key.verifies(parts, &self.mac)))
    }

    /// True when it is the claim of this binding, on this very object.
    pub fn is_claim_of(&self, binding: &ServerBinding) -> bool {
        self.state.is_claim() && self.binding.is_some() && self.binding == uid_of(binding)
    }

    /// True when it is the claim of the machine that this binding is for, whatever the uids say: objects that are moved
    /// or restored get others.
    pub fn is_claim_for(&self, binding: &ServerBinding) -> bool {
        self.is_claim_of(binding)
            || (self.state.is_claim() && self.claimant.is_some() && self.claimant == claimant(binding))
    }

    /// Hands the parts that a signature is of to `with`.
    fn signed<T>(&self, with: impl FnOnce(&[&[u8]]) -> T) -> T {
        let Self { state, server_uid, epoch, id, since, binding, claimant, contents, seq, revision, mac: _ } =
            self;
        // Whole seconds, as its text has them: parts of one would be lost with the first write.
        let since = since.0.as_second().to_be_bytes();
        let text = |text: &Option<String>| text.as_ref().map_or_else(String::new, |text| format!("+{text}"));
        let (binding, claimant) = (text(binding), text(claimant));
        with(&[
            PURPOSE,
            state.as_str().as_bytes(),
            server_uid.as_bytes(),
            &epoch.to_be_bytes(),
            id.as_bytes(),
            &since,
            binding.as_bytes(),
            claimant.as_bytes(),
            contents.map_or("", ContentsClass::as_str).as_bytes(),
            &seq.to_be_bytes(),
            &revision.to_be_bytes(),
        ])
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

/// One more than the last number that counts: of the record that is there, if the plane signed it, and of the ledger.
fn next_number(server: &Server, trust: &Trust) -> u64 {
    signed_number(server, trust).max(noted_number(server, trust)).saturating_add(1)
}

/// The number that the ledger knows of this very object, if it is later than that of its record.
pub(super) fn later_number(server: &Server, authority: &Authority) -> Option<u64> {
    let trust = authority.trust()?;
    Some(noted_number(server, trust)).filter(|noted| *noted > signed_number(server, trust))
}

fn signed_number(server: &Server, trust: &Trust) -> u64 {
    let uid = server.meta().uid.as_ref();
    let signed = DiskRecord::of(server).filter(|record| record.is_signed_by(trust));
    signed.filter(|record| uid == Some(&record.server_uid)).map_or(0, |record| record.seq)
}

fn noted_number(server: &Server, trust: &Trust) -> u64 {
    let name = server.metadata.name.as_deref().unwrap_or_default();
    let noted = trust.ledger.as_deref().and_then(|ledger| ledger.of(name));
    noted.filter(|noted| server.meta().uid.as_ref() == Some(&noted.uid)).map_or(0, |noted| noted.seq)
}

fn uid_of(binding: &ServerBinding) -> Option<String> {
    binding.metadata.uid.clone().filter(|uid| !uid.is_empty())
}

fn claimant(binding: &ServerBinding) -> Option<String> {
    let machine = &binding.spec.metal_machine_ref;
    let name = machine.name.as_deref().filter(|name| !name.is_empty())?;
    Some(format!("{}/{name}", machine.namespace.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::ServerSpec;

    #[test]
    fn a_record_is_believed_as_it_comes_back_from_its_annotation() {
        let authority = Authority::Holds { epoch: 1, trust: Trust::new(RecordKey::new([7; 32]), "own") };
        let mut server = Server::new("a", ServerSpec::default());
        server.metadata.uid = Some("u".to_owned());
        // As the clock gives it: with parts of a second, which the text of a time has not.
        let now = Time(Timestamp::new(1_700_000_000, 123_456_789).unwrap());
        let written = DiskRecord::new(&server, Entry::Released, &authority, "r", &now).unwrap();
        server.metadata.annotations = Some([(DISKS_ANNOTATION.to_owned(), written.to_annotation())].into());
        assert!(DiskRecord::of(&server).unwrap().is_ours(&server, &authority));
    }
}
