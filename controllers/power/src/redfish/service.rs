//! Requests to one Redfish service with its log-in: basic authentication, or a session where that is refused.
//!
//! Never leaves a session open (BMCs have few), never sends a password or a token over plain HTTP, and never follows a
//! redirect to another service.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION};
use http::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::json;
use zeroize::Zeroizing;

use super::error::Error;
use super::links;
use super::model::{ServiceRoot, error_message, parse_service_root};
use crate::endpoint::{Origin, Scheme};
use crate::ipmi::Credentials;
use crate::web::{Connection, Response, Trust};

/// The service root, at the same path everywhere (DSP0266, 8.2); some services know it only without the last slash.
const ROOTS: [&str; 2] = ["/redfish/v1/", "/redfish/v1"];
/// Redirects that are followed in a row.
const MAX_REDIRECTS: usize = 4;
/// Longest location in a message.
const MAX_SHOWN: usize = 200;
/// Where sessions are when the root does not say.
const DEFAULT_SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
const TOKEN: &str = "x-auth-token";
/// One request; BMCs take a second or two for a resource that they assemble.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The log-out, for which nobody waits longer.
const LOG_OUT_LIMIT: Duration = Duration::from_secs(2);

/// How requests are authenticated.
enum Login {
    /// Nothing, over plain HTTP.
    None,
    Basic(HeaderValue),
    /// A session: its token, and its path, where it is deleted.
    Session(HeaderValue, Option<String>),
}

/// A conversation with a Redfish service, for one command.
pub(crate) struct Service<'a> {
    origin: Origin,
    connection: Connection,
    credentials: &'a Credentials,
    login: Login,
}

pub(super) struct Answer {
    pub(super) body: Bytes,
    /// Version of the resource.
    pub(super) etag: Option<HeaderValue>,
}

impl<'a> Service<'a> {
    /// A conversation with basic authentication over TLS, with none without it; connects to nothing yet.
    pub(crate) fn new(origin: Origin, credentials: &'a Credentials, trust: Arc<Trust>) -> Self {
        let login = match origin.scheme {
            Scheme::Https => Login::Basic(basic(credentials)),
            Scheme::Http => Login::None,
        };
        let connection = Connection::new(origin.clone(), REQUEST_LIMIT, trust);
        Self { origin, connection, credentials, login }
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The service root. Everybody may read it, so no credentials go along unless they are asked for.
    pub(crate) async fn root(&mut self) -> Result<ServiceRoot, Error> {
        let [path, other] = ROOTS;
        match self.root_at(path).await {
            Err(Error::Status { status: 404, .. }) => self.root_at(other).await,
            result => result,
        }
    }

    async fn root_at(&mut self, path: &str) -> Result<ServiceRoot, Error> {
        let mut response = self.read(path, false).await?;
        if response.status == StatusCode::UNAUTHORIZED {
            response = self.read(path, true).await?;
        }
        let answer = self.judge("GET", path, response)?;
        parse_service_root(&self.origin, &answer.body)
            .map_err(|source| Error::Parse { path: path.to_owned(), source })
    }

    /// Reads a resource; logs in with a session if basic authentication is refused.
    pub(super) async fn get(&mut self, path: &str, root: &ServiceRoot) -> Result<Answer, Error> {
        let response = self.read(path, true).await?;
        if response.status == StatusCode::UNAUTHORIZED && matches!(self.login, Login::Basic(_)) {
            self.log_in(root).await?;
            let response = self.read(path, true).await?;
            return self.judge("GET", path, response);
        }
        self.judge("GET", path, response)
    }

    /// Reads what is at `path`, or where the service says that it is now, as long as that is the same service.
    async fn read(&mut self, path: &str, log_in: bool) -> Result<Response, Error> {
        let mut at = path.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let headers = if log_in { self.headers(None) } else { HeaderMap::new() };
            let response = self.send(Method::GET, &at, headers, Bytes::new()).await?;
            let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(location) = location.filter(|_| response.status.is_redirection()) else {
                return Ok(response);
            };
            let away = || Error::Redirect { path: path.to_owned(), to: shown(location) };
            let next = links::path(location, &self.origin, "Location").map_err(|_| away())?;
            if next == at {
                return Err(away());
            }
            at = next;
        }
        Err(Error::Redirect { path: path.to_owned(), to: shown(&at) })
    }

    pub(super) async fn post(&mut self, path: &str, body: &serde_json::Value) -> Result<(), Error> {
        let sent = self.send(Method::POST, path, self.headers(None), body.to_string().into()).await;
        let response = sent.map_err(|error| match error {
            Error::Web { path, source } if source.may_have_arrived() => Error::Unsure { path, source },
            error => error,
        })?;
        self.judge("POST", path, response).map(drop)
    }

    /// Changes a resource, if `etag` is given only in that version.
    pub(super) async fn patch(
        &mut self,
        path: &str,
        etag: Option<&HeaderValue>,
        body: &serde_json::Value,
    ) -> Result<(), Error> {
        let response = self.send(Method::PATCH, path, self.headers(etag), body.to_string().into()).await?;
        self.judge("PATCH", path, response).map(drop)
    }

    /// Ends the session, if there is one.
    pub(super) async fn log_out(&mut self) {
        let Login::Session(_, Some(path)) = &self.login else { return };
        let path = path.clone();
        let deleting = self.send(Method::DELETE, &path, self.headers(None), Bytes::new());
        // A session that could not be deleted ends by the BMC's own timeout.
        let _ = tokio::time::timeout(LOG_OUT_LIMIT, deleting).await;
    }

    async fn log_in(&mut self, root: &ServiceRoot) -> Result<(), Error> {
        // Only a service with basic authentication gets here, and that has TLS.
        let path = root.sessions.as_deref().unwrap_or(DEFAULT_SESSIONS);
        let body = json!({
            "UserName": self.credentials.user.expose_secret(),
            "Password": self.credentials.pass.expose_secret(),
        });
        let response = self.send(Method::POST, path, HeaderMap::new(), body.to_string().into()).await?;
        let refused = |status: StatusCode| Error::Auth { path: path.to_owned(), status: status.as_u16() };
        if !response.status.is_success() {
            return Err(refused(response.status));
        }
        let mut token = response.headers.get(TOKEN).cloned().ok_or_else(|| refused(response.status))?;
        token.set_sensitive(true);
        let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        self.login = Login::Session(token, location.and_then(session_path));
        Ok(())
    }

    fn headers(&self, etag: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match &self.login {
            Login::None => None,
            Login::Basic(value) => headers.insert(AUTHORIZATION, value.clone()),
            Login::Session(token, _) => headers.insert(TOKEN, token.clone()),
        };
        if let Some(etag) = etag {
            headers.insert(IF_MATCH, etag.clone());
        }
        headers
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        let sent = self.connection.send(method, path, headers, body).await;
        sent.map_err(|source| Error::Web { path: path.to_owned(), source })
    }

    fn judge(&self, method: &'static str, path: &str, response: Response) -> Result<Answer, Error> {
        let path = path.to_owned();
        let status = response.status.as_u16();
        match response.status {
            success if success.is_success() => {
                Ok(Answer { body: response.body, etag: response.headers.get(ETAG).cloned() })
            }
            StatusCode::UNAUTHORIZED if matches!(self.login, Login::None) => Err(Error::Insecure { path }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::Auth { path, status }),
            _ => Err(Error::Status { method, path, status, text: error_message(&response.body) }),
        }
    }
}

/// As much of a location as belongs into a message.
fn shown(location: &str) -> String {
    location.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect()
}

fn basic(credentials: &Credentials) -> HeaderValue {
    let pair =
        Zeroizing::new(format!("{}:{}", credentials.user.expose_secret(), credentials.pass.expose_secret()));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    // Base64 is always a valid header value.
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// A session's path: BMCs give it with and without scheme and host.
fn session_path(location: &str) -> Option<String> {
    let path = match location.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map(|(_, path)| format!("/{path}"))?,
        None => location.to_owned(),
    };
    (path.starts_with("/redfish/") && path.bytes().all(|byte| byte.is_ascii_graphic())).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sessions_path_in_every_kind_of_location() {
        let path = "/redfish/v1/SessionService/Sessions/1";
        for location in [path.to_owned(), format!("https://bmc:443{path}")] {
            assert_eq!(session_path(&location).as_deref(), Some(path));
        }
        for location in ["", "https://bmc", "/other", "https://bmc/other", "/redfish/v1/a b"] {
            assert_eq!(session_path(location), None, "{location}");
        }
    }
}
