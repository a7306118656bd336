//! Notes in the plane's ledger what is to be remembered of a machine, whatever becomes of its objects.
//!
//! Never lets a reconcile go on that could not note a claim.

use bloomery_api::decision::Machine;
use bloomery_api::ledger::entry;
use bloomery_plane::Ledger;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tracing::info;

use crate::reconcile::Error;

/// Appends what the ledger does not say yet of this machine, if there is anything.
pub(super) async fn note(ledger: Option<&Ledger>, machine: &Machine<'_>, now: &Time) -> Result<(), Error> {
    let Some(ledger) = ledger.cloned() else { return Ok(()) };
    let Machine { server, binding, authority, conflict: _ } = *machine;
    let Some(entry) = entry(server, binding, authority, now) else { return Ok(()) };
    let (name, fate) = (server.name_any(), entry.fate);
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
    Ok(())
}
