//! The beginning of a connection: reads one request head, and gives back what is not ours.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest head looked at here; a longer one is hyper's affair.
const MAX_HEAD: usize = 8 << 10;
/// Most headers looked at.
const MAX_HEADERS: usize = 32;
/// A client that does not finish its request head in this time is gone; so is an idle one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A request for a file, as far as it can be told from its head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Octets that it took.
    pub len: usize,
    /// Path, still percent-encoded.
    pub path: String,
    /// HEAD, not GET.
    pub is_head: bool,
    /// Whether another request may follow.
    pub keep_alive: bool,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<String>,
}

/// Reads a head. None when it is not one of GET or HEAD without body, or the client is gone; what
/// was read is in `buffer`.
pub async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Head>> {
    let reading = async {
        loop {
            match parse(buffer) {
                Parsed::Head(head) => return Ok(Some(head)),
                Parsed::Other => return Ok(None),
                Parsed::Partial if buffer.len() >= MAX_HEAD => return Ok(None),
                Parsed::Partial => {}
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
    };
    timeout(HEAD_TIMEOUT, reading).await?
}

enum Parsed {
    Head(Head),
    Partial,
    Other,
}

fn parse(buffer: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(buffer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => {
            // The method is enough to see that this is not for us.
            let other = request.method.is_some_and(|method| method != "GET" && method != "HEAD");
            return if other { Parsed::Other } else { Parsed::Partial };
        }
        Err(_) => return Parsed::Other,
    };
    let (Some(method @ ("GET" | "HEAD")), Some(path)) = (request.method, request.path) else {
        return Parsed::Other;
    };
    let mut head = Head {
        len,
        path: path.to_owned(),
        is_head: method == "HEAD",
        keep_alive: request.version == Some(1),
        ..Head::default()
    };
    // RFC 9112 section 3.2: hyper refuses what does not name its host, once.
    let hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host")).count();
    if request.version == Some(1) && hosts != 1 {
        return Parsed::Other;
    }
    for header in request.headers.iter() {
        let Ok(value) = std::str::from_utf8(header.value) else { return Parsed::Other };
        let value = value.trim();
        match header.name.to_ascii_lowercase().as_str() {
            "range" => head.range = Some(value.to_owned()),
            "if-range" => head.if_range = Some(value.to_owned()),
            "if-none-match" => head.if_none_match = Some(value.to_owned()),
            "if-modified-since" => head.if_modified_since = Some(value.to_owned()),
            "connection" => match value.to_ascii_lowercase().as_str() {
                "close" => head.keep_alive = false,
                "keep-alive" => head.keep_alive = true,
                _ => return Parsed::Other,
            },
            "content-length" if value == "0" => {}
            "content-length" | "transfer-encoding" | "upgrade" | "expect" => return Parsed::Other,
            _ => {}
        }
    }
    Parsed::Head(head)
}

/// A connection with the octets that were read already before the others.
pub fn rewound(mut read: Vec<u8>, stream: TcpStream) -> impl AsyncRead + AsyncWrite {
    // It is kept as long as the connection.
    read.shrink_to_fit();
    let (rest, out) = stream.into_split();
    tokio::io::join(io::Cursor::new(read).chain(rest), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Option<Head> {
        match parse(text.as_bytes()) {
            Parsed::Head(head) => Some(head),
            Parsed::Partial | Parsed::Other => None,
        }
    }

    #[test]
    fn takes_plain_requests_only() {
        let plain = head("GET /env/x/vmlinuz HTTP/1.1\r\nHost: x\r\nRange: bytes=1-2\r\n\r\nGET").unwrap();
        assert_eq!((plain.path.as_str(), plain.keep_alive, plain.len), ("/env/x/vmlinuz", true, 58));
        assert_eq!(plain.range.as_deref(), Some("bytes=1-2"));
        assert!(!head("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
        assert!(!head("HEAD / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n").unwrap().keep_alive);
        for other in [
            "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "GET / HTTP/1.1\r\n",
            "\x16\x03\x01",
        ] {
            assert_eq!(head(other), None, "{other:?}");
        }
        assert!(matches!(parse(b"GET / HTTP/1.1\r\nHos"), Parsed::Partial));
        assert!(matches!(parse(b"PRI * HT"), Parsed::Other));
    }
}
