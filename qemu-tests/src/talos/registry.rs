//! A registry that can only be read: the pull half of the OCI distribution specification over an image layout.
//!
//! Names of other registries are no part of a path: mirrors are asked for `etcd`, not for `registry.k8s.io/etcd`.

use super::images::REFERENCE;
use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::Body,
    extract::{Path as UrlPath, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::io::ReaderStream;

/// The role that serves a layout.
pub const ROLE: &str = "registry";
/// Port of the lab's registry.
pub const PORT: u16 = 5000;
/// Folder of a layout that holds further files.
pub const FILES: &str = "files";
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What can be pulled.
#[derive(Debug)]
struct Images {
    blobs: PathBuf,
    files: PathBuf,
    /// Manifests by `NAME:TAG`.
    tags: HashMap<String, Descriptor>,
    /// Everything by its digest.
    digests: HashMap<String, Descriptor>,
}

impl Images {
    fn read(layout: &Path) -> Result<Self> {
        let index = layout.join("index.json");
        let index =
            ImageIndex::from_file(&index).with_context(|| format!("failed to read {}", index.display()))?;
        let blobs = layout.join("blobs/sha256");
        let files = layout.join(FILES);
        let mut images = Self { blobs, files, tags: HashMap::new(), digests: HashMap::new() };
        for entry in index.manifests() {
            let path = images.blobs.join(entry.digest().digest());
            let manifest = ImageManifest::from_file(&path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            for blob in [entry, manifest.config()].into_iter().chain(manifest.layers()) {
                images.digests.insert(blob.digest().to_string(), blob.clone());
            }
            if let Some(name) = entry.annotations().as_ref().and_then(|all| all.get(REFERENCE)) {
                images.tags.insert(name.clone(), entry.clone());
            }
        }
        Ok(images)
    }

    /// What a path below `/v2/` names: `NAME/manifests/TAG`, `NAME/manifests/DIGEST` or `NAME/blobs/DIGEST`.
    fn find(&self, path: &str) -> Option<&Descriptor> {
        let mut parts = path.rsplitn(3, '/');
        let (reference, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
        let by_digest = self.digests.get(reference);
        match kind {
            "manifests" => by_digest.or_else(|| self.tags.get(&format!("{name}:{reference}"))),
            "blobs" => by_digest,
            _ => None,
        }
    }
}

/// `ADDRESS LAYOUT`: serves for ever.
///
/// # Errors
/// The layout is none, or the port is taken.
pub async fn run(words: &[&str]) -> Result<()> {
    let [address, layout] = words else { bail!("failed to serve images: usage: ADDRESS:PORT LAYOUT") };
    let address: SocketAddr = address.parse().context("failed to parse the address")?;
    let images = Images::read(Path::new(layout))?;
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("failed to listen at {address}"))?;
    axum::serve(listener, routes(images)).await.context("failed to serve images")
}

fn routes(images: Images) -> Router {
    Router::new()
        .route("/v2/", get(|| async { StatusCode::OK }))
        .route("/v2/{*path}", get(pull))
        .route("/files/{name}", get(file))
        .with_state(Arc::new(images))
}

/// Files beside the images: a kernel, an initramfs, configurations. A site of board `ns`, which boots no kernel, has no
/// such folder, but the URLs of its Environment have to answer.
async fn file(State(images): State<Arc<Images>>, UrlPath(name): UrlPath<String>) -> Response {
    if !images.files.is_dir() {
        return format!("{name} of board ns, which boots no kernel\n").into_response();
    }
    let opened = tokio::fs::File::open(images.files.join(&name)).await;
    let Ok(file) = opened else {
        println!("files/{name}: unknown");
        return (StatusCode::NOT_FOUND, "not here yet\n").into_response();
    };
    let Ok(about) = file.metadata().await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    println!("files/{name}: {} octets", about.len());
    let headers = [(header::CONTENT_LENGTH, about.len().to_string())];
    (headers, Body::from_stream(ReaderStream::with_capacity(file, 1 << 20))).into_response()
}

async fn pull(State(images): State<Arc<Images>>, UrlPath(path): UrlPath<String>) -> Response {
    let Some(found) = images.find(&path) else {
        println!("{path}: unknown");
        return (StatusCode::NOT_FOUND, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#).into_response();
    };
    println!("{path}: {} octets", found.size());
    match tokio::fs::File::open(images.blobs.join(found.digest().digest())).await {
        Ok(file) => {
            let headers = [
                (header::CONTENT_TYPE, found.media_type().to_string()),
                (header::CONTENT_LENGTH, found.size().to_string()),
                (DIGEST, found.digest().to_string()),
            ];
            // In pieces of a megabyte: nodes pull a hundred and more.
            (headers, Body::from_stream(ReaderStream::with_capacity(file, 1 << 20))).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::{DescriptorBuilder, Digest, MediaType};
    use std::str::FromStr as _;

    #[test]
    fn manifests_are_found_by_tag_and_digest_and_blobs_by_digest_alone() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let entry = DescriptorBuilder::default()
            .media_type(MediaType::ImageManifest)
            .digest(Digest::from_str(&digest).expect("a digest"))
            .size(1_u64)
            .build()
            .expect("a descriptor");
        let images = Images {
            blobs: PathBuf::new(),
            files: PathBuf::new(),
            tags: HashMap::from([("siderolabs/kubelet:v1".to_owned(), entry.clone())]),
            digests: HashMap::from([(digest.clone(), entry)]),
        };
        for (path, found) in [
            ("siderolabs/kubelet/manifests/v1".to_owned(), true),
            (format!("siderolabs/kubelet/manifests/{digest}"), true),
            (format!("any/name/blobs/{digest}"), true),
            ("siderolabs/kubelet/manifests/v2".to_owned(), false),
            ("kubelet/manifests/v1".to_owned(), false),
            ("siderolabs/kubelet/blobs/v1".to_owned(), false),
            (format!("x/tags/{digest}"), false),
            ("v1".to_owned(), false),
        ] {
            assert_eq!(images.find(&path).is_some(), found, "{path}");
        }
    }
}
