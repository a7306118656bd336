//! What the appliance server asks PID 1 for, over a Unix socket: one line of JSON each way, one question a connection.
//!
//! The side that faces the network holds no key that signs; it passes requests on. What it may not decide itself (the
//! pairing code, the key that a renewal is for) the other side checks.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::Secret;
use crate::wire::{LogPiece, Pairing, ServiceCommand};

/// Longest line of a question; a request for a certificate has a tenth.
pub const MAX_QUESTION_BYTES: usize = 32 << 10;
/// Longest answer: the list of all pairings fits many times.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// A pairing waits until the API server knows it; everything else is answered in milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(28);

/// A question.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Question {
    /// Whether pairing would work.
    Ready,
    /// A certificate for whoever knows the secret.
    Pair {
        /// The secret, as it came.
        secret: Secret,
        /// PEM certificate request.
        csr: String,
        /// `USER@HOST`, as the workstation says.
        name: String,
        /// Whose address.
        address: String,
    },
    /// A certificate that holds anew, for the same key.
    Renew {
        /// The caller's pairing.
        caller: String,
        /// PEM certificate request.
        csr: String,
        /// Whose address.
        address: String,
    },
    /// All pairings.
    List,
    /// The end of a pairing.
    Revoke {
        /// The caller's pairing.
        caller: String,
        /// Which.
        id: String,
        /// Leaves the pairing code as it is.
        keep_code: bool,
        /// Whose address.
        address: String,
    },
    /// A new pairing code.
    Reissue {
        /// The caller's pairing.
        caller: String,
        /// Whose address.
        address: String,
    },
    /// What the Kubernetes API lets a pairing do.
    Rights {
        /// The caller's pairing.
        caller: String,
    },
    /// A command for a service.
    Tell {
        /// The caller's pairing.
        caller: String,
        /// The service's name.
        service: String,
        /// The command.
        command: ServiceCommand,
        /// Whose address.
        address: String,
    },
    /// Lines of a service's log.
    Log {
        /// The service's name.
        service: String,
        /// So many from the end, without `after`.
        lines: u32,
        /// The cursor of an earlier answer.
        after: Option<String>,
    },
    /// Lines of a machine's kernel log.
    MachineLog {
        /// The name of its Server.
        server: String,
        /// So many from the end, without `after`.
        lines: u32,
        /// The cursor of an earlier answer.
        after: Option<String>,
    },
    /// A line for the audit log, of something that was done elsewhere.
    Note {
        /// The caller's pairing.
        caller: String,
        /// What was done, and to what.
        action: String,
        /// How it ended.
        result: String,
        /// Whose address.
        address: String,
    },
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    /// To [`Question::Ready`] and [`Question::Note`].
    Ok,
    /// To [`Question::Pair`] and [`Question::Renew`].
    Issued(Issued),
    /// To [`Question::List`].
    Pairings {
        /// Oldest first.
        pairings: Vec<Pairing>,
    },
    /// To [`Question::Revoke`].
    Revoked {
        /// The one that has ended.
        pairing: Pairing,
        /// The new secret, unless the former one was kept.
        secret: Option<Secret>,
    },
    /// To [`Question::Reissue`].
    Reissued {
        /// The new secret.
        secret: Secret,
    },
    /// To [`Question::Rights`].
    Rights {
        /// What the Kubernetes API said.
        rights: Rights,
    },
    /// To [`Question::Tell`].
    Told {
        /// The service's state now.
        state: String,
    },
    /// To [`Question::Log`] and [`Question::MachineLog`].
    Log(LogPiece),
    /// To any.
    Refused {
        /// For programs.
        why: Refused,
        /// For people.
        message: String,
    },
}

/// A certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// PEM certificate that signs the API server's and the appliance's certificate.
    pub certificate_authority: String,
    /// PEM client certificate.
    pub certificate: String,
    /// The pairing's ID.
    pub id: String,
    /// The name in it.
    pub user: String,
    /// When it expires (RFC 3339).
    pub expires: String,
}

/// What the Kubernetes API lets a pairing do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rights {
    /// Everything.
    Full,
    /// Not everything: an administrator took rights away, or they have not been set up yet.
    Less,
    /// The API server does not know the certificate's authority (yet).
    UnknownAuthority,
    /// The API server does not answer.
    Unreachable,
}

/// Why a question was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refused {
    /// The secret is not the one of the present code.
    WrongSecret,
    /// Something is missing for now; asking again later helps.
    NotReady,
    /// The request is not what it should be.
    BadRequest,
    /// The caller may not do this.
    Forbidden,
    /// No such pairing or service.
    NotFound,
    /// It does not go with the state that things are in.
    Conflict,
    /// There is no room for more.
    Full,
    /// A fault of the machine.
    Internal,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AskError {
    /// PID 1 does not listen.
    #[error("failed to connect to {}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("failed to exchange a question")]
    Exchange(#[source] io::Error),
    #[error("failed to understand the answer")]
    Decode(#[source] serde_json::Error),
    #[error("failed to write the question down")]
    Encode(#[source] serde_json::Error),
    #[error("failed to get an answer within {} s", ANSWER_LIMIT.as_secs())]
    Late,
}

/// Asks one question.
///
/// # Errors
/// When there is no answer; a refusal is one.
pub async fn ask(path: &Path, question: &Question) -> Result<Answer, AskError> {
    tokio::time::timeout(ANSWER_LIMIT, exchange(path, question)).await.unwrap_or(Err(AskError::Late))
}

async fn exchange(path: &Path, question: &Question) -> Result<Answer, AskError> {
    let connect = |source| AskError::Connect { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).await.map_err(connect)?;
    let mut line = zeroize::Zeroizing::new(serde_json::to_vec(question).map_err(AskError::Encode)?);
    line.push(b'\n');
    stream.write_all(&line).await.map_err(AskError::Exchange)?;
    let mut answer = zeroize::Zeroizing::new(Vec::new());
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await.map_err(AskError::Exchange)?;
    serde_json::from_slice(&answer).map_err(AskError::Decode)
}
