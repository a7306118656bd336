//! Why a request to the appliance failed, in words that say what to do next.

use std::io;
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::{CertificateError, Fingerprint};

/// Why a request to the appliance failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ClientError {
    /// No connection: unknown name, no route, nothing listening.
    #[error(
        "failed to connect to the appliance at {endpoint} (check the address, which its console shows, that it is up, \
         and that no firewall is in between)"
    )]
    Connect { endpoint: Endpoint, source: io::Error },
    #[error(
        "failed to get an answer from {endpoint} within {} s; check the address, which the appliance's console shows, \
         and that no firewall is in between",
        limit.as_secs()
    )]
    Timeout { endpoint: Endpoint, limit: Duration },
    /// Whoever answers has another key than the code says; nothing secret was sent.
    #[error(
        "failed to recognize the appliance at {endpoint}: its key has the fingerprint {found}, the pairing code \
         says {expected}; this is another appliance than the one that shows the code, its keys were made anew, \
         or someone is in between. The secret was not sent"
    )]
    Fingerprint { endpoint: Endpoint, expected: Fingerprint, found: Fingerprint },
    #[error(
        "failed to set up TLS with {endpoint} (is it an appliance, and the one that the kubeconfig was made for? One \
         whose keys were made anew needs a new kubeconfig)"
    )]
    Tls { endpoint: Endpoint, source: io::Error },
    #[error("failed to exchange a request with {endpoint}")]
    Http { endpoint: Endpoint, source: hyper::Error },
    #[error("failed to read the answer of {endpoint}: it is larger than {limit} bytes")]
    TooLarge { endpoint: Endpoint, limit: usize },
    /// The secret is not (or no longer) this appliance's.
    #[error(
        "failed to pair with {endpoint}: the code was refused; it may have been re-issued, the appliance's console \
         shows the current one"
    )]
    WrongCode { endpoint: Endpoint },
    #[error(
        "failed to pair with {endpoint}: too many wrong codes{}",
        retry_after.map_or_else(String::new, |wait| format!("; try again in {} s", wait.as_secs()))
    )]
    RateLimited { endpoint: Endpoint, retry_after: Option<Duration> },
    #[error("failed to get what was asked from {endpoint}: {message}")]
    NotReady { endpoint: Endpoint, message: String },
    /// The appliance pairs in another way.
    #[error(
        "failed to pair with {endpoint}: the appliance is of an earlier version, which signs no certificate requests; \
         use the `bloomery` program of its version, or update the appliance"
    )]
    OtherVersion { endpoint: Endpoint },
    #[error("failed to be recognized by {endpoint}: {message}")]
    CertificateNotGood { endpoint: Endpoint, message: String },
    #[error("failed to use the client key")]
    Key { source: rcgen::Error },
    #[error("failed to get what was asked: {endpoint} refused with status {status}: {message}")]
    Refused {
        endpoint: Endpoint,
        /// HTTP status.
        status: u16,
        message: String,
    },
    #[error("failed to understand the answer of {endpoint}")]
    Decode { endpoint: Endpoint, source: serde_json::Error },
    #[error("failed to encode the request")]
    Encode { source: serde_json::Error },
    #[error("failed to build the request")]
    Build { source: hyper::http::Error },
    /// The TLS library refuses the settings or the key.
    #[error("failed to set up the TLS client")]
    TlsConfig { source: rustls::Error },
    #[error("failed to parse the {what}")]
    Pem { what: &'static str, source: rustls_pki_types::pem::Error },
    #[error("failed to use the certificate authority")]
    CertificateAuthority { source: rustls::Error },
    #[error("failed to read the certificate of {endpoint}")]
    Certificate { endpoint: Endpoint, source: CertificateError },
    #[error("failed to use {name:?} as a server name")]
    ServerName { name: String, source: rustls_pki_types::InvalidDnsNameError },
}
