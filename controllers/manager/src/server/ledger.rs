//! Notes in the plane's ledger what is to be remembered of a machine, whatever becomes of its objects.
//!
//! Never lets a reconcile go on that could not note a claim.

use bloomery_api::ServerBinding;
use bloomery_api::decision::Machine;
use bloomery_api::decision::tombstone::entry;
use bloomery_api::evidence::{DiskRecord, DiskState};
use bloomery_api::ledger::Tombstone;
use bloomery_plane::Ledger;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tracing::info;

use crate::reconcile::Error;

/// Appends what the ledger does not say yet of this machine; whether there was anything.
pub(super) async fn note(ledger: Option<&Ledger>, machine: &Machine<'_>, now: &Time) -> Result<bool, Error> {
    let Some(ledger) = ledger.cloned() else { return Ok(false) };
    let Some(entry) = wanted(machine, now) else { return Ok(false) };
    let (name, fate) = (machine.server.name_any(), entry.fate);
    // It waits for the disk.
    let noted = tokio::task::spawn_blocking(move || ledger.note(entry)).await;
    let failed = |source| Error::File { path: "the plane's ledger".to_owned(), source };
    let is_news = match noted {
        Ok(Ok(is_news)) => is_news,
        Ok(Err(error)) => return Err(failed(std::io::Error::other(error))),
        Err(error) => return Err(failed(std::io::Error::other(error))),
    };
    if is_news {
        info!(server = name, fate = ?fate, "ledger written");
    }
    Ok(is_news)
}

/// A binding on its way out claims nothing any more once its release is on record: noted as a claim, that record would
/// end nothing.
fn wanted(machine: &Machine<'_>, now: &Time) -> Option<Tombstone> {
    let Machine { server, binding, authority, conflict: _ } = *machine;
    let record = DiskRecord::of(server).filter(|record| record.is_ours(server, authority));
    let is_released = record.is_some_and(|record| record.state == DiskState::Released);
    let leaves = |binding: &&ServerBinding| binding.metadata.deletion_timestamp.is_some();
    entry(server, binding.filter(|binding| !(is_released && leaves(binding))), authority, now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bloomery_api::evidence::{DISKS_ANNOTATION, Entry, Evidence};
    use bloomery_api::ledger::{Fate, Tombstones};
    use bloomery_api::plane::Authority;
    use bloomery_api::trust::{SigningKey, Trust};
    use bloomery_api::{Server, ServerBindingSpec, ServerSpec};

    use super::*;

    #[test]
    fn a_release_that_is_on_record_is_free_also_while_its_binding_still_goes() {
        let now: Time = serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
        let mut binding = ServerBinding::new("a", ServerBindingSpec::default());
        binding.metadata.uid = Some("b".to_owned());
        let mut server = Server::new("a", ServerSpec { accepted: true, ..ServerSpec::default() });
        server.metadata.uid = Some("u".to_owned());
        let mut ledger = Tombstones::default();
        let mut step = |server: &mut Server, binding: Option<&ServerBinding>, entry: Option<Entry<'_>>| {
            let trust = Trust::new(SigningKey::new([7; 32]), "own").with_ledger(Arc::new(ledger.clone()));
            let authority = Authority::Holds { epoch: 1, trust };
            if let Some(entry) = entry {
                let record =
                    DiskRecord::new(server, entry, &authority, &format!("{:?}", entry.state()), &now);
                let record = (DISKS_ANNOTATION.to_owned(), record.unwrap().to_annotation());
                server.metadata.annotations = Some([record].into());
            }
            let machine = Machine { server, binding, authority: &authority, conflict: None };
            if let Some(noted) = wanted(&machine, &now) {
                ledger.note(noted);
            }
            let trust = Trust::new(SigningKey::new([7; 32]), "own").with_ledger(Arc::new(ledger.clone()));
            (ledger.of("a").unwrap().fate, Evidence::of(server, &Authority::Holds { epoch: 1, trust }))
        };
        let claim = binding.clone();
        assert_eq!(
            step(&mut server, Some(&binding), Some(Entry::Bound(&claim))),
            (Fate::Claimed, Evidence::Bound)
        );
        binding.metadata.deletion_timestamp = Some(now.clone());
        assert_eq!(step(&mut server, Some(&binding), None).0, Fate::Claimed, "the release is not on record");
        let (fate, evidence) = step(&mut server, Some(&binding), Some(Entry::Released));
        assert_eq!(fate, Fate::Free);
        assert!(matches!(evidence, Evidence::Released(_)), "{evidence:?}");
        let (fate, evidence) = step(&mut server, None, None);
        assert!(fate == Fate::Free && matches!(evidence, Evidence::Released(_)), "{evidence:?}");
    }
}
