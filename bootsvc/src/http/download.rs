//! Boot files over HTTP/1, sent by the kernel from its page cache (sendfile), which is what makes
//! 64 machines at once as fast as one.
//!
//! It takes a connection only for GET and HEAD of a file that is there; everything else, HTTP/2
//! included, is left to hyper with what was read so far. It opens nothing outside of the given
//! directories, symbolic links included, and never writes.

pub mod plan;
pub mod stream;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::pulse::Pulse;
use super::route::{self, Route};
use crate::connection::Connection;
use crate::directories::BOOT_FILES;
use crate::trace::{FileKind, Moment, Via};
use plan::{Plan, Wanted};
use stream::Head;

/// Octets given to the kernel with one call: other connections get their turn in between.
const CHUNK: u64 = 1 << 20;
/// A client that takes nothing for this long is gone.
const STALL: Duration = Duration::from_mins(1);
/// Slowest client that is served to the end, octets a second; UNDI drivers do a hundred times as much.
const SLOWEST: u64 = 16 << 10;

/// A file that can be sent.
pub struct Asset {
    file: File,
    len: u64,
    modified: SystemTime,
    kind: Kind,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loader(&'static str),
    Boot(FileKind),
    Other,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Loader(_) => "loader",
            Self::Boot(FileKind::Kernel) => "kernel",
            Self::Boot(FileKind::Initramfs) => "initramfs",
            Self::Other => "other",
        }
    }
}

/// What became of a connection.
pub enum Outcome {
    Closed,
    /// Hyper is to go on with it, beginning with these octets.
    Handover(Vec<u8>),
}

/// Serves file requests until one comes that is none. At `shutdown` a download under way goes on.
pub async fn serve(
    stream: &mut TcpStream,
    connection: Connection,
    context: &Context,
    pulse: &Arc<Pulse>,
    shutdown: &CancellationToken,
) -> io::Result<Outcome> {
    let mut buffer = Vec::new();
    loop {
        let head = tokio::select! {
            head = stream::read_head(stream, &mut buffer) => head?,
            () = shutdown.cancelled() => return Ok(Outcome::Closed),
        };
        let head = match head {
            Some(head) => head,
            None if buffer.is_empty() => return Ok(Outcome::Closed),
            None => return Ok(Outcome::Handover(buffer)),
        };
        let Some(asset) = find(&head.path, context) else { return Ok(Outcome::Handover(buffer)) };
        buffer.drain(..head.len);
        let keep = head.keep_alive;
        let _running = pulse.begin(time_for(asset.len) + STALL);
        send(stream, asset, &head, connection, context).await?;
        if !keep {
            stream.shutdown().await?;
            return Ok(Outcome::Closed);
        }
    }
}

/// How long the slowest client that is served may take for so many octets.
pub fn time_for(octets: u64) -> Duration {
    STALL + Duration::from_secs(octets / SLOWEST)
}

fn find(path: &str, context: &Context) -> Option<Asset> {
    let path = path.split('?').next().unwrap_or_default();
    let (root, below, kind) = match route::route(path) {
        Route::Loader(loader) => (
            context.services.edge.loaders.directory(),
            loader.file_name().to_owned(),
            Kind::Loader(loader.file_name()),
        ),
        Route::Agent(arch, name) => {
            let name = name.trim_start_matches('/');
            let kind = kind_of(name)?;
            (context.services.directories.agents.as_path(), format!("{}/{name}", arch.as_str()), kind)
        }
        Route::Environment(path) => {
            let path = decode(path)?;
            let kind = path.rsplit('/').next().and_then(kind_of).unwrap_or(Kind::Other);
            (context.services.directories.environments.as_path(), path, kind)
        }
        Route::BootScript | Route::Decision | Route::Configuration | Route::LoaderList | Route::NotFound => {
            return None;
        }
    };
    let file = open_below(root, &below).ok()?;
    let metadata = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(Asset { file, len: metadata.len(), modified: metadata.modified().ok()?, kind })
}

fn kind_of(name: &str) -> Option<Kind> {
    let [kernel, initramfs] = BOOT_FILES;
    match name {
        _ if name == kernel => Some(Kind::Boot(FileKind::Kernel)),
        _ if name == initramfs => Some(Kind::Boot(FileKind::Initramfs)),
        _ => None,
    }
}

/// A percent-encoded path in plain text; none if it climbs, hides, or is no text.
pub fn decode(path: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(path.len());
    let mut rest = path.trim_start_matches('/').bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            other => other,
        });
    }
    let text = String::from_utf8(octets).ok()?;
    let plain = text.split('/').all(|part| !part.starts_with('.')) && !text.contains(['\\', '\0']);
    plain.then_some(text)
}

/// Opens a file below `root`; no symbolic link leads out of it.
pub fn open_below(root: &Path, below: &str) -> io::Result<File> {
    let root = File::open(root)?;
    let below = if below.is_empty() { "." } else { below };
    // Never waits for the other end of a pipe that somebody put there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root.as_fd(), below, flags, Mode::empty(), resolve)?.into())
}

async fn send(
    stream: &mut TcpStream,
    asset: Asset,
    head: &Head,
    connection: Connection,
    context: &Context,
) -> io::Result<()> {
    let wanted = Wanted {
        range: head.range.as_deref(),
        if_range: head.if_range.as_deref(),
        if_none_match: head.if_none_match.as_deref(),
        if_modified_since: head.if_modified_since.as_deref(),
    };
    let plan = plan::plan(wanted, asset.len, asset.modified);
    timeout(STALL, stream.write_all(plan.head(head.keep_alive).as_bytes())).await??;
    if head.is_head || plan.len == 0 {
        return Ok(());
    }
    let first_part = plan.start == 0;
    if first_part {
        context.services.edge.metrics.http_files.inc();
        note(&asset, connection, context, Moment::Started);
        tracing::info!(client = %connection.peer, file = head.path, "file requested");
    }
    let begun = Instant::now();
    let (sent, result) = transmit(stream, &asset.file, &plan).await;
    let complete = result.is_ok() && plan.start + plan.len == asset.len;
    context.services.edge.metrics.http_download(asset.kind.label(), result.is_ok(), sent);
    if complete {
        note(&asset, connection, context, Moment::Complete);
    } else if let Err(error) = &result {
        note(&asset, connection, context, Moment::Aborted);
        let milliseconds = begun.elapsed().as_millis();
        tracing::warn!(client = %connection.peer, file = head.path, sent, milliseconds, %error, "download ended early");
    }
    result
}

fn note(asset: &Asset, connection: Connection, context: &Context, moment: Moment) {
    let peer = connection.peer.ip();
    match asset.kind {
        Kind::Loader(name) => context.services.edge.trace.loader(peer, Via::Http, name, moment),
        Kind::Boot(kind) => context.services.edge.trace.file(peer, kind, moment),
        Kind::Other => {}
    }
}

/// Sends the planned part; says how much of it went out.
async fn transmit(stream: &TcpStream, file: &File, plan: &Plan) -> (u64, io::Result<()>) {
    let end = plan.start + plan.len;
    let latest = Instant::now() + time_for(plan.len);
    let mut at = plan.start;
    while at < end {
        let piece = usize::try_from((end - at).min(CHUNK)).unwrap_or(usize::MAX);
        let mut offset = at;
        let sending = stream.async_io(Interest::WRITABLE, || {
            Ok(rustix::fs::sendfile(stream, file, Some(&mut offset), piece)?)
        });
        let limit = latest.min(Instant::now() + STALL);
        match timeout_at(limit, sending).await {
            // The file became shorter: what was promised cannot be sent any more.
            Ok(Ok(0)) => return (at - plan.start, Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(Ok(sent)) => at += sent as u64,
            Ok(Err(error)) => return (at - plan.start, Err(error)),
            Err(_) => return (at - plan.start, Err(io::ErrorKind::TimedOut.into())),
        }
    }
    (plan.len, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_never_climb_and_links_never_lead_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("env");
        std::fs::create_dir_all(root.join("default")).unwrap();
        std::fs::write(root.join("default/vmlinuz"), b"kernel").unwrap();
        std::fs::write(directory.path().join("secret"), b"secret").unwrap();
        std::os::unix::fs::symlink("default", root.join("alias")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), root.join("absolute")).unwrap();
        let opens = |path: &str| decode(path).is_some_and(|path| open_below(&root, &path).is_ok());
        for good in ["/default/vmlinuz", "/alias/vmlinuz", "/%64efault/vmlinuz", "/"] {
            assert!(opens(good), "{good}");
        }
        for bad in [
            "/../secret",
            "/%2e%2e/secret",
            "/default/../../secret",
            "/out",
            "/absolute",
            "/..%2fsecret",
            "/.",
            "/%",
            "/%zz",
            "/%ff",
            "/default%00",
            "/nosuch",
            "/default\\..\\..\\secret",
        ] {
            assert!(!opens(bad), "{bad}");
        }
    }
}
