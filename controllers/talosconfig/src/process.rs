//! One instance of the child: lines to it and from it, within their limits.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bloomery_sys::launcher::{Error, Launcher};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Of its standard error: its first line at most.
const MAX_COMPLAINT: usize = 200;
/// After its end.
const COMPLAINT_WITHIN: Duration = Duration::from_millis(500);
/// What is read at once.
const CHUNK: usize = 16 * 1024;

/// A child that runs, or ended without being asked to.
#[derive(Debug)]
pub(crate) struct Process {
    launcher: Arc<Launcher>,
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    complaint: JoinHandle<String>,
}

/// What came instead of a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoLine {
    /// More octets than allowed.
    TooLong,
    /// The end, or an error, which is as good.
    Ended,
    /// Octets after the line's end: a child has nothing to say unasked.
    Unasked,
}

impl Process {
    /// Starts the child. An instance that still runs is killed.
    pub(crate) async fn start(launcher: &Arc<Launcher>) -> Result<Self, Error> {
        let (their_stdin, ours) = io::pipe().map_err(Error::Unreachable)?;
        let stdin = pipe::Sender::from_owned_fd(ours.into()).map_err(Error::Unreachable)?;
        let (ours, their_stdout) = io::pipe().map_err(Error::Unreachable)?;
        let stdout = pipe::Receiver::from_owned_fd(ours.into()).map_err(Error::Unreachable)?;
        let (ours, their_stderr) = io::pipe().map_err(Error::Unreachable)?;
        let stderr = pipe::Receiver::from_owned_fd(ours.into()).map_err(Error::Unreachable)?;
        let streams: [OwnedFd; 3] = [their_stdin.into(), their_stdout.into(), their_stderr.into()];
        blocking(launcher, move |launcher| {
            let [stdin, stdout, stderr] = streams;
            launcher.open(stdin, stdout, stderr)
        })
        .await?;
        let complaint = tokio::spawn(first_line(stderr));
        Ok(Self { launcher: Arc::clone(launcher), stdin, stdout, complaint })
    }

    /// Whether it waits for a request. One that ended meanwhile does not, nor one that said something unasked.
    pub(crate) fn is_idle(&mut self) -> bool {
        matches!(self.stdout.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a line and takes the answer, without its line feed.
    pub(crate) async fn ask(&mut self, line: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, NoLine> {
        self.stdin.write_all(line).await.map_err(|_| NoLine::Ended)?;
        read_line(&mut self.stdout, limit).await
    }

    /// Kills it, and says how it ended.
    pub(crate) async fn end(self) -> String {
        // The end of the pipes lets even a child without a launcher go.
        drop((self.stdin, self.stdout));
        let ended = blocking(&self.launcher, Launcher::end).await;
        // Its pipe ends with it, unless something else holds that.
        let complaint =
            timeout(COMPLAINT_WITHIN, self.complaint).await.ok().and_then(Result::ok).unwrap_or_default();
        let status = match ended {
            Ok(Some(status)) => describe(status),
            Ok(None) => "it did not run".to_owned(),
            Err(error) => bloomery_base::chain(&error),
        };
        if complaint.is_empty() { status } else { format!("{status}: {complaint}") }
    }
}

/// An order to the launcher takes milliseconds, but it blocks.
fn blocking<T: Send + 'static>(
    launcher: &Arc<Launcher>,
    order: impl FnOnce(&Launcher) -> Result<T, Error> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> {
    let launcher = Arc::clone(launcher);
    async move {
        let done = tokio::task::spawn_blocking(move || order(&launcher)).await;
        done.unwrap_or_else(|error| Err(Error::Unreachable(io::Error::other(error))))
    }
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => status.to_string(),
    }
}

/// One line of at most `limit` octets; it must be all that there is.
async fn read_line(
    stdout: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, NoLine> {
    // Of full size from the start would be 4 MiB for each answer; of a growing one pieces stay behind in memory.
    let mut line = Zeroizing::new(Vec::with_capacity(CHUNK.min(limit)));
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    loop {
        let octets = match stdout.read(&mut chunk).await {
            Ok(0) | Err(_) => return Err(NoLine::Ended),
            Ok(octets) => &chunk[..octets],
        };
        let end = octets.iter().position(|octet| *octet == b'\n');
        let part = &octets[..end.unwrap_or(octets.len())];
        if line.len() + part.len() > limit {
            return Err(NoLine::TooLong);
        }
        append(&mut line, part);
        match end {
            Some(end) if end + 1 == octets.len() => return Ok(line),
            Some(_) => return Err(NoLine::Unasked),
            None => {}
        }
    }
}

/// Like `extend_from_slice`, which would leave the old octets behind where it has to move them.
fn append(line: &mut Zeroizing<Vec<u8>>, part: &[u8]) {
    if line.capacity() - line.len() < part.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((line.len() + part.len()) * 2));
        larger.extend_from_slice(line);
        *line = larger;
    }
    line.extend_from_slice(part);
}

/// The beginning of the first line; all that follows is taken and dropped, so that nobody waits to write it.
async fn first_line(mut stderr: pipe::Receiver) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 1024];
    while let Ok(octets @ 1..) = stderr.read(&mut chunk).await {
        let room = MAX_COMPLAINT - kept.len();
        kept.extend_from_slice(&chunk[..octets.min(room)]);
    }
    String::from_utf8_lossy(&kept).lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn line_of(text: &[u8], limit: usize) -> Result<Vec<u8>, NoLine> {
        read_line(&mut &*text, limit).await.map(|line| line.to_vec())
    }

    #[tokio::test]
    async fn a_line_has_an_end_and_a_limit_and_nothing_after_it() {
        assert_eq!(line_of(b"abc\n", 3).await, Ok(b"abc".to_vec()));
        assert_eq!(line_of(b"\n", 3).await, Ok(Vec::new()));
        assert_eq!(line_of(b"abcd\n", 3).await, Err(NoLine::TooLong));
        assert_eq!(line_of(b"abc", 3).await, Err(NoLine::Ended));
        assert_eq!(line_of(b"", 3).await, Err(NoLine::Ended));
        assert_eq!(line_of(b"a\nb", 3).await, Err(NoLine::Unasked));
        let long = [vec![b'x'; 3 * CHUNK], b"\n".to_vec()].concat();
        assert_eq!(line_of(&long, 3 * CHUNK).await.map(|line| line.len()), Ok(3 * CHUNK));
        assert_eq!(line_of(&long, 3 * CHUNK - 1).await, Err(NoLine::TooLong));
    }
}
