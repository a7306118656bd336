//! The socket: one question a connection, from the appliance server's user and root only.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::{Authority, Plane, Services};
use crate::local::{Answer, MAX_QUESTION_BYTES, Question, Refused};

/// Questions at once: the appliance server has no more connections than a few hundred, and pairings wait for seconds.
const MAX_QUESTIONS: usize = 64;
/// For a question to arrive, and for its answer to be read.
const LINE_LIMIT: Duration = Duration::from_secs(5);
/// Pause after `accept` failed for want of descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers for ever. `user` is the account of the appliance server, if it has one of its own.
pub async fn serve<P: Plane>(
    listener: UnixListener,
    authority: Arc<Authority<P>>,
    services: Arc<impl Services>,
    user: Option<u32>,
) {
    let slots = Arc::new(Semaphore::new(MAX_QUESTIONS));
    loop {
        // Never closed.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (authority, services) = (Arc::clone(&authority), Arc::clone(&services));
                tokio::spawn(async move {
                    if let Err(error) = exchange(stream, &authority, &*services, user).await {
                        tracing::debug!(%error, "a question was not answered");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a question");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn exchange<P: Plane>(
    mut stream: UnixStream,
    authority: &Authority<P>,
    services: &impl Services,
    user: Option<u32>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if user.is_some_and(|user| peer != user && peer != 0) {
        tracing::warn!(user = peer, "refused a question of another user");
        return Ok(());
    }
    let question = tokio::time::timeout(LINE_LIMIT, read(&mut stream)).await??;
    let answer = match question {
        Ok(question) => authority.answer(question, services).await,
        // The cause could quote a secret.
        Err(_) => Answer::Refused { why: Refused::BadRequest, message: "not a question".to_owned() },
    };
    let text = zeroize::Zeroizing::new(serde_json::to_vec(&answer)?);
    tokio::time::timeout(LINE_LIMIT, stream.write_all(&text)).await??;
    stream.shutdown().await
}

async fn read(stream: &mut UnixStream) -> io::Result<Result<Question, serde_json::Error>> {
    let mut line = zeroize::Zeroizing::new(Vec::new());
    // A limit in u64 holds any usize that is meant here.
    let limit = u64::try_from(MAX_QUESTION_BYTES).unwrap_or(u64::MAX);
    BufReader::new(stream.take(limit)).read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line))
}
