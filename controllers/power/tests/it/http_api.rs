//! The HTTP API against a server as the provisioner's, and its test hooks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use bloomery_power::http_api::{Hooks, HttpApi};
use bloomery_power::identity::Identity;
use bloomery_power::{Action, Always, Bmc as _, Config, Network, Pool, Power, Precondition, PxeMode, Target};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};

type Calls = Arc<Mutex<Vec<String>>>;

/// Starts a server that answers every POST with `status`, and gives its address.
async fn provisioner(status: StatusCode, body: &'static str) -> (String, Calls) {
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    let app = Router::new().fallback(async move |method: Method, uri: Uri, sent: String| {
        assert!(sent.is_empty());
        seen.lock().unwrap().push(format!("{method} {uri}"));
        (status, body)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, calls)
}

#[tokio::test]
async fn calls_what_the_provisioner_knows() {
    let (address, calls) = provisioner(StatusCode::OK, r#"{"PoweredOn": true}"#).await;
    let pool = Pool::new(Config::default(), Arc::new(()), Arc::new(Network::default()));
    let target = Target { identity: Identity::of("s"), bmc: None, management_api: Some(address) };
    let client = pool.client(&target).unwrap();
    assert_eq!(client.power_state().await.unwrap(), Power::On);
    client.command(Action::On, &Always).await.unwrap();
    client.command(Action::Off, &Always).await.unwrap();
    client.command(Action::Cycle, &Always).await.unwrap();
    client.command(Action::PxeOnce(PxeMode::Uefi), &Always).await.unwrap();
    let expected = ["GET /status", "POST /poweron", "POST /poweroff", "POST /reboot", "POST /pxeboot"];
    assert_eq!(*calls.lock().unwrap(), expected);
}

#[tokio::test]
async fn names_a_refusal_as_upstream_does_and_reads_a_status_whatever_its_code() {
    let (address, _) = provisioner(StatusCode::INTERNAL_SERVER_ERROR, r#"{"PoweredOn": false}"#).await;
    let client = HttpApi::new(&address, Hooks::default()).unwrap();
    let error = client.command(Action::On, &Always).await.unwrap_err();
    assert_eq!(error.to_string(), "API error: 500 Internal Server Error");
    assert_eq!((error.category(), error.is_retryable()), ("refused", true));
    assert_eq!(client.power_state().await.unwrap(), Power::Off);
    let (address, _) = provisioner(StatusCode::OK, "<html>").await;
    let client = HttpApi::new(&address, Hooks::default()).unwrap();
    assert_eq!(client.power_state().await.unwrap_err().category(), "protocol");
}

#[tokio::test]
async fn hooks_fail_calls_with_their_probability() {
    let (address, calls) = provisioner(StatusCode::OK, r#"{"PoweredOn": true}"#).await;
    for (chance, explicit, silent, simulated, called) in [
        (0.05, 0.1, 0.0, true, 0),
        (0.15, 0.1, 0.0, false, 1),
        (0.05, 0.0, 0.1, false, 0),
        (0.0, 0.0, 0.0, false, 1),
    ] {
        calls.lock().unwrap().clear();
        let clock = Arc::new(|| UNIX_EPOCH + Duration::from_secs(7));
        let hooks = Hooks { explicit, silent, chance: Arc::new(move || chance), clock };
        let client = HttpApi::new(&address, hooks).unwrap();
        let result = client.command(Action::Off, &Always).await;
        assert_eq!(result.is_err(), simulated);
        if let Err(error) = result {
            assert_eq!(error.to_string(), "simulated failure from the power management");
            assert_eq!((error.category(), error.is_retryable()), ("simulated", true));
        }
        assert_eq!(calls.lock().unwrap().len(), called, "{chance} {explicit} {silent}");
    }
    for (second, expected) in [(6, Power::On), (7, Power::Off)] {
        let clock = Arc::new(move || UNIX_EPOCH + Duration::from_secs(second));
        let hooks = Hooks { explicit: 0.0, silent: 1.0, chance: Arc::new(|| 0.5), clock };
        assert_eq!(HttpApi::new(&address, hooks).unwrap().power_state().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_command_that_is_not_wanted_any_more_is_not_sent() {
    struct Gone;
    impl Precondition for Gone {
        fn holds(&self) -> BoxFuture<'_, bool> {
            ready(false).boxed()
        }
    }
    let (address, calls) = provisioner(StatusCode::OK, "").await;
    let client = HttpApi::new(&address, Hooks::default()).unwrap();
    for action in [Action::On, Action::Off, Action::Cycle, Action::PxeOnce(PxeMode::Bios)] {
        let error = client.command(action, &Gone).await.unwrap_err();
        assert_eq!((error.category(), error.is_retryable()), ("unwanted", true), "{error:?}");
    }
    assert_eq!(*calls.lock().unwrap(), [] as [&str; 0]);
    client.command(Action::Cycle, &Always).await.unwrap();
    assert_eq!(*calls.lock().unwrap(), ["POST /reboot"]);
}
