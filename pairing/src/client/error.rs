//! Why a request to the appliance failed, in words that say what to do next.

use std::io;
use std::time::Duration;

use super::endpoint::Endpoint;
use crate::{CertificateError, Fingerprint};

/// Why a request to the appliance failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection: unknown name, no route, nothing listening.
    #[error(
        "failed to connect to the appliance at {endpoint} (check the address, which its console shows, that it is up, \
         and that no firewall is in between)"
    )]
    Connect {
        /// The appliance.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// No answer in time.
    #[error(
        "failed to get an answer from {endpoint} within {} s; check the address, which the appliance's console shows, \
         and that no firewall is in between",
        limit.as_secs()
    )]
    Timeout {
        /// The appliance.
        endpoint: Endpoint,
        /// How long was waited.
        limit: Duration,
    },
    /// Whoever answers has another key than the code says; nothing secret was sent.
    #[error(
        "failed to recognize the appliance at {endpoint}: its key has the fingerprint {found}, the pairing code \
         says {expected}; this is another appliance than the one that shows the code, its keys were made anew, \
         or someone is in between. The secret was not sent"
    )]
    Fingerprint {
        /// Who answered.
        endpoint: Endpoint,
        /// From the code.
        expected: Fingerprint,
        /// From the handshake.
        found: Fingerprint,
    },
    /// The TLS handshake failed for another reason.
    #[error(
        "failed to set up TLS with {endpoint} (is it an appliance, and the one that the kubeconfig was made for? One \
         whose keys were made anew needs a new kubeconfig)"
    )]
    Tls {
        /// The appliance.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// HTTP failed under way.
    #[error("failed to exchange a request with {endpoint}")]
    Http {
        /// The appliance.
        endpoint: Endpoint,
        /// Why.
        source: hyper::Error,
    },
    /// The answer is larger than any real one.
    #[error("failed to read the answer of {endpoint}: it is larger than {limit} bytes")]
    TooLarge {
        /// The appliance.
        endpoint: Endpoint,
        /// The limit.
        limit: usize,
    },
    /// The secret is not (or no longer) this appliance's.
    #[error(
        "failed to pair with {endpoint}: the code was refused; it may have been re-issued, the appliance's console \
         shows the current one"
    )]
    WrongCode {
        /// The appliance.
        endpoint: Endpoint,
    },
    /// Too many wrong codes.
    #[error(
        "failed to pair with {endpoint}: too many wrong codes{}",
        retry_after.map_or_else(String::new, |wait| format!("; try again in {} s", wait.as_secs()))
    )]
    RateLimited {
        /// The appliance.
        endpoint: Endpoint,
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// The plane is not that far yet.
    #[error("failed to get what was asked from {endpoint}: {message}")]
    NotReady {
        /// The appliance.
        endpoint: Endpoint,
        /// The appliance's words.
        message: String,
    },
    /// The appliance pairs in another way.
    #[error(
        "failed to pair with {endpoint}: the appliance is of an earlier version, which signs no certificate requests; \
         use the `bloomery` program of its version, or update the appliance"
    )]
    OtherVersion {
        /// The appliance.
        endpoint: Endpoint,
    },
    /// The certificate has expired or was revoked.
    #[error("failed to be recognized by {endpoint}: {message}")]
    CertificateNotGood {
        /// The appliance.
        endpoint: Endpoint,
        /// The appliance's words.
        message: String,
    },
    /// A key could not be made, read, or sign.
    #[error("failed to use the client key")]
    Key {
        /// Why.
        source: rcgen::Error,
    },
    /// Any other refusal.
    #[error("failed to get what was asked: {endpoint} refused with status {status}: {message}")]
    Refused {
        /// The appliance.
        endpoint: Endpoint,
        /// HTTP status.
        status: u16,
        /// The appliance's words.
        message: String,
    },
    /// The answer is not what was asked for.
    #[error("failed to understand the answer of {endpoint}")]
    Decode {
        /// The appliance.
        endpoint: Endpoint,
        /// Why.
        source: serde_json::Error,
    },
    /// The request could not be put together.
    #[error("failed to encode the request")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
    /// The HTTP request could not be put together.
    #[error("failed to build the request")]
    Build {
        /// Why.
        source: hyper::http::Error,
    },
    /// The TLS library refuses the settings or the key.
    #[error("failed to set up the TLS client")]
    TlsConfig {
        /// Why.
        source: rustls::Error,
    },
    /// A certificate or key is not PEM.
    #[error("failed to parse the {what}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate authority cannot be used.
    #[error("failed to use the certificate authority")]
    CertificateAuthority {
        /// Why.
        source: rustls::Error,
    },
    /// The server's certificate cannot be parsed.
    #[error("failed to read the certificate of {endpoint}")]
    Certificate {
        /// The appliance.
        endpoint: Endpoint,
        /// Why.
        source: CertificateError,
    },
    /// The name to verify is not a DNS name or address.
    #[error("failed to use {name:?} as a server name")]
    ServerName {
        /// The name.
        name: String,
        /// Why.
        source: rustls_pki_types::InvalidDnsNameError,
    },
}
