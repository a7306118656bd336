//! `controllers apply`: brings a directory of manifests into the API server, once.
//!
//! Phases: rights of administrators, CRDs (and wait until they are established), namespaces, everything else; inside a
//! phase objects go concurrently. Server-side apply leaves other managers' fields alone; what is in place already is only read, and
//! what a person may take away and did is not brought back.
//! Never skips an object silently: each that fails is named with its file and document.

pub mod installation;
pub mod manifests;
mod removable;
pub mod secrets;
mod server_side;
mod unchanged;

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_platform::chain;
use bloomery_platform::client::{self, Source};
use futures::StreamExt;
use tokio::time::Instant;
use tracing::{error, info};

use crate::LIMITS;
use crate::cli::ApplyOptions;
use manifests::{Manifest, Phase};
use server_side::{Applier, Outcome};

/// Objects under way at once: enough to hide round trips, few enough not to starve a starting API server.
const CONCURRENCY: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read CA {}", path.display())]
    Ca { path: PathBuf, source: std::io::Error },
    #[error("failed to read manifests")]
    Manifests(#[source] manifests::Error),
    #[error("failed to connect")]
    Client(#[source] client::Error),
    #[error("failed to reach the API server within {} s", limit.as_secs())]
    Unreachable { limit: Duration },
    #[error("failed to apply {failed} of {total} objects; first {first}")]
    Objects { failed: usize, total: usize, first: String, source: Box<server_side::Error> },
}

/// Applies everything or says what failed.
pub async fn run(options: &ApplyOptions) -> Result<(), Error> {
    let started = Instant::now();
    let deadline = started + options.timeout;
    let ca = std::fs::read(&options.ca).map_err(|source| Error::Ca { path: options.ca.clone(), source })?;
    let manifests = manifests::read(&options.manifests, &STANDARD.encode(ca)).map_err(Error::Manifests)?;
    let source = Source::Kubeconfig(options.kubeconfig.clone());
    let client = client::connect(source, LIMITS).await.map_err(Error::Client)?.background;
    tokio::time::timeout_at(deadline, client::wait_for_api(&client))
        .await
        .map_err(|_| Error::Unreachable { limit: options.timeout })?;
    let applier = Applier::new(client.clone(), deadline);
    let total = manifests.len();
    let mut failures = Vec::new();
    for phase in Phase::ORDER {
        let batch: Vec<&Manifest> = manifests.iter().filter(|manifest| manifest.phase() == phase).collect();
        let phase_started = Instant::now();
        let (unchanged, failed) = apply_batch(&applier, &batch).await;
        info!(
            phase = phase.as_str(),
            objects = batch.len(),
            unchanged,
            failed = failed.len(),
            millis = u64::try_from(phase_started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "phase applied"
        );
        failures.extend(failed);
    }
    match installation::ensure(&client).await {
        Ok(true) => info!("made the Secret of SideroLink"),
        Ok(false) => {}
        // The plane works without the tunnel; the next boot tries again.
        Err(failure) => error!(error = chain(&failure), "no Secret of SideroLink"),
    }
    if let Some(key) = &options.encryption_key {
        match secrets::encrypt(&client, key).await {
            Ok(0) => {}
            Ok(count) => info!(count, key, "secrets written again, encrypted"),
            // The plane works without; the next boot tries again.
            Err(failure) => error!(error = chain(&failure), "not all Secrets are encrypted"),
        }
    }
    conclude(failures, total, started)
}

/// Applies a phase's objects concurrently; returns how many needed nothing, and the failures in the order
/// of the manifests.
async fn apply_batch<'m>(
    applier: &Applier,
    batch: &[&'m Manifest],
) -> (usize, Vec<(&'m Manifest, server_side::Error)>) {
    let mut results = futures::stream::iter(batch.iter().copied())
        .map(async |manifest| (manifest, applier.apply(manifest).await))
        .buffered(CONCURRENCY);
    let (mut unchanged, mut failed) = (0, Vec::new());
    while let Some((manifest, result)) = results.next().await {
        match result {
            Ok(Outcome::Applied) => {}
            Ok(Outcome::Unchanged | Outcome::Removed) => unchanged += 1,
            Err(error) => failed.push((manifest, error)),
        }
    }
    (unchanged, failed)
}

fn conclude(
    failures: Vec<(&Manifest, server_side::Error)>,
    total: usize,
    started: Instant,
) -> Result<(), Error> {
    for (manifest, failure) in &failures {
        error!(object = %manifest, error = chain(failure), "object not applied");
    }
    let failed = failures.len();
    match failures.into_iter().next() {
        None => {
            let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            info!(objects = total, millis, "manifests applied");
            Ok(())
        }
        Some((manifest, source)) => {
            Err(Error::Objects { failed, total, first: manifest.to_string(), source: Box::new(source) })
        }
    }
}
