//! Boot files from disk: kernels, initramfs images and their listings, with HEAD and Range.
//!
//! Only what lies below the given directories can be reached; nothing is ever written.

use std::convert::Infallible;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use axum::body::Body;
use bloomery_api::arch::Arch;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

use crate::directories::{BOOT_FILES, Directories, is_servable};
use crate::loaders::LoaderStore;

/// Bytes read at once: large enough that a system call per chunk does not show at wire speed.
const CHUNK: usize = 256 << 10;

/// What a link to a file spells otherwise.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
/// Media type of scripts and messages.
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer without body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A script or a message.
pub(super) fn text(status: StatusCode, body: String, method: &Method) -> Response<Body> {
    let length = body.len();
    let body = if method == Method::HEAD { Body::empty() } else { Body::from(body) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PLAIN_TEXT);
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

pub async fn file(path: &Path, request: Request<Body>) -> Response<Body> {
    let service = ServeFile::new(path).with_buf_chunk_size(CHUNK);
    map(service.oneshot(request).await)
}

/// Serves `path`, percent-encoded and beginning with a slash, below `root`; lists directories.
pub async fn below(root: &Path, path: &str, mut request: Request<Body>) -> Response<Body> {
    if let Some(directory) = directory_of(root, path) {
        return listing(path, &request, &directory);
    }
    let Ok(uri) = path.parse() else { return empty(StatusCode::NOT_FOUND) };
    *request.uri_mut() = uri;
    let service = ServeDir::new(root).append_index_html_on_directories(false).with_buf_chunk_size(CHUNK);
    map(service.oneshot(request).await)
}

fn map<B>(answer: Result<Response<B>, Infallible>) -> Response<Body>
where
    B: axum::body::HttpBody<Data = bytes::Bytes, Error = std::io::Error> + Send + 'static,
{
    match answer {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// The directory that `path` means, if it ends in a slash and is one; no component may climb.
fn directory_of(root: &Path, path: &str) -> Option<PathBuf> {
    if !path.ends_with('/') {
        return None;
    }
    let mut directory = root.to_owned();
    for component in path.split('/').filter(|component| !component.is_empty()) {
        if component.starts_with('.') || component.contains(['%', '\\', '\0']) {
            return None;
        }
        directory.push(component);
    }
    directory.is_dir().then_some(directory)
}

fn listing(path: &str, request: &Request<Body>, directory: &Path) -> Response<Body> {
    let mut names = match entries(directory) {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(path = %directory.display(), %error, "directory cannot be listed");
            return empty(StatusCode::NOT_FOUND);
        }
    };
    // The agents live elsewhere on disk, but belong to the same tree of URLs.
    if path == "/" {
        names.extend(["agent-amd64/".to_owned()]);
    }
    page(names, request)
}

fn entries(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(mut name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            name.push('/');
        }
        names.push(name);
    }
    Ok(names)
}

/// The list of an agent's files.
pub fn agent_listing(directories: &Directories, arch: Arch, request: &Request<Body>) -> Response<Body> {
    let present = BOOT_FILES.into_iter().filter(|name| is_servable(&directories.agent_file(arch, name)));
    page(present.map(str::to_owned).collect(), request)
}

pub fn loader_listing(loaders: &LoaderStore, request: &Request<Body>) -> Response<Body> {
    match entries(loaders.directory()) {
        Ok(names) => page(names, request),
        Err(_) => empty(StatusCode::NOT_FOUND),
    }
}

fn page(mut names: Vec<String>, request: &Request<Body>) -> Response<Body> {
    names.sort();
    names.dedup();
    let mut html =
        String::from("<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n");
    for name in names {
        let text = escape(&name);
        let link = utf8_percent_encode(&name, ENCODED);
        // Writing to a string cannot fail.
        let _ = writeln!(html, "<a href=\"{link}\">{text}</a>");
    }
    html.push_str("</pre>\n");
    let body = if request.method() == Method::HEAD { Body::empty() } else { Body::from(html) };
    let mut response = Response::new(body);
    let html_type = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html_type);
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;")
}
