//! The list of pairings: whose certificates are good, and until when.
//!
//! Pure: time comes in as seconds since 1970, and nothing here touches a file. What was revoked never becomes good
//! again.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::person::{PairingId, Person};

/// Pairings in force at once. Each adds some 60 bytes to every TLS handshake of the Kubernetes API.
pub const MAX_LIVE: usize = 100;
/// Pairings that ended and are still shown.
const MAX_ENDED: usize = 100;
/// How long a person's certificate holds.
pub const LIFETIME_SECONDS: i64 = 90 * 24 * 60 * 60;
/// How long certificates that an earlier version handed out go on, counted from the first boot of this one.
pub const SHARED_SECONDS: i64 = LIFETIME_SECONDS;
/// Version of the file.
const VERSION: u32 = 1;

/// One pairing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Which.
    pub id: PairingId,
    /// The person and the workstation, as the latter says.
    pub person: String,
    /// The person's public key: base64 of its `SubjectPublicKeyInfo` in DER.
    pub public_key: String,
    /// When it began.
    pub paired: i64,
    /// When the certificate was renewed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<i64>,
    /// When the certificate expires.
    pub expires: i64,
    /// Address that the request came from.
    pub address: String,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
    /// What signs its certificates; gone once it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityPem>,
}

/// A certificate authority of one pairing, PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityPem {
    /// Its certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Hides the private key.
impl std::fmt::Debug for AuthorityPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthorityPem").finish_non_exhaustive()
    }
}

impl Record {
    /// Whether its certificate is good.
    pub fn is_live(&self, now: i64) -> bool {
        self.revoked.is_none() && self.expires > now
    }

    /// Its authority while it is good; none afterwards, whatever the file holds.
    pub fn live_authority(&self, now: i64) -> Option<&AuthorityPem> {
        self.authority.as_ref().filter(|_| self.is_live(now))
    }
}

/// The one certificate that an earlier version gave to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shared {
    /// When it stops to be taken.
    pub expires: i64,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
}

/// Why the list was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RegistryError {
    #[error(
        "failed to pair: {MAX_LIVE} pairings are in force; revoke some (bloomery pairing list, bloomery pairing revoke)"
    )]
    Full,
    #[error("failed to find the pairing {id}; `bloomery pairing list` shows those that there are")]
    Unknown { id: String },
    /// It was revoked or has expired.
    #[error(
        "failed to renew: the pairing {id} was revoked or has expired; pair anew with the console's code"
    )]
    Ended { id: String },
    #[error(
        "failed to renew: the request is for another key than the one that was paired; pair anew instead"
    )]
    OtherKey,
}

/// All pairings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registry {
    version: u32,
    pairings: Vec<Record>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shared: Option<Shared>,
}

impl Registry {
    /// An empty list. `shared_from` is the present time on a plane that an earlier version made, whose
    /// administrators' certificates go on for [`SHARED_SECONDS`].
    pub fn new(shared_from: Option<i64>) -> Self {
        let shared = shared_from.map(|now| Shared { expires: now + SHARED_SECONDS, revoked: None });
        Self { version: VERSION, pairings: Vec::new(), shared }
    }

    /// Whether this version can read the file that it came from.
    pub fn is_known_version(&self) -> bool {
        self.version == VERSION
    }

    /// All, oldest first.
    pub fn pairings(&self) -> &[Record] {
        &self.pairings
    }

    /// One that is good now.
    pub fn live(&self, id: &PairingId, now: i64) -> Option<&Record> {
        self.pairings.iter().find(|record| record.id == *id && record.is_live(now))
    }

    /// What an earlier version handed out, if this plane had an earlier version.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// Whether certificates of the earlier version are taken.
    pub fn takes_shared(&self, now: i64) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.revoked.is_none() && shared.expires > now)
    }

    /// An ID from the random bits that no pairing has or had.
    pub fn new_id(&self, random: impl Iterator<Item = u64>) -> Option<PairingId> {
        let taken: HashSet<&PairingId> = self.pairings.iter().map(|record| &record.id).collect();
        random.map(PairingId::from_bits).find(|id| !taken.contains(id))
    }

    /// Adds a pairing that begins now.
    pub fn add(&mut self, new: NewPairing, now: i64) -> Result<&Record, RegistryError> {
        if self.pairings.iter().filter(|record| record.is_live(now)).count() >= MAX_LIVE {
            return Err(RegistryError::Full);
        }
        self.forget_old(now);
        let NewPairing { id, person, public_key, address, authority } = new;
        let record = Record {
            id,
            person: person.as_str().to_owned(),
            public_key,
            paired: now,
            renewed: None,
            expires: now + LIFETIME_SECONDS,
            address,
            revoked: None,
            authority: Some(authority),
        };
        let place = self.pairings.len();
        self.pairings.push(record);
        Ok(&self.pairings[place])
    }

    /// Takes a pairing back that was never handed out.
    pub fn withdraw(&mut self, id: &PairingId) {
        self.pairings.retain(|record| record.id != *id);
    }

    /// Lets a pairing's certificate hold anew from now on.
    pub fn renew(&mut self, id: &PairingId, public_key: &str, now: i64) -> Result<&Record, RegistryError> {
        let record = self.pairings.iter_mut().find(|record| record.id == *id && record.is_live(now));
        let record = record.ok_or_else(|| RegistryError::Ended { id: id.to_string() })?;
        if record.public_key != public_key {
            return Err(RegistryError::OtherKey);
        }
        record.renewed = Some(now);
        record.expires = now + LIFETIME_SECONDS;
        Ok(record)
    }

    /// Ends a pairing for ever; what signs its certificates is thrown away. Revoking twice is no error.
    pub fn revoke(&mut self, id: &PairingId, now: i64) -> Result<&Record, RegistryError> {
        let record = self.pairings.iter_mut().find(|record| record.id == *id);
        let record = record.ok_or_else(|| RegistryError::Unknown { id: id.to_string() })?;
        record.revoked.get_or_insert(now);
        record.authority = None;
        Ok(record)
    }

    /// Ends what an earlier version handed out.
    pub fn revoke_shared(&mut self, now: i64) -> Result<(), RegistryError> {
        let shared = self.shared.as_mut();
        let shared =
            shared.ok_or_else(|| RegistryError::Unknown { id: crate::wire::SHARED_ID.to_owned() })?;
        shared.revoked.get_or_insert(now);
        Ok(())
    }

    /// Keeps the newest of those that ended.
    fn forget_old(&mut self, now: i64) {
        let ended = self.pairings.iter().filter(|record| !record.is_live(now)).count();
        let mut surplus = ended.saturating_sub(MAX_ENDED);
        self.pairings.retain(|record| {
            let goes = surplus > 0 && !record.is_live(now);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// What a pairing begins with.
#[derive(Debug, Clone)]
pub struct NewPairing {
    /// Which.
    pub id: PairingId,
    /// The person and the workstation, as the latter says.
    pub person: Person,
    /// Base64 of the public key's DER.
    pub public_key: String,
    /// Address that the request came from.
    pub address: String,
    /// What signs its certificates.
    pub authority: AuthorityPem,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_800_000_000;

    fn new(bits: u64) -> NewPairing {
        NewPairing {
            id: PairingId::from_bits(bits),
            person: Person::new("alice", "laptop"),
            public_key: format!("key {bits}"),
            address: "192.0.2.1".to_owned(),
            authority: AuthorityPem { certificate: "c".to_owned(), key: "k".to_owned() },
        }
    }

    fn id(bits: u64) -> PairingId {
        PairingId::from_bits(bits)
    }

    #[test]
    fn lives_ninety_days_from_the_last_renewal() {
        let mut registry = Registry::new(None);
        registry.add(new(1), NOW).unwrap();
        let day = 24 * 60 * 60;
        assert!(registry.live(&id(1), NOW + 90 * day - 1).is_some());
        assert!(registry.live(&id(1), NOW + 90 * day).is_none());
        registry.renew(&id(1), "key 1", NOW + 89 * day).unwrap();
        assert!(registry.live(&id(1), NOW + 178 * day).is_some());
        let error = registry.renew(&id(1), "key 1", NOW + 179 * day).unwrap_err();
        assert_eq!(error, RegistryError::Ended { id: id(1).to_string() }, "too late");
    }

    #[test]
    fn only_the_key_that_was_paired_is_renewed() {
        let mut registry = Registry::new(None);
        registry.add(new(1), NOW).unwrap();
        registry.add(new(2), NOW).unwrap();
        let before = registry.clone();
        assert_eq!(registry.renew(&id(1), "key 2", NOW + 9), Err(RegistryError::OtherKey));
        assert!(matches!(registry.renew(&id(3), "key 1", NOW), Err(RegistryError::Ended { .. })));
        assert_eq!(registry, before);
    }

    #[test]
    fn what_was_revoked_stays_revoked_and_loses_its_key() {
        let mut registry = Registry::new(None);
        registry.add(new(1), NOW).unwrap();
        registry.revoke(&id(1), NOW + 5).unwrap();
        assert!(registry.renew(&id(1), "key 1", NOW + 6).is_err());
        assert_eq!(registry.revoke(&id(1), NOW + 7).unwrap().revoked, Some(NOW + 5));
        let kept = serde_json::to_string(&registry).unwrap();
        assert!(!kept.contains("\"key\""), "{kept}");
        let read: Registry = serde_json::from_str(&kept).unwrap();
        assert!(read.live(&id(1), NOW).is_none());
        assert!(matches!(registry.revoke(&id(9), NOW), Err(RegistryError::Unknown { .. })));
    }

    #[test]
    fn a_file_that_was_edited_to_keep_a_revoked_authority_gives_none() {
        let mut registry = Registry::new(None);
        registry.add(new(1), NOW).unwrap();
        registry.pairings[0].revoked = Some(NOW);
        assert_eq!(registry.pairings()[0].live_authority(NOW), None);
    }

    #[test]
    fn the_earlier_versions_certificate_goes_on_for_a_while_on_planes_that_had_it() {
        assert!(!Registry::new(None).takes_shared(NOW));
        assert!(Registry::new(None).revoke_shared(NOW).is_err());
        let mut registry = Registry::new(Some(NOW));
        assert!(registry.takes_shared(NOW + SHARED_SECONDS - 1));
        assert!(!registry.takes_shared(NOW + SHARED_SECONDS));
        registry.revoke_shared(NOW + 1).unwrap();
        assert!(!registry.takes_shared(NOW + 2));
    }

    #[test]
    fn is_bounded_and_expired_ones_make_room() {
        let mut registry = Registry::new(None);
        for bits in 0..MAX_LIVE as u64 {
            registry.add(new(bits), NOW).unwrap();
        }
        assert_eq!(registry.add(new(5000), NOW).unwrap_err(), RegistryError::Full);
        registry.revoke(&id(3), NOW).unwrap();
        registry.add(new(5000), NOW).unwrap();
        for round in 1..8_i64 {
            let now = NOW + round * LIFETIME_SECONDS;
            for bits in 0..MAX_LIVE as u64 {
                let bits = 10_000 * u64::try_from(round).unwrap() + bits;
                registry.add(new(bits), now).unwrap();
            }
            assert!(registry.pairings().len() <= MAX_LIVE + MAX_ENDED);
        }
    }

    proptest! {
        #[test]
        fn no_sequence_brings_a_revoked_pairing_back(steps in proptest::collection::vec((0..4_u8, 0..6_u64, 0..200_i64), 0..60)) {
            let mut registry = Registry::new(Some(NOW));
            let (mut now, mut revoked, mut shared_revoked) = (NOW, HashSet::new(), false);
            for (step, bits, days) in steps {
                now += days * 24 * 60 * 60 / 10;
                match step {
                    0 if registry.pairings().iter().all(|record| record.id != id(bits)) && !revoked.contains(&bits) => {
                        let _ = registry.add(new(bits), now);
                    }
                    1 => drop(registry.renew(&id(bits), &format!("key {bits}"), now)),
                    2 => if registry.revoke(&id(bits), now).is_ok() { revoked.insert(bits); },
                    3 if bits == 0 => { registry.revoke_shared(now).unwrap(); shared_revoked = true; }
                    _ => {
                        let text = serde_json::to_string(&registry).unwrap();
                        registry = serde_json::from_str(&text).unwrap();
                    }
                }
                for bits in &revoked {
                    prop_assert!(registry.live(&id(*bits), now).is_none());
                }
                prop_assert!(!(shared_revoked && registry.takes_shared(now)));
            }
        }
    }
}
