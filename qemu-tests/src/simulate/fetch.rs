//! HTTP as iPXE and UEFI speak it: one connection at a time, kept while it lasts.
//!
//! It goes to the plane and nowhere else; content is counted, and kept only for scripts.

use super::{network, trouble::Trouble};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Octets of a file that are asked for when its head is enough.
const HEAD: u64 = 4096;
/// Longest script that is kept.
const KEPT: usize = 64 * 1024;
/// iPXE gives up on a server that is silent for about this long.
const SILENCE: Duration = Duration::from_secs(20);

/// How much of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// All of it.
    All,
    /// Its first octets.
    Head,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Octets received.
    pub len: u64,
    /// The beginning of the body.
    pub head: Vec<u8>,
}

/// A machine's HTTP client.
#[derive(Debug)]
pub struct Http {
    from: Ipv4Addr,
    plane: SocketAddr,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Http {
    /// A client at `from` for the plane's HTTP port.
    pub fn new(from: Ipv4Addr, plane: SocketAddr) -> Self {
        Self { from, plane, connection: None }
    }

    /// Path and query of `url`, which has to be on the plane.
    ///
    /// # Errors
    /// It is not.
    pub fn path_of(&self, url: &str) -> Result<String, Trouble> {
        let elsewhere = || Trouble::Elsewhere { url: url.to_owned(), plane: self.plane };
        let rest = url.strip_prefix("http://").ok_or_else(elsewhere)?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let here = [self.plane.to_string(), self.plane.ip().to_string()];
        // Without a port the URL means 80, which the plane has not.
        (host == here[0] || (host == here[1] && self.plane.port() == 80))
            .then(|| path.to_owned())
            .ok_or_else(elsewhere)
    }

    /// Gets `path`, whatever the status.
    ///
    /// # Errors
    /// There is no connection, or it breaks.
    pub async fn get(&mut self, path: &str, want: Want) -> Result<Answer, Trouble> {
        let got = tokio::time::timeout(SILENCE, self.exchange(path, want)).await;
        let result = got.unwrap_or_else(|_| Err(format!("no answer within {} s", SILENCE.as_secs())));
        result.map_err(|problem| {
            self.connection = None;
            Trouble::Http { path: path.to_owned(), problem }
        })
    }

    /// Gets `path` and fails unless it is there.
    ///
    /// # Errors
    /// As [`Http::get`], and for every status but 200 and 206.
    pub async fn file(&mut self, path: &str, want: Want) -> Result<Answer, Trouble> {
        let answer = self.get(path, want).await?;
        match answer.status {
            200 | 206 => Ok(answer),
            status => Err(Trouble::HttpStatus { path: path.to_owned(), status }),
        }
    }

    async fn exchange(&mut self, path: &str, want: Want) -> Result<Answer, String> {
        let host = self.plane.to_string();
        let sender = self.sender().await?;
        let mut request = Request::get(path).header(header::HOST, host);
        if want == Want::Head {
            request = request.header(header::RANGE, format!("bytes=0-{}", HEAD - 1));
        }
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let mut answer = Answer { status: status.as_u16(), len: 0, head: Vec::new() };
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
            answer.len += data.len() as u64;
            if answer.head.len() < KEPT {
                answer.head.extend_from_slice(&data);
            }
            // A server that ignores ranges sends everything; the connection is closed instead.
            if want == Want::Head && status == StatusCode::OK && answer.len >= HEAD {
                self.connection = None;
                break;
            }
        }
        Ok(answer)
    }

    /// The open connection, or a new one.
    async fn sender(&mut self) -> Result<&mut SendRequest<Empty<Bytes>>, String> {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = network::connect(self.from, self.plane).await.map_err(|error| error.to_string())?;
            let (sender, driver) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
            // It ends with its sender.
            tokio::spawn(driver);
            self.connection = Some(sender);
        }
        self.connection.as_mut().ok_or_else(|| "no connection".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_planes_own_urls_are_followed() {
        let http = Http::new(Ipv4Addr::LOCALHOST, SocketAddr::from(([127, 0, 0, 1], 8081)));
        assert_eq!(http.path_of("http://127.0.0.1:8081/ipxe?uuid=x").expect("ours"), "/ipxe?uuid=x");
        for url in [
            "http://127.0.0.1/ipxe",
            "http://127.0.0.2:8081/",
            "https://127.0.0.1:8081/",
            "http://127.0.0.1:8081@example.org/",
            "http://example.org/",
            "/ipxe",
        ] {
            assert!(matches!(http.path_of(url), Err(Trouble::Elsewhere { .. })), "{url}");
        }
    }
}
