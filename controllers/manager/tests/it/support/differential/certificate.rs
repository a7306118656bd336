//! What a key or a certificate says, without what is random in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x509_parser::pem::Pem;

/// What is said by base64 of a PEM text, or by the text itself; nothing by any other text.
pub(super) fn describe(text: &str) -> Option<Value> {
    let decoded = STANDARD.decode(text).ok().and_then(|octets| String::from_utf8(octets).ok());
    let pem = decoded.as_deref().unwrap_or(text);
    if !pem.starts_with("-----BEGIN ") {
        return None;
    }
    let blocks = Pem::iter_from_buffer(pem.as_bytes()).map(|block| of(&block.unwrap()));
    Some(json!(blocks.collect::<Vec<_>>()))
}

fn of(block: &Pem) -> Value {
    if block.label != "CERTIFICATE" {
        return json!({ "label": block.label });
    }
    let certificate = block.parse_x509().unwrap();
    let life = certificate.validity();
    let days = (life.not_after.timestamp() - life.not_before.timestamp()) / 86_400;
    let mut extensions: Vec<String> = certificate
        .extensions()
        .iter()
        .map(|one| {
            let critical = if one.critical { "critical " } else { "" };
            let key = matches!(
                one.parsed_extension(),
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(_)
                    | x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(_)
            );
            // These name keys.
            let value = if key { String::new() } else { format!(" {:?}", one.parsed_extension()) };
            format!("{critical}{}{value}", one.oid)
        })
        .collect();
    extensions.sort();
    json!({
        "label": block.label,
        "subject": certificate.subject().to_string(),
        "issuer": certificate.issuer().to_string(),
        "signature": certificate.signature_algorithm.algorithm.to_string(),
        "key": certificate.public_key().algorithm.algorithm.to_string(),
        "days": days,
        "extensions": extensions,
    })
}
