//! The list as others see it: people, and the servers that check certificates.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Bundle;
use super::registry::{Record, Registry};
use crate::person::Person;
use crate::wire::{self, Pairing, PairingState};

/// What the servers are to take.
pub(super) fn bundle(registry: &Registry, now: i64) -> Bundle {
    let authorities = registry.pairings().iter().filter_map(|record| record.live_authority(now));
    Bundle {
        pairings: authorities.map(|authority| authority.certificate.clone()).collect(),
        shared: registry.takes_shared(now),
    }
}

/// All pairings, oldest first, as people see them.
pub(super) fn shown(registry: &Registry, now: i64) -> Vec<Pairing> {
    let state = |revoked: Option<i64>, expires: i64| match revoked {
        Some(_) => PairingState::Revoked,
        None if expires <= now => PairingState::Expired,
        None => PairingState::Active,
    };
    let shared = registry.shared().map(|shared| Pairing {
        id: wire::SHARED_ID.to_owned(),
        name: "everybody who paired with an earlier version".to_owned(),
        user: wire::SHARED_USER.to_owned(),
        state: state(shared.revoked, shared.expires),
        paired: None,
        renewed: None,
        expires: rfc3339(shared.expires),
        revoked: shared.revoked.map(rfc3339),
        address: String::new(),
        own: false,
    });
    let pairings = registry.pairings().iter().map(|record| Pairing {
        id: record.id.to_string(),
        name: record.person.clone(),
        user: user(record),
        state: state(record.revoked, record.expires),
        paired: Some(rfc3339(record.paired)),
        renewed: record.renewed.map(rfc3339),
        expires: rfc3339(record.expires),
        revoked: record.revoked.map(rfc3339),
        address: record.address.clone(),
        own: false,
    });
    shared.into_iter().chain(pairings).collect()
}

/// The name in the certificate.
pub(super) fn user(record: &Record) -> String {
    let person = record.person.parse().unwrap_or_else(|_| Person::new("", ""));
    person.common_name(&record.id)
}

/// The present time.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Seconds since 1970 as a time.
pub(super) fn moment(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Seconds since 1970 as text.
pub(super) fn rfc3339(seconds: i64) -> String {
    moment(seconds).format(&Rfc3339).unwrap_or_default()
}
