//! Asks the API server what a certificate may do there, in the name of its user.
//!
//! It must never take doubt for rights.

use bloomery_pairing::authority::Identity;
use bloomery_pairing::http::{self, Full};
use bloomery_pairing::local::Rights;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use rustls::pki_types::ServerName;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One question; an API server under emulation needs a second.
const LIMIT: Duration = Duration::from_secs(5);
/// The answer repeats the question.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Everybody may ask for the own rights; all of them are what an administrator has.
const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
/// See [`PATH`].
const QUESTION: &str = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview",
"spec":{"resourceAttributes":{"verb":"*","group":"*","version":"*","resource":"*"}}}"#;

type Unreachable = Box<dyn Error + Send + Sync>;

/// What the identity may do on 127.0.0.1 at `port`, whose certificate `authority` (PEM) signed.
pub async fn ask(port: u16, authority: &str, identity: &Identity) -> Rights {
    match tokio::time::timeout(LIMIT, post(port, authority, identity)).await {
        Ok(Ok((status, body))) => read(status, &body),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the API server was not asked for rights");
            Rights::Unreachable
        }
        Err(_) => Rights::Unreachable,
    }
}

fn read(status: StatusCode, body: &[u8]) -> Rights {
    match status {
        StatusCode::CREATED | StatusCode::OK => {
            let answer: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            let allowed = answer.pointer("/status/allowed").and_then(serde_json::Value::as_bool);
            if allowed == Some(true) { Rights::Full } else { Rights::Less }
        }
        StatusCode::UNAUTHORIZED => Rights::UnknownAuthority,
        // Not even the own rights may be asked for.
        StatusCode::FORBIDDEN => Rights::Less,
        _ => Rights::Unreachable,
    }
}

async fn post(port: u16, authority: &str, identity: &Identity) -> Result<(StatusCode, Bytes), Unreachable> {
    let config = http::client_config(authority, Some((&identity.certificate, &identity.key)))?;
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
    let stream = connector.connect(name, TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?).await?;
    let request = Request::post(PATH)
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "bloomery-init")
        .body(Full::new(Bytes::from_static(QUESTION.as_bytes())))?;
    let answer = http::exchange(stream, request, MAX_ANSWER_BYTES).await?;
    Ok((answer.status(), answer.into_body()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_full_rights() {
        for (status, body, expected) in [
            (201, r#"{"status":{"allowed":true}}"#, Rights::Full),
            (201, r#"{"status":{"allowed":false,"denied":true}}"#, Rights::Less),
            (201, r#"{"status":{"allowed":"true"}}"#, Rights::Less),
            (201, "{}", Rights::Less),
            (201, "rubbish", Rights::Less),
            (401, r#"{"status":{"allowed":true}}"#, Rights::UnknownAuthority),
            (403, r#"{"status":{"allowed":true}}"#, Rights::Less),
            (404, "", Rights::Unreachable),
            (500, r#"{"status":{"allowed":true}}"#, Rights::Unreachable),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(read(status, body.as_bytes()), expected, "{status} {body}");
        }
    }
}
