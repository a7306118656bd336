//! Redfish services with the habits of public bug reports: each refused way is the start of the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::mock::{Mock, ONE, OTHER, Reply, Request, Then, UUID, ordinary, system};
use bloomery_power::{Action, Always, Bmc as _, Power, PxeMode};

const SYSTEM: &str = "/redfish/v1/Systems/1";
const ACTIONS: [Action; 3] = [Action::On, Action::Off, Action::Cycle];

/// A BMC whose next boot is stored when `accepts` answers a PATCH with success, and shown at `shown`.
async fn boots(
    shown: &'static str,
    etag: Option<&'static str>,
    accepts: impl Fn(&Request) -> u16 + Send + Sync + 'static,
) -> Mock {
    let stored = AtomicBool::new(false);
    Mock::start(move |request| {
        let boot = |path: &str| {
            let set = stored.load(Ordering::SeqCst) && path == shown;
            let enabled = if set { r#"Once","BootSourceOverrideTarget":"pxe"# } else { "Disabled" };
            format!(
                r#""Boot":{{"BootSourceOverrideEnabled":"{enabled}"}},"@Redfish.Settings":{{"SettingsObject":{{"@odata.id":"{SYSTEM}/SD"}}}},"#
            )
        };
        let reply = match (request.method.as_str(), request.path.as_str()) {
            ("GET", SYSTEM) => Reply::new(200, system(SYSTEM, UUID, &boot(SYSTEM))),
            ("GET", path) if path.ends_with("/SD") => Reply::new(200, system(path, UUID, &boot(path))),
            ("PATCH", _) => {
                let status = accepts(request);
                if status < 300 {
                    stored.store(true, Ordering::SeqCst);
                }
                Reply::new(status, "")
            }
            _ => ordinary(request),
        };
        match etag {
            Some(etag) => reply.header(format!("ETag: {etag}")),
            None => reply,
        }
    })
    .await
}

fn patched(mock: &Mock) -> Vec<(String, bool, Option<String>)> {
    let all = mock.requests();
    let patches = all.iter().filter(|request| request.method == "PATCH");
    let words = |request: &Request| {
        (request.path.clone(), request.body.contains("Mode"), request.headers.get("if-match").cloned())
    };
    patches.map(words).collect()
}

async fn netboot(mock: &Mock) -> Result<(), bloomery_power::PowerError> {
    mock.driver(None).command(Action::PxeOnce(PxeMode::Uefi), &Always).await
}

#[tokio::test]
async fn the_override_goes_to_the_settings_resource_where_the_system_refuses_it() {
    let settings = "/redfish/v1/Systems/1/SD";
    let mock = boots(settings, None, move |request| if request.path == settings { 204 } else { 400 }).await;
    netboot(&mock).await.unwrap();
    let expected = [(SYSTEM, true), (SYSTEM, false), (settings, true)];
    let found = patched(&mock);
    let found: Vec<_> = found.iter().map(|(path, mode, _)| (path.as_str(), *mode)).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_accepted_override_that_is_not_stored_at_the_system_goes_to_the_settings() {
    let settings = "/redfish/v1/Systems/1/SD";
    let stored = boots(settings, None, |_| 200).await;
    netboot(&stored).await.unwrap();
    // Shown only where it was not written: that is stored all the same.
    let applied = boots(SYSTEM, None, |request| if request.path.ends_with("SD") { 202 } else { 405 }).await;
    netboot(&applied).await.unwrap();
}

#[tokio::test]
async fn an_override_that_is_stored_nowhere_is_a_failure_that_lists_what_was_tried() {
    let mock = boots("nowhere", None, |_| 200).await;
    let error = netboot(&mock).await.unwrap_err();
    assert_eq!(error.category(), "refused");
    let text = error.to_string();
    assert_eq!(text.matches("does not show it").count(), 4, "{text}");
    let mock = boots("nowhere", None, |request| if request.body.contains("Mode") { 400 } else { 405 }).await;
    let text = netboot(&mock).await.unwrap_err().to_string();
    for words in
        ["Systems/1 (UEFI): HTTP status 400", "Systems/1: HTTP status 405", "SD (UEFI): HTTP status 400"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[tokio::test]
async fn a_user_without_rights_is_told_so() {
    let mock = boots("nowhere", None, |_| 403).await;
    assert_eq!(netboot(&mock).await.unwrap_err().category(), "auth");
}

#[tokio::test]
async fn a_weak_version_is_sent_strong_then_as_any_then_as_it_came() {
    let strict = |request: &Request| match request.headers.get("if-match").map(String::as_str) {
        None => 428,
        Some("\"1\"") => 200,
        Some(_) => 412,
    };
    let mock = boots(SYSTEM, Some("W/\"1\""), strict).await;
    netboot(&mock).await.unwrap();
    let versions: Vec<_> = patched(&mock).into_iter().map(|(_, _, version)| version).collect();
    assert_eq!(versions, [None, Some("\"1\"".to_owned())]);

    let any = |request: &Request| {
        if request.headers.get("if-match").is_some_and(|tag| tag == "*") { 200 } else { 412 }
    };
    let mock = boots(SYSTEM, Some("W/\"1\""), any).await;
    netboot(&mock).await.unwrap();
    assert_eq!(patched(&mock).len(), 3);

    let literal = |request: &Request| {
        if request.headers.get("if-match").is_some_and(|tag| tag == "W/\"1\"") { 200 } else { 412 }
    };
    let mock = boots(SYSTEM, Some("W/\"1\""), literal).await;
    netboot(&mock).await.unwrap();
    assert_eq!(patched(&mock).len(), 4);
}

#[tokio::test]
async fn a_connection_that_is_closed_after_each_answer_without_a_word_is_made_anew() {
    for wait in [0, 1, 20] {
        let off = AtomicBool::new(false);
        let mock = Mock::start(move |request| {
            if request.method == "POST" {
                off.store(request.body.contains("ForceOff"), Ordering::SeqCst);
            }
            ordinary(request).then(Then::Close(Duration::from_millis(wait)))
        })
        .await;
        let client = mock.driver(None);
        assert_eq!(client.power_state().await.unwrap(), Power::On, "{wait} ms");
        for action in ACTIONS {
            client.command(action, &Always).await.unwrap();
        }
        assert_eq!(mock.changes().len(), ACTIONS.len(), "each action is sent once: {:?}", mock.changes());
    }
}

#[tokio::test]
async fn a_connection_that_is_reset_at_the_second_request_is_made_anew() {
    let mock = Mock::start(|request| {
        let then = if request.number > 0 { Then::Silent } else { Then::Keep };
        ordinary(request).then(then)
    })
    .await;
    let client = mock.driver(None);
    assert_eq!(client.power_state().await.unwrap(), Power::On);
    client.command(Action::Cycle, &Always).await.unwrap();
    assert_eq!(mock.changes().len(), 1);
}

#[tokio::test]
async fn an_action_whose_answer_does_not_come_is_not_sent_again() {
    let powered = Arc::new(AtomicBool::new(true));
    for (action, done, is_ok) in
        [(Action::Cycle, true, false), (Action::Off, true, true), (Action::Off, false, false)]
    {
        powered.store(true, Ordering::SeqCst);
        let state = Arc::clone(&powered);
        let mock = Mock::start(move |request| match request.method.as_str() {
            "POST" => {
                state.store(!(done && request.body.contains("ForceOff")), Ordering::SeqCst);
                Reply::new(204, "").then(Then::Silent)
            }
            "GET" if request.path == SYSTEM && !state.load(Ordering::SeqCst) => {
                Reply::new(200, system(SYSTEM, UUID, "").replace("\"On\",", "\"Off\","))
            }
            _ => ordinary(request),
        })
        .await;
        let result = mock.driver(None).command(action, &Always).await;
        assert_eq!(result.is_ok(), is_ok, "{action:?} {done}: {result:?}");
        assert_eq!(mock.changes().len(), 1, "{:?}", mock.changes());
        if let Err(error) = result {
            assert_eq!(error.category(), "unsure");
        }
    }
}

/// A BMC with a baseboard that cannot be read, or a page that is not all.
async fn members(first: Reply, collection: &'static str, second: &'static str) -> Mock {
    Mock::start(move |request| match request.path.as_str() {
        "/redfish/v1/Systems" => Reply::new(200, collection),
        "/redfish/v1/Systems?$skip=1" => Reply::new(200, second),
        "/redfish/v1/Systems/HGX_Baseboard_0" => first.clone(),
        _ => ordinary(request),
    })
    .await
}

const BOTH: &str = r#"{"Members@odata.count":2,"Members":[{"@odata.id":"/redfish/v1/Systems/HGX_Baseboard_0"},{"@odata.id":"/redfish/v1/Systems/1"}]}"#;

#[tokio::test]
async fn a_member_that_cannot_be_read_does_not_hide_the_right_one() {
    let html = Reply::new(200, "<html>not now</html>");
    let table = [
        Reply::new(503, ""),
        Reply::new(404, ""),
        Reply::new(403, ""),
        html,
        Reply::new(200, "").then(Then::Silent),
        Reply::new(200, r#"{"Name":"no UUID"}"#),
    ];
    for first in table {
        let mock = members(first.clone(), BOTH, "").await;
        let client = mock.driver(None);
        assert_eq!(client.power_state().await.unwrap(), Power::On, "{first:?}");
        for action in ACTIONS {
            client.command(action, &Always).await.unwrap();
        }
        assert!(mock.changes().iter().all(|change| change.contains(SYSTEM)), "{:?}", mock.changes());
    }
}

#[tokio::test]
async fn a_member_without_a_link_does_not_hide_the_right_one_but_is_one() {
    for odd in ["7", "{}", r#"{"@odata.id":"https://elsewhere/redfish/v1/Systems/2"}"#] {
        let collection = format!(r#"{{"Members":[{odd},{{"@odata.id":"{SYSTEM}"}}]}}"#);
        let collection: &'static str = collection.leak();
        let mock = members(Reply::new(404, ""), collection, "").await;
        assert_eq!(mock.driver(None).power_state().await.unwrap(), Power::On, "{odd}");
        // With it the other is not "the only one".
        let nameless = Mock::start(move |request| match request.path.as_str() {
            "/redfish/v1/Systems" => Reply::new(200, collection),
            SYSTEM => Reply::new(200, r#"{"PowerState":"On"}"#),
            _ => ordinary(request),
        })
        .await;
        assert!(nameless.driver(None).power_state().await.is_err(), "{odd}");
    }
}

#[tokio::test]
async fn when_none_is_the_machine_the_error_says_what_could_not_be_read() {
    let mock = Mock::start(|request| match request.path.as_str() {
        "/redfish/v1/Systems" => Reply::new(200, BOTH),
        SYSTEM => Reply::new(200, system(SYSTEM, OTHER, "")),
        "/redfish/v1/Systems/HGX_Baseboard_0" => Reply::new(503, ""),
        _ => ordinary(request),
    })
    .await;
    let error = mock.driver(None).command(Action::Cycle, &Always).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("none of the BMC's 2 Systems") && text.contains("HGX_Baseboard_0: HTTP status 503"),
        "{text}"
    );
    assert!(error.is_retryable() && mock.changes().is_empty());
}

const PAGE: &str = r#"{"Members@odata.count":2,"Members":[{"@odata.id":"/redfish/v1/Systems/HGX_Baseboard_0"}],
    "Members@odata.nextLink":"/redfish/v1/Systems?$skip=1"}"#;

#[tokio::test]
async fn all_pages_of_a_collection_are_read() {
    let other = Reply::new(200, system("/redfish/v1/Systems/HGX_Baseboard_0", OTHER, ""));
    let mock = members(other.clone(), PAGE, ONE).await;
    let client = mock.driver(None);
    assert_eq!(client.power_state().await.unwrap(), Power::On);
    client.command(Action::Cycle, &Always).await.unwrap();
    assert_eq!(mock.changes(), [format!("POST {SYSTEM}/reset {{\"ResetType\":\"ForceRestart\"}}")]);
}

#[tokio::test]
async fn a_page_of_one_is_not_one_system() {
    let nameless = Reply::new(200, system("/redfish/v1/Systems/HGX_Baseboard_0", "", ""));
    let lone = r#"{"Members":[{"@odata.id":"/redfish/v1/Systems/HGX_Baseboard_0"}]}"#;
    let circle = r#"{"Members":[],"Members@odata.nextLink":"/redfish/v1/Systems?$skip=1"}"#;
    let counted =
        r#"{"Members@odata.count":2,"Members":[{"@odata.id":"/redfish/v1/Systems/HGX_Baseboard_0"}]}"#;
    for (first, second, is_ok) in [
        (lone, "", true),
        (PAGE, "<html>", false),
        (PAGE, circle, false),
        (PAGE, r#"{"Members":[]}"#, false),
        (counted, "", false),
    ] {
        let mock = members(nameless.clone(), first, second).await;
        let result = mock.driver(None).command(Action::Cycle, &Always).await;
        assert_eq!(result.is_ok(), is_ok, "{first} {second}: {result:?}");
        assert_eq!(mock.changes().is_empty(), !is_ok);
    }
}

#[tokio::test]
async fn two_systems_with_the_machines_uuid_are_one_too_many() {
    let twin = Reply::new(200, system("/redfish/v1/Systems/HGX_Baseboard_0", UUID, ""));
    let mock = members(twin, BOTH, "").await;
    let error = mock.driver(None).command(Action::Cycle, &Always).await.unwrap_err();
    assert!(error.is_about_identity() && mock.changes().is_empty(), "{error:?}");
}

#[tokio::test]
async fn one_bad_character_does_not_hide_the_rest() {
    let plain = system(SYSTEM, UUID, "");
    let with = |more: &str| system(SYSTEM, UUID, more).into_bytes();
    let table: [(Vec<u8>, bool); 9] = [
        (with("\"Note\":\"a\rb\","), true),
        (with("\"Note\":\"a\x00\x1fb\","), true),
        ([b"\xef\xbb\xbf", plain.as_bytes()].concat(), true),
        ([plain.as_bytes(), b"\0"].concat(), true),
        (with("\"PowerState\":\"Off\","), true),
        ([&with("\"Note\":\"")[..], b""].concat(), false),
        (with("\"Note\":\"x\",").iter().map(|byte| if *byte == b'x' { 0xff } else { *byte }).collect(), true),
        (plain.replace("\"On\",", "\"on\",").into_bytes(), true),
        (plain.replace("\"On\",", "\"maybe\",").into_bytes(), false),
    ];
    for (body, is_ok) in table {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let mock = Mock::start(move |request| match request.path.as_str() {
            SYSTEM => Reply::new(200, body.clone()),
            _ => ordinary(request),
        })
        .await;
        assert_eq!(mock.driver(None).power_state().await.is_ok(), is_ok, "{shown:?}");
    }
    // In a field that is read it is not taken for another value.
    let mut wrong = plain.into_bytes();
    let at = wrong.windows(4).position(|four| four == b"\"On\"").unwrap();
    wrong[at + 1] = 0xff;
    let mock = Mock::start(move |request| match request.path.as_str() {
        SYSTEM => Reply::new(200, wrong.clone()),
        _ => ordinary(request),
    })
    .await;
    assert_eq!(mock.driver(None).power_state().await.unwrap_err().category(), "protocol");
}

#[tokio::test]
async fn links_with_the_own_host_and_headers_with_a_blank_are_taken() {
    let port = Arc::new(AtomicUsize::new(0));
    let own = Arc::clone(&port);
    let mock = Mock::start(move |request| {
        let base = format!("https://127.0.0.1:{}", own.load(Ordering::SeqCst));
        let reply = ordinary(request);
        let body =
            String::from_utf8(reply.body).unwrap().replace("/redfish/v1/", &format!("{base}/redfish/v1/"));
        Reply {
            headers: vec!["Content-Type : application/json".to_owned()],
            body: body.into_bytes(),
            ..reply
        }
    })
    .await;
    port.store(mock.origin.port.into(), Ordering::SeqCst);
    let client = mock.driver(None);
    assert_eq!(client.power_state().await.unwrap(), Power::On);
    client.command(Action::Cycle, &Always).await.unwrap();
    assert_eq!(mock.changes().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_followed_on_the_same_host_only() {
    for (location, is_ok) in [
        ("/redfish/v1", true),
        ("https://127.0.0.1/redfish/v1", true),
        ("https://198.51.100.9/redfish/v1", false),
        ("//198.51.100.9/redfish/v1", false),
        ("/redfish/v1/", false),
        ("ftp://127.0.0.1/redfish/v1", false),
    ] {
        let mock = Mock::start(move |request| match request.path.as_str() {
            "/redfish/v1/" => Reply::new(301, "").header(format!("Location: {location}")),
            "/redfish/v1" => Reply::new(200, crate::support::mock::ROOT),
            _ => ordinary(request),
        })
        .await;
        let result = mock.driver(None).power_state().await;
        assert_eq!(result.is_ok(), is_ok, "{location}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("failed to follow Redfish"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_session_is_opened_where_basic_authentication_is_refused_and_closed_again() {
    let mock = Mock::start(|request| {
        if request.path == "/redfish/v1/" {
            assert!(!request.headers.contains_key("authorization"), "the root is for everybody");
            return ordinary(request);
        }
        if request.is("POST", "/redfish/v1/S") {
            let location = "Location: https://bmc/redfish/v1/S/1";
            return Reply::new(201, "").header("X-Auth-Token: t0ken").header(location);
        }
        if request.headers.get("x-auth-token").is_none_or(|token| token != "t0ken") {
            return Reply::new(401, "");
        }
        ordinary(request)
    })
    .await;
    assert_eq!(mock.driver(None).power_state().await.unwrap(), Power::On);
    let expected = [r#"POST /redfish/v1/S {"UserName":"u","Password":"p"}"#, "DELETE /redfish/v1/S/1 "];
    assert_eq!(mock.changes(), expected);
}

#[tokio::test]
async fn a_refused_reset_is_followed_by_the_next_that_does_the_same() {
    let mock = Mock::start(|request| match request.path.as_str() {
        SYSTEM => {
            let body = system(SYSTEM, UUID, "").replace("\"On\",\"Actions", "\"Off\",\"Actions");
            Reply::new(200, body.replace("[\"On\",", "[\"On\",\"ForceOn\","))
        }
        _ if request.method == "POST" && request.body.contains("\"On\"") => Reply::new(400, ""),
        _ => ordinary(request),
    })
    .await;
    mock.driver(None).command(Action::On, &Always).await.unwrap();
    let kinds: Vec<_> = mock.changes().iter().map(|change| change.contains("ForceOn")).collect();
    assert_eq!(kinds, [false, true]);
}
