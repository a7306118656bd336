//! The next boot, and only it, from the network: each way a service may take it, until one has an effect.
//!
//! Never believes a status code: the override is read again.

use std::time::Duration;

use http::header::HeaderValue;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::error::Error;
use super::model::{ServiceRoot, parse_boot};
use super::service::Service;
use super::systems::Found;
use crate::bmc::PxeMode;

/// Where the override is written.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// The System.
    System,
    /// The resource that the System names for changes (`@Redfish.Settings`), if it does.
    Settings,
}

/// One way of writing it.
struct Way {
    place: Place,
    /// With `BootSourceOverrideMode`.
    mode: bool,
}

/// All ways, the best first: at the System an override holds at once, at its settings on some BMCs only after a job.
const WAYS: [Way; 4] = [
    Way { place: Place::System, mode: true },
    Way { place: Place::System, mode: false },
    Way { place: Place::Settings, mode: true },
    Way { place: Place::Settings, mode: false },
];

/// Before each look at what was stored: BMCs answer before they have.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(500), Duration::from_millis(1500)];

/// "The version you mean, please": 412 and 428.
const WANTS_VERSION: [Option<u16>; 2] = [Some(412), Some(428)];

/// Sets the override; fails with the list of what was tried.
pub(super) async fn from_network_once(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    found: &Found,
    mode: PxeMode,
) -> Result<(), Error> {
    let mut tried = Tried::default();
    for way in &WAYS {
        let path = match (way.place, &found.system.settings) {
            (Place::System, _) => &found.path,
            (Place::Settings, Some(settings)) => settings,
            (Place::Settings, None) => continue,
        };
        let body = body(way.mode.then_some(mode));
        let accepted = patch(service, root, path, found, &body, &mut tried).await?;
        if accepted {
            if holds(service, root, path, found).await {
                return Ok(());
            }
            tried.note(format!("PATCH {path}: accepted, but the BMC does not show it"), None);
        }
    }
    Err(tried.into_error())
}

/// What was tried, and the refusals.
#[derive(Default)]
struct Tried {
    words: Vec<String>,
    errors: Vec<Error>,
}

impl Tried {
    fn note(&mut self, words: String, error: Option<Error>) {
        self.words.push(words);
        self.errors.extend(error);
    }

    /// A user without rights is that, whatever was tried.
    fn into_error(mut self) -> Error {
        let all_auth = self.errors.len() == self.words.len()
            && self.errors.iter().all(|error| matches!(error, Error::Auth { .. }));
        match self.errors.pop() {
            Some(error) if all_auth => error,
            _ => Error::Tried { wanted: "set the next boot to the network", tried: self.words },
        }
    }
}

fn body(mode: Option<PxeMode>) -> Value {
    let mut boot = json!({ "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe" });
    let mode = mode.map(|mode| match mode {
        PxeMode::Uefi => "UEFI",
        PxeMode::Bios => "Legacy",
    });
    if let (Some(mode), Some(object)) = (mode, boot.as_object_mut()) {
        object.insert("BootSourceOverrideMode".to_owned(), mode.into());
    }
    json!({ "Boot": boot })
}

/// Changes a resource: without a version, and where the service wants one with each that may be meant. True if it was
/// accepted; an error only where there was no answer.
async fn patch(
    service: &mut Service<'_>,
    root: &ServiceRoot,
    path: &str,
    found: &Found,
    body: &Value,
    tried: &mut Tried,
) -> Result<bool, Error> {
    let mut versions = vec![None];
    let mut asked = false;
    let mut next = 0;
    while let Some(version) = versions.get(next).cloned() {
        next += 1;
        let Err(error) = service.patch(path, version.as_ref(), body).await else { return Ok(true) };
        if !error.is_refusal() {
            return Err(error);
        }
        let wants_version = WANTS_VERSION.contains(&error.status());
        tried.note(words(path, version.as_ref(), body, &error), Some(error));
        if !wants_version {
            return Ok(false);
        }
        if !asked {
            asked = true;
            let fresh = service.get(path, root).await.ok().and_then(|answer| answer.etag);
            versions.extend(candidates(fresh.or_else(|| found.etag.clone())).into_iter().map(Some));
        }
    }
    Ok(false)
}

/// Versions to send, the best first. If-Match compares strongly, so that a weak tag never matches (RFC 9110, 13.1.1)
/// but on BMCs that compare texts.
fn candidates(etag: Option<HeaderValue>) -> Vec<HeaderValue> {
    let strong = etag.as_ref().and_then(|tag| {
        let text = tag.to_str().ok()?;
        HeaderValue::from_str(text.strip_prefix("W/").or_else(|| text.strip_prefix("w/"))?).ok()
    });
    let any = HeaderValue::from_static("*");
    match (strong, etag) {
        (Some(strong), Some(weak)) => vec![strong, any, weak],
        (_, Some(etag)) => vec![etag, any],
        (_, None) => vec![any],
    }
}

fn words(path: &str, version: Option<&HeaderValue>, body: &Value, error: &Error) -> String {
    let mode = body.get("Boot").and_then(|boot| boot.get("BootSourceOverrideMode")).and_then(Value::as_str);
    let mode = mode.map_or_else(String::new, |mode| format!(" ({mode})"));
    let version = version.and_then(|version| version.to_str().ok());
    let version = version.map_or_else(String::new, |version| format!(" If-Match {version}"));
    match error {
        Error::Status { status, text, .. } if !text.is_empty() => {
            format!("PATCH {path}{mode}{version}: HTTP status {status} ({text})")
        }
        _ => format!("PATCH {path}{mode}{version}: HTTP status {}", error.status().unwrap_or_default()),
    }
}

/// The override is there: where it was written, or at the System.
async fn holds(service: &mut Service<'_>, root: &ServiceRoot, written: &str, found: &Found) -> bool {
    let mut places = vec![written];
    if written != found.path {
        places.push(&found.path);
    }
    for wait in LOOKS {
        sleep(wait).await;
        for path in &places {
            let Ok(answer) = service.get(path, root).await else { continue };
            if parse_boot(&answer.body).is_ok_and(|boot| boot.is_network()) {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_version_is_sent_strong_then_as_any_then_as_it_came() {
        let texts = |etag: Option<&'static str>| {
            let found = candidates(etag.map(HeaderValue::from_static));
            found.iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(Some("W/\"1\"")), ["\"1\"", "*", "W/\"1\""]);
        assert_eq!(texts(Some("\"1\"")), ["\"1\"", "*"]);
        assert_eq!(texts(None), ["*"]);
    }
}
