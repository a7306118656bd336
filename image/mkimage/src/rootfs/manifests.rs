//! Collects the Kubernetes manifests that `controllers apply` applies in name order: CRDs, Cluster
//! API, then our own roles. It must never let a file through that is not YAML with kinds, nor two
//! files of one name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cluster_api;
use crate::settings::Settings;
use crate::tree::{self, MODE_DATA};
use crate::yaml;

/// CRDs come first: Cluster API's conversions look ours up.
const CRD_PREFIX: &str = "10-crd-";
/// Cluster API comes after our CRDs.
const CLUSTER_API: &str = "20-cluster-api.yaml";
/// Generated CRDs, below the repository.
const CRD_DIR: &str = "controllers/api/crds";
/// Roles and bindings, below the repository.
const MANAGER_DIR: &str = "controllers/manager/manifests";

/// Every file that becomes a manifest, and the name it gets, in name order.
///
/// # Errors
/// A directory is missing or empty, or two files would get one name.
pub fn plan(settings: &Settings) -> Result<Vec<(String, PathBuf)>> {
    let mut plan = Vec::new();
    for path in yaml_files(&settings.source.join(CRD_DIR))? {
        plan.push((format!("{CRD_PREFIX}{}", file_name(&path)?), path));
    }
    plan.push((CLUSTER_API.to_owned(), settings.cluster_api.clone()));
    for path in yaml_files(&settings.source.join(MANAGER_DIR))? {
        plan.push((file_name(&path)?, path));
    }
    plan.sort();
    let mut names = BTreeSet::new();
    for (name, path) in &plan {
        if !names.insert(name) {
            bail!("two manifests have the name {name}; the second is {}", path.display());
        }
    }
    Ok(plan)
}

/// Checks and copies all manifests into `target`.
pub fn install(settings: &Settings, target: &Path) -> Result<()> {
    tree::make_dir(target)?;
    for (name, path) in plan(settings)? {
        let mut text =
            fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        if name == CLUSTER_API {
            let version = cluster_api::version(&settings.source)?;
            text = cluster_api::adapt(&text, &version)
                .with_context(|| format!("failed to adapt manifest {}", path.display()))?;
        }
        check(&text).with_context(|| format!("failed to understand manifest {}", path.display()))?;
        tree::write(&target.join(name), text.as_bytes(), MODE_DATA)?;
    }
    Ok(())
}

/// The manifests of a folder, in name order.
///
/// # Errors
/// There is none, or the folder cannot be read.
pub fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{} has no manifests", dir.display());
    }
    files.sort();
    Ok(files)
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().context("manifest without a name")?;
    crate::tool::text(Path::new(name)).map(str::to_owned)
}

/// Every document must be an object with `apiVersion` and `kind`; empty documents are fine.
fn check(text: &str) -> Result<()> {
    let objects = yaml::documents(text)?;
    for object in &objects {
        for field in ["apiVersion", "kind"] {
            if yaml::text(object, &[field]).is_none() {
                bail!("a document has no {field}");
            }
        }
    }
    if objects.is_empty() {
        bail!("it holds no object");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::Mirrors;

    const OBJECT: &str = "apiVersion: v1\nkind: Namespace\n";
    const CRD: &str =
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x}\n";

    fn settings(source: &Path) -> Settings {
        Settings {
            source: source.into(),
            out: source.join("out"),
            cache: source.join("out/cache"),
            programs: source.into(),
            controlplane: source.join("controlplane"),
            cluster_api: source.join("capi.yaml"),
            epoch: 0,
            version: "1".into(),
            squashfs_level: 1,
            mirrors: Mirrors::default(),
        }
    }

    fn fixture(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            tree::write(&dir.path().join(name), text.as_bytes(), MODE_DATA).unwrap();
        }
        dir
    }

    #[test]
    fn crds_come_before_cluster_api_before_roles() {
        let dir = fixture(&[
            ("controllers/api/crds/servers.yaml", OBJECT),
            ("controllers/api/crds/README.md", "no manifest"),
            ("controllers/manager/manifests/30-rbac.yaml", OBJECT),
            ("image/controlplane/go.mod", "require (\n\tsigs.k8s.io/cluster-api v1.2.3\n)\n"),
            ("capi.yaml", CRD),
        ]);
        let target = dir.path().join("m");
        install(&settings(dir.path()), &target).unwrap();
        let names: Vec<_> =
            tree::walk(&target).unwrap().iter().map(|e| e.relative.display().to_string()).collect();
        assert_eq!(names, ["10-crd-servers.yaml", "20-cluster-api.yaml", "30-rbac.yaml"]);
    }

    #[test]
    fn names_must_differ() {
        let dir = fixture(&[
            ("controllers/api/crds/a.yaml", OBJECT),
            ("controllers/manager/manifests/20-cluster-api.yaml", OBJECT),
            ("capi.yaml", CRD),
        ]);
        let error = plan(&settings(dir.path())).unwrap_err().to_string();
        assert!(error.contains("20-cluster-api.yaml"), "{error}");
    }

    #[test]
    fn broken_manifest_names_its_file() {
        for broken in ["kind: Namespace\n", "a: [\n", "---\n", "- just\n- a list\n"] {
            let dir = fixture(&[
                ("controllers/api/crds/a.yaml", OBJECT),
                ("controllers/manager/manifests/30.yaml", broken),
                ("image/controlplane/go.mod", "require sigs.k8s.io/cluster-api v1.2.3\n"),
                ("capi.yaml", CRD),
            ]);
            let error = install(&settings(dir.path()), &dir.path().join("m")).unwrap_err();
            assert!(format!("{error:#}").contains("30.yaml"), "{broken:?} gave {error:#}");
        }
    }
}
