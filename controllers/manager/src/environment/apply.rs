//! Brings the files of an Environment towards what it asks for: starts, keeps and ends downloads.
//!
//! Never waits for one. One asset that fails does not touch the other.

use bloomery_api::Environment;
use bloomery_api::environment::{INITRD_FILE, KERNEL_FILE};
use bloomery_platform::chain;
use kube::ResourceExt;
use tracing::{info, warn};

use super::EnvironmentContext;
use super::assets::{self, Asset, AssetState, Finding, Wanted};
use super::downloads::State;
use crate::download::place::Place;

pub(super) async fn apply(context: &EnvironmentContext, environment: &Environment) -> Vec<Asset> {
    let wanted = assets::wanted(environment);
    for file in [KERNEL_FILE, INITRD_FILE] {
        if wanted.iter().all(|wanted| wanted.file != file) {
            end(context, environment, file).await;
        }
    }
    let mut found = Vec::new();
    for wanted in wanted {
        let standing = settle(context, environment, &wanted).await;
        if let AssetState::Coming(State::Receiving { received, total }) = &standing {
            let environment = environment.name_any();
            info!(environment, file = wanted.file, url = wanted.url, received, total, "asset under way");
        }
        found.push(Asset { wanted, standing });
    }
    found
}

/// Ends the download of a file that is not asked for.
async fn end(context: &EnvironmentContext, environment: &Environment, file: &'static str) {
    if let Some(place) = Place::new(&context.options.directory, &environment.name_any(), file) {
        context.downloads.forget(&place.path()).await;
    }
}

async fn settle(context: &EnvironmentContext, environment: &Environment, wanted: &Wanted) -> AssetState {
    let (root, downloads) = (&context.options.directory, &context.downloads);
    let mut job = match assets::job(root, &context.options.assets, &environment.name_any(), wanted) {
        Ok(job) => job,
        Err(problem) => {
            end(context, environment, wanted.file).await;
            return AssetState::Unusable { problem };
        }
    };
    let state = downloads.state(&job);
    if let Some(state @ (State::Queued | State::Receiving { .. })) = state {
        return AssetState::Coming(state);
    }
    let source = downloads.fetcher.stamp(&job.source);
    let is_known = assets::was_ready(environment, wanted);
    let finding = assets::inspect(&job, source, is_known, &context.digests).await;
    let standing = match finding {
        Ok(Finding::Verified) => {
            downloads.forget(&job.place.path()).await;
            let brought = match state {
                Some(State::Placed(placed)) => Some((placed.size, placed.sha512)),
                Some(_) | None => None,
            };
            return AssetState::Here { brought };
        }
        Ok(Finding::Missing) => None,
        Ok(Finding::Mismatch { wanted, actual }) => match job.place.clear() {
            Ok(()) => Some(AssetState::Removed { wanted, actual }),
            Err(error) => return failed(&error),
        },
        Err(error) => return failed(&error),
    };
    if !context.demand.is_for(environment) {
        return standing.unwrap_or(AssetState::NotAskedFor);
    }
    job.elsewhere = assets::elsewhere(root, &job.place);
    let state = downloads.want(job);
    standing.unwrap_or(AssetState::Coming(state))
}

fn failed(error: &(dyn std::error::Error + 'static)) -> AssetState {
    let message = chain(error);
    warn!(error = message, "asset not inspected");
    AssetState::Coming(State::Failed { message })
}
