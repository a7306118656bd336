//! A web server that does what a test tells it to, to the byte.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Path with query.
    pub(crate) path: String,
    /// First byte of the range.
    pub(crate) from: Option<usize>,
    /// The validator that goes with it.
    pub(crate) if_range: Option<String>,
    /// How many requests for the path came before.
    pub(crate) before: usize,
}

/// What is sent before the connection is closed; a silent one is left open.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    is_silent: bool,
}

impl Reply {
    /// A head (status line and fields) and a body, as they are.
    pub(crate) fn raw(head: &str, body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        Self { bytes, is_silent: false }
    }

    /// The whole file, or the rest of it when that was asked for.
    pub(crate) fn file(asked: &Asked, tag: &str, content: &[u8]) -> Self {
        let rest = asked.from.filter(|_| asked.if_range.as_deref().is_none_or(|known| known == tag));
        let Some(from) = rest else {
            let head = format!("200 OK\r\nETag: {tag}\r\nContent-Length: {}", content.len());
            return Self::raw(&head, content);
        };
        let (total, last) = (content.len(), content.len() - 1);
        let head = format!(
            "206 Partial Content\r\nETag: {tag}\r\nContent-Range: bytes {from}-{last}/{total}\r\nContent-Length: {}",
            total - from
        );
        Self::raw(&head, &content[from..])
    }

    /// The same, but the connection breaks so many bytes before the end.
    pub(crate) fn broken(mut self, missing: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - missing);
        self
    }

    /// The same, but the connection stays open when all is sent.
    pub(crate) fn silent(mut self) -> Self {
        self.is_silent = true;
        self
    }
}

type Handler = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A running server.
pub(crate) struct Site {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: AbortOnDropHandle<()>,
}

impl Site {
    /// Serves plain HTTP.
    pub(crate) async fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(handler)).await
    }

    /// Serves HTTPS.
    pub(crate) async fn start_tls(
        tls: rustls::ServerConfig,
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(tokio_rustls::TlsAcceptor::from(Arc::new(tls))), Arc::new(handler)).await
    }

    async fn serve(tls: Option<tokio_rustls::TlsAcceptor>, handler: Handler) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, handler, log) = (tls.clone(), handler.clone(), log.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, &handler, &log).await;
                            }
                        }
                        None => answer(stream, &handler, &log).await,
                    }
                });
            }
        });
        Self { port, asked, _task: AbortOnDropHandle::new(task) }
    }

    /// URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// HTTPS URL of a path.
    pub(crate) fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// All that was asked for.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, handler: &Handler, log: &Mutex<Vec<Asked>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let from = field("range: bytes=").and_then(|range| range.trim_end_matches('-').parse().ok());
    let asked = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|other| other.path == path).count();
        let asked = Asked { path, from, if_range: field("if-range:").map(str::to_owned), before };
        log.push(asked.clone());
        asked
    };
    let reply = handler(&asked);
    // The client may have gone already.
    let _ = stream.write_all(&reply.bytes).await;
    let _ = stream.flush().await;
    if reply.is_silent {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}
