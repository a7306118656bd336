//! Masks what must not stand on a screen: whatever may be a secret by its name, its place or its text.
//!
//! Masks rather too much: a text that a user wrote may hold anything.

use anyhow::Context as _;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_norway::Value;

/// In the place of a secret.
const MASK: &str = "******";
/// Ends of names of secrets, in lower case: `aescbcEncryptionSecret`, `bootstrapToken`, `privateKey`.
const SECRET_NAMES: [&str; 6] = ["token", "secret", "key", "password", "passphrase", "auth"];
/// Names of texts that a user wrote, and of variables of programs.
const FOREIGN_TEXTS: [&str; 4] = ["content", "contents", "env", "environment"];
/// Names that end as secrets do and are none: fields with addresses of keys, of which the value is a word.
const HARMLESS: [&str; 2] = ["nodekey", "topologykey"];

/// The same documents with masks.
pub(super) fn masked(config: &str) -> anyhow::Result<String> {
    let mut documents = Vec::new();
    for document in serde_norway::Deserializer::from_str(config) {
        let mut value = Value::deserialize(document).context("failed to read it as YAML")?;
        mask(&mut value);
        documents.push(serde_norway::to_string(&value).context("failed to write it as YAML")?);
    }
    Ok(documents.join("---\n"))
}

fn mask(value: &mut Value) {
    match value {
        Value::Mapping(fields) => {
            for (key, value) in fields.iter_mut() {
                let name = key.as_str().unwrap_or_default().to_lowercase();
                if is_secret(&name) || FOREIGN_TEXTS.contains(&name.as_str()) {
                    mask_all(value);
                } else {
                    mask(value);
                }
            }
        }
        Value::Sequence(list) => list.iter_mut().for_each(mask),
        Value::String(text) if holds_secret(text) => MASK.clone_into(text),
        Value::Tagged(tagged) => mask(&mut tagged.value),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_secret(name: &str) -> bool {
    !HARMLESS.contains(&name) && SECRET_NAMES.iter().any(|end| name.ends_with(end))
}

/// Every value below; what is empty stays so that its absence shows.
fn mask_all(value: &mut Value) {
    match value {
        Value::Mapping(fields) => fields.iter_mut().for_each(|(_, value)| mask_all(value)),
        Value::Sequence(list) => list.iter_mut().for_each(mask_all),
        Value::String(text) if !text.is_empty() => MASK.clone_into(text),
        Value::Number(_) => *value = Value::String(MASK.to_owned()),
        Value::Tagged(tagged) => mask_all(&mut tagged.value),
        Value::String(_) | Value::Null | Value::Bool(_) => {}
    }
}

/// A private key, plain or in base64; a URL with a password or a query, where tokens stand.
fn holds_secret(text: &str) -> bool {
    let is_key = |text: &[u8]| text.windows(11).any(|part| part == b"PRIVATE KEY");
    let decoded = || BASE64.decode(text.trim().as_bytes()).is_ok_and(|octets| is_key(&octets));
    let url = text.split_once("://").map(|(_, rest)| rest);
    let has_password = url.is_some_and(|rest| rest.split('/').next().is_some_and(|host| host.contains('@')));
    let has_query = url.is_some_and(|rest| rest.contains('?'));
    is_key(text.as_bytes()) || has_password || has_query || decoded()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_not() {
        let key = BASE64.encode(b"-----BEGIN EC PRIVATE KEY-----\nhidden");
        let crt = BASE64.encode(b"-----BEGIN CERTIFICATE-----\nshown");
        let config = format!(
            "machine:
  type: controlplane
  token: hidden
  ca: {{crt: {crt}, key: {key}}}
  other: {key}
  env: {{https_proxy: 'http://hidden@proxy'}}
  files: [{{path: /etc/shown, content: hidden}}]
  registries:
    config: {{r: {{auth: {{username: hidden, password: hidden}}}}}}
cluster:
  secret: hidden
  aescbcEncryptionSecret: hidden
  secretboxEncryptionSecret: ''
  serviceAccount: {{key: {key}}}
  controlPlane: {{endpoint: 'https://10.0.0.1:6443'}}
  inlineManifests: [{{name: shown, contents: hidden}}]
---
apiVersion: v1alpha1
kind: SideroLinkConfig
apiUrl: grpc://10.0.0.1:8081?jointoken=hidden
---
kind: KmsgLogConfig
url: tcp://user:hidden@[fd00::1]:4001/
---
kind: WireguardConfig
privateKey: hidden
peers: [{{publicKey: x, presharedKey: hidden}}]
"
        );
        let masked = masked(&config).unwrap();
        assert!(!masked.contains("hidden") && !masked.contains(&key), "{masked}");
        for shown in
            ["type: controlplane", &crt, "/etc/shown", "https://10.0.0.1:6443", "kind: SideroLinkConfig"]
        {
            assert!(masked.contains(shown), "{shown}: {masked}");
        }
        assert!(masked.contains("secretboxEncryptionSecret: ''"), "{masked}");
        assert_eq!(masked.matches("---\n").count(), 3, "{masked}");
        // What is masked once stays as it is.
        assert_eq!(super::masked(&masked).unwrap(), masked);
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        assert!(masked("a: [").is_err());
    }
}
