//! Asking a service whether it is ready: one GET on loopback, plain or over TLS with our own authority.
//!
//! It must never follow a redirect, leave loopback, or wait longer than it was told to.

use bloomery_pairing::http::{self, ExchangeError, Full};
use hyper::{Request, StatusCode};
use rustls::pki_types::ServerName;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A list of checks has some kilobytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Enough of a refusal to show.
const SHOWN_CHARS: usize = 200;
/// How Kubernetes and etcd mark the failed ones in their lists of checks.
const FAILED_CHECK: &str = "[-]";

/// How a service shows that it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// GET on 127.0.0.1 is answered with 200.
    Http { port: u16, path: &'static str },
    /// The same over TLS, with a certificate of this authority.
    Https {
        port: u16,
        path: &'static str,
        /// PEM file, read anew for each probe: authorities of a volatile plane change.
        ca: PathBuf,
    },
    /// One-shots: they are ready when they have ended with status 0.
    Exit,
}

/// Why a service is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no answer within {} s", limit.as_secs_f64())]
    Timeout { limit: Duration },
    /// Nobody listens, or the connection broke.
    #[error("failed to connect to port {port}")]
    Connect { port: u16, source: std::io::Error },
    #[error("failed to read the authority {}", path.display())]
    Authority { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("failed to speak HTTP")]
    Http(#[source] ExchangeError),
    #[error("answered {status}: {body}")]
    Refused { status: StatusCode, body: String },
}

impl Probe {
    /// Asks once. [`Probe::Exit`] is answered by the process itself and never asked.
    pub async fn ask(&self, limit: Duration) -> Result<(), Error> {
        let asked = async {
            match self {
                Self::Http { port, path } => get(connect(*port).await?, *port, path).await,
                Self::Https { port, path, ca } => {
                    let connector = TlsConnector::from(Arc::new(client_config(ca)?));
                    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
                    let stream = connector
                        .connect(name, connect(*port).await?)
                        .await
                        .map_err(|source| Error::Connect { port: *port, source })?;
                    get(stream, *port, path).await
                }
                Self::Exit => Ok(()),
            }
        };
        tokio::time::timeout(limit, asked).await.unwrap_or(Err(Error::Timeout { limit }))
    }
}

async fn connect(port: u16) -> Result<TcpStream, Error> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| Error::Connect { port, source })
}

fn client_config(ca: &Path) -> Result<rustls::ClientConfig, Error> {
    let authority = fs::read_to_string(ca).map_err(Into::into);
    let config = authority.and_then(|authority| http::client_config(&authority, None));
    config.map_err(|source| Error::Authority { path: ca.to_owned(), source })
}

async fn get<S>(stream: S, port: u16, path: &str) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(path)
        .header(hyper::header::HOST, format!("127.0.0.1:{port}"))
        .header(hyper::header::CONNECTION, "close")
        .header(hyper::header::USER_AGENT, "bloomery-init")
        .body(Full::default())
        .unwrap_or_default();
    let answer = http::exchange(stream, request, MAX_ANSWER_BYTES).await.map_err(Error::Http)?;
    match answer.status() {
        StatusCode::OK => Ok(()),
        status => Err(Error::Refused { status, body: summary(&String::from_utf8_lossy(answer.body())) }),
    }
}

/// The failed checks of a refusal, or else its beginning.
fn summary(body: &str) -> String {
    let failed: Vec<&str> = body.lines().filter(|line| line.starts_with(FAILED_CHECK)).collect();
    let text = if failed.is_empty() { body.trim().replace('\n', "; ") } else { failed.join("; ") };
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Answers every connection with these bytes, or never.
    async fn server(answer: Option<&'static [u8]>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(answer).await;
                } else {
                    kept.push(stream);
                }
            }
        });
        port
    }

    #[tokio::test]
    async fn only_200_is_ready() {
        let ready = server(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await;
        Probe::Http { port: ready, path: "/readyz" }.ask(LIMIT).await.unwrap();
        let refuses = server(Some(b"HTTP/1.1 503 No\r\ncontent-length: 15\r\n\r\n[+]ping\n[-]etcd")).await;
        let error = Probe::Http { port: refuses, path: "/readyz" }.ask(LIMIT).await.unwrap_err();
        assert_eq!(error.to_string(), "answered 503 Service Unavailable: [-]etcd");
        let babbles = server(Some(b"SSH-2.0-x\r\n")).await;
        assert!(matches!(Probe::Http { port: babbles, path: "/" }.ask(LIMIT).await, Err(Error::Http(_))));
    }

    #[tokio::test]
    async fn nobody_there_is_not_ready() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(matches!(Probe::Http { port, path: "/" }.ask(LIMIT).await, Err(Error::Connect { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_not_ready() {
        let port = server(None).await;
        assert!(matches!(Probe::Http { port, path: "/" }.ask(LIMIT).await, Err(Error::Timeout { .. })));
    }
}
