//! Removes the files of Environments that are gone: at the start by a list, then as they are deleted.
//!
//! Never removes what may be asked for still: the API server is asked again right before, while no reconcile
//! of that name runs; and never those of the Environments that are always made again.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bloomery_api::Environment;
use bloomery_api::environment::{DEFAULT, DEFAULT_ARM64, INITRD_FILE, KERNEL_FILE};
use bloomery_platform::chain;
use bloomery_platform::watch::{Cache, Change};
use futures::{Stream, StreamExt};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use tracing::{info, warn};

use super::{EnvironmentContext, Guarded};
use crate::download::place::{Place, is_safe_name};
use crate::reconcile::Error;
use crate::table::{Key, key};

/// Follows the `changes` for ever.
pub(super) async fn run(
    context: Arc<EnvironmentContext>,
    cache: Cache<Guarded>,
    changes: impl Stream<Item = Change<Guarded>>,
) {
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.next().await {
        match change {
            Change::Listed => {
                let listed = cache.known().iter().map(|environment| environment.name_any()).collect();
                for name in leftovers(&context.options.directory, &listed) {
                    remove_or_warn(&context, &ObjectRef::<Environment>::new(&name).erase()).await;
                }
            }
            Change::Applied(_) => {}
            Change::Deleted(environment) => remove_or_warn(&context, &key(environment.as_ref())).await,
        }
    }
}

/// Directories that belong to no Environment of the list.
fn leftovers(root: &Path, listed: &HashSet<String>) -> Vec<String> {
    let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_safe_name(name) && !listed.contains(name))
        .collect()
}

async fn remove_or_warn(context: &EnvironmentContext, environment: &Key) {
    if let Err(error) = remove(context, environment).await {
        warn!(%environment, error = chain(&error), "files of a deleted Environment stay");
    }
}

async fn remove(context: &EnvironmentContext, environment: &Key) -> Result<(), Error> {
    let name = environment.name.as_str();
    let [Some(kernel), Some(initrd)] =
        [KERNEL_FILE, INITRD_FILE].map(|file| Place::new(&context.options.directory, name, file))
    else {
        return Ok(());
    };
    let _turn = context.turns.lock(environment).await;
    context.said.forget(environment);
    if name == DEFAULT || name == DEFAULT_ARM64 {
        return Ok(());
    }
    let environments: Api<PartialObjectMeta<Environment>> = Api::all(context.common.client.clone());
    let found = environments.get_opt(name).await;
    if found.map_err(Error::api("get", format!("Environment {name}")))?.is_some() {
        return Ok(());
    }
    for place in [&kernel, &initrd] {
        context.downloads.forget(&place.path()).await;
    }
    let directory = kernel.directory();
    context.digests.forget(directory);
    match tokio::fs::remove_dir_all(directory).await {
        Ok(()) => {
            info!(environment = name, "files of a deleted Environment removed");
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::File { path: directory.display().to_string(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_an_environment_could_have_are_swept() {
        let root = tempfile::tempdir().unwrap();
        for name in ["kept", "gone", ".hidden", "Not-A-Name"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("link")).unwrap();
        let listed = HashSet::from(["kept".to_owned()]);
        assert_eq!(leftovers(root.path(), &listed), ["gone"]);
        assert!(leftovers(&root.path().join("none"), &listed).is_empty());
    }
}
