//! The client's identity, from a talosconfig.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use zeroize::Zeroizing;

/// How Talos labels Ed25519 keys, and how PEM readers know them.
const TALOS_LABEL: &str = "ED25519 PRIVATE KEY";
const USUAL_LABEL: &str = "PRIVATE KEY";

/// Why a talosconfig gives no identity.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It is no YAML of that form.
    #[error("failed to read the talosconfig")]
    Yaml(#[source] serde_norway::Error),
    /// The context that it names is not in it.
    #[error("failed to find the context {name:?} of the talosconfig")]
    NoContext {
        /// Its name.
        name: String,
    },
    /// A field is absent or no PEM in base64.
    #[error("failed to read {field:?} of the talosconfig")]
    Field {
        /// Its name.
        field: &'static str,
    },
}

/// What a client shows, and whom it believes.
#[derive(Clone)]
pub struct Credentials {
    authority: String,
    certificate: String,
    key: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Talosconfig {
    #[serde(default)]
    context: String,
    #[serde(default)]
    contexts: std::collections::BTreeMap<String, Context>,
}

#[derive(Deserialize)]
struct Context {
    #[serde(default)]
    ca: String,
    #[serde(default)]
    crt: String,
    #[serde(default)]
    key: String,
}

impl Credentials {
    /// Of the current context. Its endpoints do not count: the caller knows the nodes.
    pub fn from_talosconfig(text: &str) -> Result<Self, CredentialsError> {
        let Talosconfig { context: name, mut contexts } =
            serde_norway::from_str(text).map_err(CredentialsError::Yaml)?;
        let Some(context) = contexts.remove(&name) else { return Err(CredentialsError::NoContext { name }) };
        let Context { ca, crt, key } = context;
        let key = Zeroizing::new(key);
        let (authority, certificate) = (pem(&ca, "ca")?.to_string(), pem(&crt, "crt")?.to_string());
        let key = Zeroizing::new(pem(&key, "key")?.replace(TALOS_LABEL, USUAL_LABEL));
        Ok(Self { authority, certificate, key })
    }

    /// For a node that is called by this host: its certificate must be good for it.
    pub(crate) fn tls(&self, host: &str) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(Identity::from_pem(&self.certificate, self.key.as_bytes()))
            .domain_name(host)
            // Talos before 1.9 does not say that it speaks HTTP/2.
            .assume_http2(true)
    }
}

fn pem(text: &str, field: &'static str) -> Result<Zeroizing<String>, CredentialsError> {
    let octets = STANDARD.decode(text.trim()).map_err(|_| CredentialsError::Field { field })?;
    let text = String::from_utf8(octets).map_err(|_| CredentialsError::Field { field })?;
    if text.contains("-----BEGIN ") {
        Ok(Zeroizing::new(text))
    } else {
        Err(CredentialsError::Field { field })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talosconfig(context: &str, crt: &str, key: &str) -> String {
        format!(
            "context: {context}\ncontexts:\n  c:\n    endpoints: []\n    ca: {crt}\n    crt: {crt}\n    key: {key}\n"
        )
    }

    #[test]
    fn talos_label_becomes_the_usual_one_and_what_is_missing_is_named() {
        let crt = STANDARD.encode("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n");
        let key =
            STANDARD.encode("-----BEGIN ED25519 PRIVATE KEY-----\nAA==\n-----END ED25519 PRIVATE KEY-----\n");
        let read = Credentials::from_talosconfig(&talosconfig("c", &crt, &key)).unwrap();
        assert_eq!(read.key.as_str(), "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n");
        for (text, expected) in [
            (talosconfig("other", &crt, &key), "failed to find the context \"other\" of the talosconfig"),
            (talosconfig("c", "''", &key), "failed to read \"ca\" of the talosconfig"),
            (talosconfig("c", &crt, "'%%'"), "failed to read \"key\" of the talosconfig"),
            ("[]".to_owned(), "failed to read the talosconfig"),
            (String::new(), "failed to find the context \"\" of the talosconfig"),
        ] {
            assert_eq!(Credentials::from_talosconfig(&text).unwrap_err().to_string(), expected, "{text}");
        }
        let shown = format!("{read:?}");
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }
}
