//! Reads manifests: files in name order, documents in file order.
//!
//! Never talks to the API server; a document that is no object is an error, not a gap.

use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};

use bloomery_api::crds::CA_BUNDLE_PLACEHOLDER;
use kube::core::GroupVersionKind;
use serde::Deserialize;
use serde_json::Value;

/// Annotation of a manifest whose object a person may take away.
const REMOVABLE_ANNOTATION: &str = "bloomery.dev/removable";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to list {}", path.display())]
    List { path: PathBuf, source: std::io::Error },
    #[error("failed to read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to parse document {document} of {file}")]
    Parse {
        file: String,
        /// The document, counted from 1.
        document: usize,
        source: serde_norway::Error,
    },
    #[error("failed to use document {document} of {file}: {missing} is missing or not a text")]
    NotAnObject {
        file: String,
        /// The document, counted from 1.
        document: usize,
        missing: &'static str,
    },
    /// There is nothing to apply, which is never what was meant.
    #[error("failed to find manifests: no *.yaml in {}", path.display())]
    Empty { path: PathBuf },
}

/// When an object's turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What belongs to the administrators once it is made: their own rights. Before all else, since pairing waits for
    /// them.
    Rights,
    Definitions,
    Namespaces,
    Objects,
}

impl Phase {
    pub const ORDER: [Self; 4] = [Self::Rights, Self::Definitions, Self::Namespaces, Self::Objects];

    /// The word used in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rights => "rights",
            Self::Definitions => "definitions",
            Self::Namespaces => "namespaces",
            Self::Objects => "objects",
        }
    }
}

/// One object and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub file: String,
    /// Its document in that file, counted from 1.
    pub document: usize,
    pub gvk: GroupVersionKind,
    pub name: String,
    pub namespace: Option<String>,
    pub object: Value,
}

impl Manifest {
    /// Whether a person may take its object away.
    pub(super) fn is_removable(&self) -> bool {
        let annotations = self.object.pointer("/metadata/annotations");
        annotations.and_then(|all| all.get(REMOVABLE_ANNOTATION)).is_some_and(|value| value == "true")
    }

    pub fn phase(&self) -> Phase {
        if self.is_removable() {
            return Phase::Rights;
        }
        match (self.gvk.group.as_str(), self.gvk.kind.as_str()) {
            ("apiextensions.k8s.io", "CustomResourceDefinition") => Phase::Definitions,
            ("", "Namespace") => Phase::Namespaces,
            _ => Phase::Objects,
        }
    }
}

impl Display for Manifest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { file, document, gvk, name, namespace: _, object: _ } = self;
        write!(formatter, "{} {name} (document {document} of {file})", gvk.kind)
    }
}

/// Reads every `*.yaml` of a directory, with `ca_bundle` (base64) put in for its placeholder.
pub fn read(directory: &Path, ca_bundle: &str) -> Result<Vec<Manifest>, Error> {
    let failed = |source| Error::List { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    let mut manifests = Vec::new();
    for path in files {
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        manifests.extend(parse(&file, &text.replace(CA_BUNDLE_PLACEHOLDER, ca_bundle))?);
    }
    if manifests.is_empty() {
        return Err(Error::Empty { path: directory.to_owned() });
    }
    Ok(manifests)
}

/// Parses the documents of one file. Empty documents are allowed; `List`s are taken apart.
pub fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, Error> {
    let mut manifests = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let number = index + 1;
        let value = Value::deserialize(document).map_err(|source| Error::Parse {
            file: file.to_owned(),
            document: number,
            source,
        })?;
        let objects = match value {
            Value::Null => continue,
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                match list.remove("items") {
                    Some(Value::Array(items)) => items,
                    _ => {
                        return Err(Error::NotAnObject {
                            file: file.to_owned(),
                            document: number,
                            missing: "items",
                        });
                    }
                }
            }
            other => vec![other],
        };
        for object in objects {
            manifests.push(manifest(file, number, object)?);
        }
    }
    Ok(manifests)
}

fn manifest(file: &str, document: usize, object: Value) -> Result<Manifest, Error> {
    let text = |pointer: &str, missing: &'static str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .ok_or(Error::NotAnObject { file: file.to_owned(), document, missing })
    };
    let api_version = text("/apiVersion", "apiVersion")?;
    let kind = text("/kind", "kind")?;
    let name = text("/metadata/name", "metadata.name")?;
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).map(str::to_owned);
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let gvk = GroupVersionKind::gvk(group, version, &kind);
    Ok(Manifest { file: file.to_owned(), document, gvk, name, namespace, object })
}

#[cfg(test)]
mod tests;
