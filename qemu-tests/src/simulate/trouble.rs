//! What goes wrong for one machine. Like a real one it tries again; here it is only named and counted.

use std::net::SocketAddr;

/// Why a step of a machine's life failed.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody offered a boot file.
    #[error("failed to get a boot offer: no answer to {tries} requests")]
    NoOffer {
        /// DISCOVERs sent.
        tries: usize,
    },
    /// An offer that firmware would not follow.
    #[error("failed to use the boot offer: {0}")]
    Offer(&'static str),
    /// A socket of the machine's own.
    #[error("failed to open a socket")]
    Socket(#[source] std::io::Error),
    /// The loader did not come by TFTP.
    #[error("failed to read {file} by TFTP: {problem}")]
    Tftp {
        file: String,
        /// What the server said, or did not.
        problem: String,
    },
    /// No HTTP connection, or it broke.
    #[error("failed to get {path}: {problem}")]
    Http {
        /// Path and query.
        path: String,
        /// What broke.
        problem: String,
    },
    /// The server answered, but not with the file.
    #[error("failed to get {path}: HTTP status {status}")]
    HttpStatus {
        /// Path and query.
        path: String,
        /// Of the answer.
        status: u16,
    },
    /// A script that iPXE would stop at.
    #[error("failed to run the script {path}: {problem}")]
    Script {
        /// Where it is from.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The plane sends the machine to somebody else, where a simulated one must not go.
    #[error("failed to follow {url}: it is not on the plane at {plane}")]
    Elsewhere {
        /// Where it was sent.
        url: String,
        /// Where it may go.
        plane: SocketAddr,
    },
    /// No gRPC connection.
    #[error("failed to connect the agent: {problem}")]
    Connect {
        /// What the transport says.
        problem: String,
    },
    /// A gRPC call was refused or got no answer.
    #[error("failed to call {method}: {code:?}: {message}")]
    Call {
        method: &'static str,
        /// gRPC status.
        code: tonic::Code,
        /// Of the status.
        message: String,
    },
}

impl Trouble {
    /// One word, to count by.
    pub fn kind(&self) -> String {
        match self {
            Self::NoOffer { .. } => "no-offer".to_owned(),
            Self::Offer(_) => "bad-offer".to_owned(),
            Self::Socket(_) => "socket".to_owned(),
            Self::Tftp { .. } => "tftp".to_owned(),
            Self::Http { .. } => "http".to_owned(),
            Self::HttpStatus { status, .. } => format!("http-{status}"),
            Self::Script { .. } => "script".to_owned(),
            Self::Elsewhere { .. } => "elsewhere".to_owned(),
            Self::Connect { .. } => "grpc-connect".to_owned(),
            Self::Call { method, code, .. } => format!("grpc-{method}-{code:?}"),
        }
    }
}
