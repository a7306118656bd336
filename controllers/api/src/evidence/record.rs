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
use crate::trust::{SigningKey, Trust};
use crate::zero::is_zero;

/// What a signature is of, so that it never fits anything else.
const PURPOSE: &[u8] = b"bloomery disk record 1";
/// Stands before the name of the Server in place of its uid in a record that is made together with it: nobody knows the
/// uid before.
const MADE_WITH: &str = "made with ";
/// Seconds from the time of such a record to the Server's `creationTimestamp`: clocks of one plane differ by less, and
/// a Server that is made anew later has another time.
const MADE_WITHIN: std::ops::RangeInclusive<i64> = -2..=30;

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
    /// What the record itself says in place of the uid, where it was made together with its Server.
    #[serde(skip)]
    pub made_with: Option<String>,
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
            made_with: None,
        };
        if let Some(key) = &trust.key {
            record.sign(key);
        }
        Some(record)
    }

    /// The record "never used" for a Server that is about to be made; [`Self::new`] says when there is none. It counts
    /// for the Server of that name that is made within half a minute, and for no other.
    pub fn made_with(
        server: &Server,
        contents: ContentsClass,
        authority: &Authority,
        id: &str,
        now: &Time,
    ) -> Option<Self> {
        let mut named = server.clone();
        named.metadata.uid = Some(made_with(server)?);
        Self::new(&named, Entry::NeverUsed(contents), authority, id, now)
    }

    pub(crate) fn sign(&mut self, key: &SigningKey) {
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
        let Self { state, server_uid, epoch, id, since, binding, claimant, contents, seq, revision, .. } =
            self;
        let server_uid = self.made_with.as_ref().unwrap_or(server_uid);
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
        Self::read(server)?.ok()
    }

    /// What a Server has for a record, if anything.
    pub(super) fn read(server: &Server) -> Option<Result<Self, serde_json::Error>> {
        let text = server.meta().annotations.as_ref()?.get(DISKS_ANNOTATION)?;
        let record = serde_json::from_str(text);
        Some(record.map(|record: Self| record.of_its_server(server)))
    }

    /// The same with the uid of the Server that it was made together with.
    fn of_its_server(mut self, server: &Server) -> Self {
        let made = server.metadata.creation_timestamp.as_ref().map(|made| made.0.as_second());
        let age = made.map(|made| made.saturating_sub(self.since.0.as_second()));
        if self.state == DiskState::NeverUsed
            && made_with(server).as_ref() == Some(&self.server_uid)
            && age.is_some_and(|age| MADE_WITHIN.contains(&age))
        {
            let uid = server.metadata.uid.clone().unwrap_or_default();
            self.made_with = Some(std::mem::replace(&mut self.server_uid, uid));
        }
        self
    }
}

fn made_with(server: &Server) -> Option<String> {
    server.metadata.name.as_ref().filter(|name| !name.is_empty()).map(|name| format!("{MADE_WITH}{name}"))
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
        let authority = Authority::Holds { epoch: 1, trust: Trust::new(SigningKey::new([7; 32]), "own") };
        let mut server = Server::new("a", ServerSpec::default());
        server.metadata.uid = Some("u".to_owned());
        // As the clock gives it: with parts of a second, which the text of a time has not.
        let now = Time(Timestamp::new(1_700_000_000, 123_456_789).unwrap());
        let written = DiskRecord::new(&server, Entry::Released, &authority, "r", &now).unwrap();
        server.metadata.annotations = Some([(DISKS_ANNOTATION.to_owned(), written.to_annotation())].into());
        assert!(DiskRecord::of(&server).unwrap().is_ours(&server, &authority));
    }

    #[test]
    fn a_record_that_was_made_with_its_server_counts_for_that_server_alone() {
        let authority = Authority::Holds { epoch: 1, trust: Trust::new(SigningKey::new([7; 32]), "own") };
        let wanted = Server::new("a", ServerSpec::default());
        let since = Time(Timestamp::new(1_700_000_000, 0).unwrap());
        let record = |name: &str| {
            let wanted = Server::new(name, ServerSpec::default());
            DiskRecord::made_with(&wanted, ContentsClass::Blank, &authority, "r", &since).unwrap()
        };
        let made = |record: &DiskRecord, after: i64| {
            let mut server = wanted.clone();
            server.metadata.uid = Some("u".to_owned());
            let made = Timestamp::from_second(1_700_000_000 + after).unwrap();
            server.metadata.creation_timestamp = Some(Time(made));
            server.metadata.annotations =
                Some([(DISKS_ANNOTATION.to_owned(), record.to_annotation())].into());
            server
        };
        let counts = |record: &DiskRecord, after: i64| {
            let server = made(record, after);
            DiskRecord::of(&server).unwrap().is_ours(&server, &authority)
        };
        for (after, expected) in
            [(-3, false), (-2, true), (0, true), (30, true), (31, false), (86_400, false)]
        {
            assert_eq!(counts(&record("a"), after), expected, "{after} s");
        }
        assert!(!counts(&record("b"), 0), "the record of another Server");
        assert!(!counts(&DiskRecord { state: DiskState::Released, ..record("a") }, 0));
        assert!(!counts(&DiskRecord { contents: None, ..record("a") }, 0), "changed after it was signed");
        let unmade = Server { metadata: made(&record("a"), 0).metadata, ..wanted.clone() };
        let mut undated = unmade;
        undated.metadata.creation_timestamp = None;
        assert!(!DiskRecord::of(&undated).unwrap().is_ours(&undated, &authority));
    }
}
