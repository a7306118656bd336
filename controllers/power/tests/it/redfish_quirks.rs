//! Redfish services with the habits of real BMCs that sushy-emulator does not have.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bloomery_power::endpoint::{Origin, Scheme};
use bloomery_power::identity::Identity;
use bloomery_power::ipmi::Credentials;
use bloomery_power::redfish::Redfish;
use bloomery_power::{Action, Always, Bmc as _, PxeMode};

/// What this BMC is like, and what it was asked.
#[derive(Debug, Default)]
struct Habits {
    /// Value of `ResetType@Redfish.AllowableValues`.
    allowed: &'static str,
    /// Resets that are refused, with this status.
    refuses: Vec<(&'static str, u16)>,
    /// PATCH needs this version.
    etag: Option<&'static str>,
    /// PATCH must not have a mode.
    no_mode: bool,
    /// Answers the collection with this many bytes.
    flood: usize,
    off: Mutex<bool>,
    boot: Mutex<Option<String>>,
    seen: Mutex<Vec<String>>,
}

async fn answer(
    State(bmc): State<Arc<Habits>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Response {
    let status = |code: u16| StatusCode::from_u16(code).unwrap().into_response();
    let json = |text: String| ([("etag", bmc.etag.unwrap_or("\"0\""))], text).into_response();
    let path = uri.path();
    assert!(!headers.contains_key("authorization"), "no password over plain HTTP");
    if method != Method::GET {
        bmc.seen.lock().unwrap().push(format!("{method} {path} {body}"));
    }
    if path == "/redfish/v1/" {
        return json(r#"{"Systems":{"@odata.id":"/redfish/v1/Systems"}}"#.to_owned());
    }
    match (method.as_str(), path) {
        ("GET", "/redfish/v1/Systems") if bmc.flood > 0 => Body::from(vec![b' '; bmc.flood]).into_response(),
        ("GET", "/redfish/v1/Systems") => {
            json(r#"{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}]}"#.to_owned())
        }
        ("GET", _) => {
            let power = if *bmc.off.lock().unwrap() { "Off" } else { "On" };
            json(format!(
                r##"{{"PowerState":"{power}","UUID":"other","Boot":{},"Actions":{{"#ComputerSystem.Reset":{{"target":"/reset",
                "ResetType@Redfish.AllowableValues":{}}}}}}}"##,
                bmc.boot.lock().unwrap().as_deref().unwrap_or("null"),
                bmc.allowed
            ))
        }
        ("POST", "/reset") => {
            if let Some((_, code)) =
                bmc.refuses.iter().find(|(kind, _)| body.contains(&format!("\"{kind}\"")))
            {
                return status(*code);
            }
            *bmc.off.lock().unwrap() = body.contains("ForceOff");
            status(204)
        }
        ("PATCH", _) => match bmc.etag {
            Some(etag) if headers.get("if-match").is_none_or(|given| given != etag) => status(428),
            _ if bmc.no_mode && body.contains("Mode") => status(400),
            _ => {
                let change: serde_json::Value = serde_json::from_str(&body).unwrap();
                *bmc.boot.lock().unwrap() = Some(change["Boot"].to_string());
                status(200)
            }
        },
        _ => status(204),
    }
}

async fn bmc(habits: Habits) -> (Redfish, Arc<Habits>) {
    let habits = Arc::new(habits);
    let app = Router::new().fallback(answer).with_state(Arc::clone(&habits));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let origin = Origin { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port };
    let credentials = Credentials { user: "u".into(), pass: "p".into() };
    (Redfish::new(origin, Identity::of("a-uuid"), credentials, None), habits)
}

fn seen(habits: &Habits) -> Vec<String> {
    habits.seen.lock().unwrap().clone()
}

fn reset(kind: &str) -> String {
    format!("POST /reset {{\"ResetType\":\"{kind}\"}}")
}

/// Allowed resets, refused resets with their status, and the resets that are sent.
type Row = (&'static str, &'static [(&'static str, u16)], &'static [&'static str]);

#[tokio::test]
async fn a_cycle_that_is_refused_becomes_off_and_on() {
    let table: [Row; 4] = [
        (r#"["On","ForceOff","ForceRestart","PowerCycle"]"#, &[], &["ForceRestart"]),
        (r#"["On","ForceOff","PowerCycle"]"#, &[], &["PowerCycle"]),
        (r#"["On","ForceOff","PowerCycle"]"#, &[("PowerCycle", 501)], &["PowerCycle", "ForceOff", "On"]),
        (r#"["On","ForceOff"]"#, &[], &["ForceOff", "On"]),
    ];
    for (allowed, refuses, expected) in table {
        let (client, habits) = bmc(Habits { allowed, refuses: refuses.to_vec(), ..Habits::default() }).await;
        client.command(Action::Cycle, &Always).await.unwrap();
        let expected: Vec<String> = expected.iter().map(|kind| reset(kind)).collect();
        assert_eq!(seen(&habits), expected);
    }
}

#[tokio::test]
async fn a_refusal_to_switch_on_what_is_on_is_no_failure() {
    let refuses = vec![("On", 409), ("ForceOff", 409)];
    let (client, _) = bmc(Habits { allowed: r#"["On","ForceOff"]"#, refuses, ..Habits::default() }).await;
    client.command(Action::On, &Always).await.unwrap();
    let error = client.command(Action::Off, &Always).await.unwrap_err();
    assert_eq!((error.category(), error.is_retryable()), ("refused", true));
    assert!(error.to_string().contains("HTTP status 409"), "{error}");
    let (client, _) = bmc(Habits { allowed: r#"["GracefulShutdown"]"#, ..Habits::default() }).await;
    let error = client.command(Action::Off, &Always).await.unwrap_err();
    assert_eq!(error.category(), "unsupported");
    assert!(error.to_string().contains("only the resets GracefulShutdown"), "{error}");
}

#[tokio::test]
async fn the_boot_override_goes_without_a_mode_and_with_a_version_where_the_bmc_wants_it() {
    let patch = |mode: &str| {
        format!(
            "PATCH /redfish/v1/Systems/1 {{\"Boot\":{{\"BootSourceOverrideEnabled\":\"Once\",\"BootSourceOverrideTarget\":\"Pxe\"{mode}}}}}"
        )
    };
    let (uefi, legacy) =
        (patch(",\"BootSourceOverrideMode\":\"UEFI\""), patch(",\"BootSourceOverrideMode\":\"Legacy\""));
    let (client, habits) = bmc(Habits { allowed: "[]", ..Habits::default() }).await;
    client.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
    client.command(Action::PxeOnce(PxeMode::Bios), &Always).await.unwrap();
    assert_eq!(seen(&habits), [uefi.clone(), legacy.clone()]);

    let (client, habits) = bmc(Habits { allowed: "[]", no_mode: true, ..Habits::default() }).await;
    client.command(Action::PxeOnce(PxeMode::Bios), &Always).await.unwrap();
    assert_eq!(seen(&habits), [legacy, patch("")]);

    let (client, habits) = bmc(Habits { allowed: "[]", etag: Some("\"v7\""), ..Habits::default() }).await;
    client.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
    assert_eq!(seen(&habits), [uefi.clone(), uefi]);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let (client, _) = bmc(Habits { flood: 3 << 20, ..Habits::default() }).await;
    let error = client.power_state().await.unwrap_err();
    assert_eq!(error.category(), "protocol", "{error:?}");
}
