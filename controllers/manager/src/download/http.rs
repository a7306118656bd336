//! One GET over HTTP or HTTPS, redirects included: a request in, the head and the body of an answer out.
//!
//! Never waits without a limit, and never follows a redirect to a scheme that is no web server's, or from
//! TLS to none where nothing else tells whether the content is the right one.

use std::io::{Error as IoError, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bloomery_power::endpoint::authority;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, IF_RANGE, LOCATION, RANGE, USER_AGENT};
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;
use url::Url;

use super::{Error, Trust};

/// Redirects followed: a release page needs two, a loop has no end.
const REDIRECTS: usize = 10;
/// One address of a host that does not answer in this time is given up for the next.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const AGENT: &str = concat!("bloomery-controllers/", env!("CARGO_PKG_VERSION"));

pub(super) struct Get<'a> {
    pub(super) url: &'a Url,
    /// From which byte on, and by what the server knows that it is the same file still.
    pub(super) resume: Option<(u64, Option<&'a str>)>,
    /// True when the content is checked afterwards, however it came.
    pub(super) is_checked: bool,
    /// Longest wait for an answer.
    pub(super) idle: Duration,
}

/// An answer whose connection lives as long as it.
pub(super) struct Answer {
    /// Where it came from in the end.
    pub(super) url: Url,
    pub(super) response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

/// Asks, and follows where it is sent.
pub(super) async fn get(trust: &Trust, get: &Get<'_>) -> Result<Answer, Error> {
    let mut url = get.url.clone();
    for _ in 0..=REDIRECTS {
        let answer = exchange(trust, &url, get).await?;
        if !matches!(answer.response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(answer);
        }
        let next = target(&url, answer.response.headers(), get.is_checked)?;
        debug!(from = %url, to = %next, "redirected");
        url = next;
    }
    Err(Error::Redirect { url: get.url.to_string(), problem: format!("more than {REDIRECTS} of them") })
}

fn target(url: &Url, headers: &HeaderMap, is_checked: bool) -> Result<Url, Error> {
    let refused = |problem: String| Error::Redirect { url: url.to_string(), problem };
    let location = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .ok_or_else(|| refused("it does not say where to".to_owned()))?;
    let next = url.join(location).map_err(|error| refused(format!("{location:?}: {error}")))?;
    match (url.scheme(), next.scheme()) {
        ("https", "http") if !is_checked => {
            Err(refused(format!("{next} is without TLS and no sha512 is given to check the content by")))
        }
        (_, "http" | "https") => Ok(next),
        _ => Err(refused(format!("{next} is neither http nor https"))),
    }
}

async fn exchange(trust: &Trust, url: &Url, get: &Get<'_>) -> Result<Answer, Error> {
    let request = request(url, get).map_err(|source| Error::Request { url: url.to_string(), source })?;
    let stream = connect(url).await?;
    if url.scheme() == "https" {
        let stream = secure(trust, url, stream).await?;
        send(url, stream, request, get.idle).await
    } else {
        send(url, stream, request, get.idle).await
    }
}

fn request(url: &Url, get: &Get<'_>) -> Result<Request<Empty<Bytes>>, http::Error> {
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        // A part of a compressed file is no part of the file.
        .header(ACCEPT_ENCODING, "identity");
    if let Some(credentials) = basic_credentials(url) {
        request = request.header(AUTHORIZATION, credentials);
    }
    if let Some((from, validator)) = get.resume {
        request = request.header(RANGE, format!("bytes={from}-"));
        if let Some(validator) = validator {
            request = request.header(IF_RANGE, validator);
        }
    }
    request.body(Empty::new())
}

/// The account that a URL names, as RFC 7617 sends it. In the URL it is percent-encoded (RFC 3986, 3.2.1): a password
/// with `@`, `:` or `/` cannot stand there otherwise. `:token` is a password of a user without name.
fn basic_credentials(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut account: Vec<u8> = percent_decode_str(url.username()).collect();
    account.push(b':');
    account.extend(percent_decode_str(url.password().unwrap_or_default()));
    Some(format!("Basic {}", STANDARD.encode(account)))
}

/// The host, an IPv6 address without brackets.
fn bare_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Tries the addresses of the host in their order.
async fn connect(url: &Url) -> Result<TcpStream, Error> {
    let port = url.port_or_known_default().unwrap_or_default();
    let host = bare_host(url);
    let failed = |source| Error::Connect { address: authority(&host, port), source };
    let mut last = IoError::new(ErrorKind::NotFound, "the host has no address");
    let addresses = tokio::time::timeout(CONNECT_LIMIT, tokio::net::lookup_host((host.as_str(), port)))
        .await
        .map_err(|_| failed(IoError::new(ErrorKind::TimedOut, "the name was not resolved in time")))?
        .map_err(failed)?;
    for address in addresses {
        match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = IoError::new(ErrorKind::TimedOut, "no answer"),
        }
    }
    Err(failed(last))
}

async fn secure(
    trust: &Trust,
    url: &Url,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let host = bare_host(url);
    let failed = |source| Error::Tls { host: host.clone(), source };
    let name = ServerName::try_from(host.clone())
        .map_err(|error| failed(IoError::new(ErrorKind::InvalidInput, error)))?;
    let connector = TlsConnector::from(Arc::new(trust.config()?));
    tokio::time::timeout(CONNECT_LIMIT, connector.connect(name, stream))
        .await
        .map_err(|_| failed(IoError::new(ErrorKind::TimedOut, "no answer")))?
        .map_err(failed)
}

async fn send<S>(
    url: &Url,
    stream: S,
    request: Request<Empty<Bytes>>,
    idle: Duration,
) -> Result<Answer, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |source| Error::Exchange { url: url.to_string(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(error = %error, "download connection ended");
        }
    }));
    let response = tokio::time::timeout(idle, sender.send_request(request))
        .await
        .map_err(|_| Error::Idle { url: url.to_string(), limit: idle })?
        .map_err(broken)?;
    Ok(Answer { url: url.clone(), response, _connection: connection })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirected(from: &str, to: &str, is_checked: bool) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, to.parse().unwrap());
        target(&Url::parse(from).unwrap(), &headers, is_checked)
            .map(String::from)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn redirects_lead_to_web_servers_and_not_out_of_tls_unchecked() {
        assert_eq!(redirected("http://a/b/c", "../d", false).unwrap(), "http://a/d");
        assert_eq!(redirected("http://a/b", "https://c/d", false).unwrap(), "https://c/d");
        assert_eq!(redirected("https://a/b", "//c/d", false).unwrap(), "https://c/d");
        assert_eq!(redirected("https://a/b", "http://c/d", true).unwrap(), "http://c/d");
        assert!(redirected("https://a/b", "http://c/d", false).unwrap_err().contains("without TLS"));
        for to in ["file:///etc/shadow", "ftp://a/b", "http://"] {
            assert!(redirected("http://a/b", to, true).is_err(), "{to}");
        }
        let nowhere = target(&Url::parse("http://a").unwrap(), &HeaderMap::new(), true).unwrap_err();
        assert!(nowhere.to_string().contains("does not say where"), "{nowhere}");
    }

    #[test]
    fn a_request_names_host_range_and_credentials() {
        let url = Url::parse("http://u:p@[::1]:8080/a%20b?q=1#f").unwrap();
        let idle = Duration::from_secs(1);
        let get = Get { url: &url, resume: Some((5, Some("\"e\""))), is_checked: false, idle };
        let request = request(&url, &get).unwrap();
        assert_eq!(request.uri(), "/a%20b?q=1");
        for (name, value) in [
            ("host", "[::1]:8080"),
            ("range", "bytes=5-"),
            ("if-range", "\"e\""),
            ("authorization", "Basic dTpw"),
        ] {
            assert_eq!(request.headers()[name], value, "{name}");
        }
    }

    #[test]
    fn accounts_in_urls_are_decoded_before_they_are_sent() {
        for (url, account) in [
            ("http://bob:p%40ss%3Aw%2Frd@site/k", Some("bob:p@ss:w/rd")),
            ("http://bob%40corp:secret@site/k", Some("bob@corp:secret")),
            ("http://:token@site/k", Some(":token")),
            ("http://bob@site/k", Some("bob:")),
            ("http://bob:@site/k", Some("bob:")),
            ("http://j%C3%B6rg:%25@site/k", Some("jörg:%")),
            ("http://bob:100%@site/k", Some("bob:100%")),
            ("http://site/k", None),
        ] {
            let sent = basic_credentials(&Url::parse(url).unwrap());
            assert_eq!(sent, account.map(|account| format!("Basic {}", STANDARD.encode(account))), "{url}");
        }
    }
}
