//! Admission and class problems through a real API server, in the words that a client sees.

use bloomery_api::{Server, ServerClass};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::{Value, json};

use crate::support::bench::{Bench, registered};
use bloomery_testkit::eventually;

fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not refused: {other:?}"),
    }
}

/// POSTs JSON; the status code, the warnings and the body.
async fn post(bench: &Bench, path: &str, object: &Value) -> (u16, Vec<String>, Value) {
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(kube::client::Body::from(serde_json::to_vec(object).unwrap()))
        .unwrap();
    let response = bench.client.send(request).await.unwrap();
    let warnings = response
        .headers()
        .get_all("warning")
        .iter()
        .map(|value| value.to_str().unwrap().to_owned())
        .collect();
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.unwrap();
    (code, warnings, serde_json::from_slice(&body).unwrap())
}

const INVALID: &str = "admission webhook \"vservers.metal.sidero.dev\" denied the request: Server.metal.sidero.dev \"a\" \
    is invalid: [spec.bootFromDiskMethod: Invalid value: \"disk\": valid values are: [\"\" \"ipxe-exit\" \
    \"http-404\" \"ipxe-sanboot\"], spec.pxeMode: Invalid value: \"net\": valid values are: [\"\" \"bios\" \"uefi\"], \
    spec.configPatches.0.op: Invalid value: \"merge\": valid values are: [\"add\" \"copy\" \"move\" \"remove\" \
    \"replace\" \"test\"]]";

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_refused_with_upstreams_words_in_both_versions() {
    let (bench, controllers) = Bench::with_controllers().await;
    let spec = json!({ "accepted": true, "bootFromDiskMethod": "disk", "pxeMode": "net",
        "configPatches": [{ "op": "merge", "path": "/a" }] });
    for version in ["v1alpha1", "v1alpha2"] {
        let object = json!({ "apiVersion": format!("metal.sidero.dev/{version}"), "kind": "Server",
            "metadata": { "name": "a" }, "spec": spec });
        let path = format!("/apis/metal.sidero.dev/{version}/servers");
        let (code, _, status) = post(&bench, &path, &object).await;
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{version}");
        assert_eq!(status["message"], INVALID, "{version}");
        let fields: Vec<_> =
            status["details"]["causes"].as_array().unwrap().iter().map(|cause| &cause["field"]).collect();
        assert_eq!(
            fields,
            ["spec.bootFromDiskMethod", "spec.pxeMode", "spec.configPatches.0.op"],
            "{version}"
        );
    }

    // A good one is taken; a bad change of it is not; it can be deleted.
    let servers: Api<Server> = bench.all();
    servers.create(&PostParams::default(), &registered("b")).await.unwrap();
    let change = Patch::Merge(json!({ "spec": { "pxeMode": "UEFI" } }));
    let status = refusal(servers.patch("b", &PatchParams::default(), &change).await);
    assert_eq!(status.code, 422);
    assert!(
        status
            .message
            .ends_with("spec.pxeMode: Invalid value: \"UEFI\": valid values are: [\"\" \"bios\" \"uefi\"]")
    );
    servers.delete("b", &DeleteParams::default()).await.unwrap();

    // What is odd is taken with a warning.
    let odd = json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "metadata": { "name": "odd" },
        "spec": { "accepted": false, "bmc": { "endpoint": "h", "user": "u", "pass": "p", "interface": "serial" } } });
    let (code, warnings, _) = post(&bench, "/apis/metal.sidero.dev/v1alpha2/servers", &odd).await;
    assert_eq!(code, 201);
    assert!(warnings.iter().any(|warning| warning.contains("spec.bmc.interface")), "{warnings:?}");
    let class = json!({ "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "metadata": { "name": "odd" },
        "spec": { "selector": { "matchExpressions": [{ "key": "zone", "operator": "Near", "values": ["a"] }] } } });
    let (code, warnings, _) = post(&bench, "/apis/metal.sidero.dev/v1alpha2/serverclasses", &class).await;
    assert_eq!(code, 201);
    assert!(warnings.iter().any(|warning| warning.contains("spec.selector")), "{warnings:?}");
    invalid_class_is_announced(&bench).await;

    let (_, metrics) = controllers.get("/metrics").await.unwrap();
    assert!(metrics.contains(r#"controllers_admission_reviews_total{result="denied"} 3"#), "{metrics}");
}

/// The event names the class and the operator; the class is left as it is until it is changed.
async fn invalid_class_is_announced(bench: &Bench) {
    let events: Api<Event> = Api::namespaced(bench.client.clone(), "default");
    eventually("the class's problem is announced", async || {
        let list = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let found = list.items.iter().any(|event| {
            event.reason.as_deref() == Some("Server Class")
                && event.message.as_deref().is_some_and(|message| {
                    message.contains("ServerClass odd") && message.contains("operator \"Near\" of key zone")
                })
        });
        if found { Ok(()) } else { Err(serde_json::to_string(&list.items).unwrap()) }
    })
    .await;
    let classes: Api<ServerClass> = bench.all();
    let good = json!({ "spec": { "selector": { "matchExpressions": null } } });
    bench.patch::<ServerClass>("odd", good).await;
    eventually("the class is counted", async || match classes.get("odd").await.unwrap().status {
        Some(_) => Ok(()),
        None => Err("no status".to_owned()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_templates_spec_is_immutable() {
    let (bench, _controllers) = Bench::with_controllers().await;
    let template = json!({ "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "MetalMachineTemplate",
        "metadata": { "name": "t", "namespace": "default" },
        "spec": { "template": { "spec": { "serverClassRef": { "name": "any" } } } } });
    let place = "/apis/infrastructure.cluster.x-k8s.io/v1alpha3/namespaces/default/metalmachinetemplates";
    eventually("the template is made", async || {
        let request = http::Request::post(place)
            .header("Content-Type", "application/json")
            .body(serde_json::to_vec(&template).unwrap())
            .unwrap();
        bench.client.request::<Value>(request).await.map_err(|error| error.to_string())
    })
    .await;
    let patch = |value: Value| {
        http::Request::patch(format!("{place}/t"))
            .header("Content-Type", "application/merge-patch+json")
            .body(serde_json::to_vec(&value).unwrap())
            .unwrap()
    };
    let labels = json!({ "metadata": { "labels": { "a": "b" } } });
    bench.client.request::<Value>(patch(labels)).await.unwrap();
    let changed = json!({ "spec": { "template": { "spec": { "serverClassRef": { "name": "b" } } } } });
    let status = refusal(bench.client.request::<Value>(patch(changed)).await);
    assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
    assert_eq!(
        status.message,
        "admission webhook \"vmetalmachinetemplates.infrastructure.cluster.x-k8s.io\" denied the request: \
         MetalMachineTemplate.Spec is immutable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_register_while_the_controllers_are_away_and_what_is_to_be_judged_waits() {
    let (bench, mut controllers) = Bench::with_controllers().await;
    let id = nix::unistd::Pid::from_raw(i32::try_from(controllers.process.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(controllers.process.wait().await.success(), "{}", controllers.process.output());
    let servers: Api<Server> = bench.all();
    servers.create(&PostParams::default(), &registered("a")).await.unwrap();
    let accepted =
        Patch::Merge(json!({ "metadata": { "labels": { "rack": "1" } }, "spec": { "accepted": true } }));
    servers.patch("a", &PatchParams::default(), &accepted).await.unwrap();
    let mode = Patch::Merge(json!({ "spec": { "pxeMode": "uefi" } }));
    let status = refusal(servers.patch("a", &PatchParams::default(), &mode).await);
    assert_eq!(status.code, 500, "{status:?}");
    assert!(
        status.message.contains("failed calling webhook \"vservers.metal.sidero.dev\""),
        "{}",
        status.message
    );
    let classes: Api<ServerClass> = bench.all();
    let class = ServerClass::new("free", bloomery_api::ServerClassSpec::default());
    classes.create(&PostParams::default(), &class).await.unwrap();
    let controllers = bench.setup.run(&bench.plane).await;
    // A client that is refused tries again.
    eventually("it is written", async || {
        servers.patch("a", &PatchParams::default(), &mode).await.map_err(|error| error.to_string())
    })
    .await;
    // What changes beside the spec asks nobody.
    let reviewed = async || {
        let (_, metrics) = controllers.get("/metrics").await.unwrap();
        metrics.lines().find(|line| line.contains(r#"reviews_total{result="allowed"}"#)).unwrap().to_owned()
    };
    let before = reviewed().await;
    let label = Patch::Merge(json!({ "metadata": { "labels": { "rack": "2" } } }));
    servers.patch("a", &PatchParams::default(), &label).await.unwrap();
    assert_eq!(reviewed().await, before);
}
