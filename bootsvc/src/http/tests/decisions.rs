//! `/ipxe`: one case for each row of the table in spec/sidero.md §3.4, and what §10.3 adds.

use bloomery_api::boot_method::BootFromDiskMethod;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Lab, Setup};
use crate::fake_api::{Failure, binding, metal};

const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const AGENT: &str = "kernel /env/agent-amd64/vmlinuz ";

fn lab() -> Lab {
    Lab::start(Setup::default())
}

#[allow(clippy::needless_pass_by_value)]
fn server(lab: &Lab, spec: Value, status: Value) {
    let mut object = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "spec": { "accepted": true }, "status": status,
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    lab.api.put(&metal("servers", UUID), object);
}

fn bound(lab: &Lab, class: Option<&str>) {
    let mut spec =
        json!({ "metalMachineRef": { "kind": "MetalMachine", "name": "m", "namespace": "default" } });
    if let Some(class) = class {
        spec["serverClassRef"] = json!({ "kind": "ServerClass", "name": class });
    }
    let object = json!({
        "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "ServerBinding", "spec": spec,
    });
    lab.api.put(&binding(UUID), object);
}

#[allow(clippy::needless_pass_by_value)]
fn class(lab: &Lab, name: &str, spec: Value) {
    let object = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "spec": spec,
    });
    lab.api.put(&metal("serverclasses", name), object);
}

fn environment(lab: &Lab, name: &str, args: &[&str]) {
    let ready = |url| json!({ "url": url, "type": "Ready", "status": "True", "sha512": "" });
    let object = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Environment",
        "spec": { "kernel": { "url": "http://k", "args": args }, "initrd": { "url": "http://i" } },
        "status": { "conditions": [ready("http://k"), ready("http://i")] },
    });
    lab.api.put(&metal("environments", name), object);
    lab.write(&format!("env/{name}/vmlinuz"), b"kernel");
    lab.write(&format!("env/{name}/initramfs.xz"), b"initramfs");
}

async fn ask(lab: &Lab) -> (StatusCode, String) {
    lab.get(&format!("/ipxe?uuid={UUID}&mac=52-54-00-77-00-01&domain=&hostname=&serial=SN1&arch=x86_64"))
        .await
}

fn kernel_of(script: &str) -> &str {
    script.lines().nth(1).unwrap_or_default()
}

#[tokio::test]
async fn an_unknown_machine_gets_the_agent() {
    let lab = lab();
    let (status, script) = ask(&lab).await;
    assert_eq!(status, StatusCode::OK);
    insta::assert_snapshot!(script);
    for path in ["/ipxe", "/ipxe?uuid=", "/ipxe?uuid=${uuid}", "/ipxe?uuid=not-a-uuid"] {
        assert!(kernel_of(&lab.get(path).await.1).starts_with(AGENT), "{path}");
    }
}

#[tokio::test]
async fn a_registered_machine_gets_the_agent_whatever_its_state() {
    let lab = lab();
    for accepted in [false, true] {
        for clean in [false, true] {
            server(&lab, json!({ "accepted": accepted }), json!({ "isClean": clean }));
            assert!(kernel_of(&ask(&lab).await.1).starts_with(AGENT), "accepted {accepted} clean {clean}");
        }
    }
}

#[tokio::test]
async fn the_agent_follows_the_architecture() {
    let lab = lab();
    let path = format!("/ipxe?uuid={UUID}&arch=arm64");
    let (status, body) = lab.get(&path).await;
    assert_eq!(
        (status, &*body),
        (StatusCode::PRECONDITION_FAILED, "environment \"agent-arm64\" is not ready")
    );
    lab.write("share/agent/arm64/vmlinuz", b"k");
    lab.write("share/agent/arm64/initramfs.xz", b"i");
    assert!(kernel_of(&lab.get(&path).await.1).starts_with("kernel /env/agent-arm64/vmlinuz "));
}

#[tokio::test]
async fn nothing_but_an_error_while_the_api_cannot_tell() {
    for path in [metal("servers", UUID), binding(UUID)] {
        for failure in [Failure::Status(500), Failure::Status(403), Failure::Status(503), Failure::Page(502)]
        {
            let lab = lab();
            lab.api.fail(&path, failure);
            assert_eq!(
                ask(&lab).await,
                (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
                "{path} {failure:?}"
            );
            assert_eq!(lab.metrics.http_undecided.get(), 1);
        }
    }
    let away = Lab::start(Setup { api_reachable: false, ..Setup::default() });
    assert_eq!(ask(&away).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn an_api_that_hangs_is_an_error_in_time() {
    let lab = lab();
    lab.api.fail(&binding(UUID), Failure::Hang);
    assert_eq!(ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_kind_that_is_not_there_means_unbound_only_if_the_api_says_so() {
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/\
               serverbindings.infrastructure.cluster.x-k8s.io";
    let lab = lab();
    lab.api.fail(&binding(UUID), Failure::Page(404));
    assert!(kernel_of(&ask(&lab).await.1).starts_with(AGENT));
    // The kind exists: the 404 came from somebody else.
    lab.api.put(
        crd,
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {
                "group": "infrastructure.cluster.x-k8s.io", "scope": "Cluster", "versions": [],
                "names": { "kind": "ServerBinding", "plural": "serverbindings" },
            },
        }),
    );
    assert_eq!(ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    lab.api.fail(crd, Failure::Status(403));
    assert_eq!(ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_missing_server_kind_is_an_error_and_not_an_unknown_machine() {
    let lab = lab();
    lab.api.fail(&metal("servers", UUID), Failure::Page(404));
    assert_eq!(ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_bound_machine_never_gets_the_agent() {
    let lab = lab();
    bound(&lab, None);
    // Its Server was lost.
    assert_eq!(ask(&lab).await, (StatusCode::OK, "#!ipxe\nexit\n".to_owned()));
    for status in [json!({}), json!({ "isClean": true }), json!({ "inUse": true })] {
        server(&lab, json!({ "accepted": false }), status);
        let (_, body) = ask(&lab).await;
        assert!(!body.contains("agent"), "{body}");
    }
}

#[tokio::test]
async fn an_installed_machine_boots_from_disk_by_the_nearest_method() {
    let installed = json!({ "conditions": [
        { "type": "PXEBooted", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] });
    let exit = (StatusCode::OK, "#!ipxe\nexit\n");
    let sanboot = (StatusCode::OK, "#!ipxe\nsanboot --no-describe --drive 0x80\n");
    let missing = (StatusCode::NOT_FOUND, "");
    let words = [("ipxe-exit", exit), ("ipxe-sanboot", sanboot), ("http-404", missing)];
    for (word, expected) in words {
        let by_flag = Lab::start(Setup { method: word.parse().unwrap(), ..Setup::default() });
        bound(&by_flag, None);
        server(&by_flag, json!({}), installed.clone());
        let (status, body) = ask(&by_flag).await;
        assert_eq!((status, &*body), expected, "{word} by flag");

        let lab = Lab::start(Setup { method: BootFromDiskMethod::Http404, ..Setup::default() });
        bound(&lab, Some("c"));
        class(&lab, "c", json!({ "bootFromDiskMethod": word }));
        server(&lab, json!({}), installed.clone());
        let (status, body) = ask(&lab).await;
        assert_eq!((status, &*body), expected, "{word} by class");

        class(&lab, "c", json!({ "bootFromDiskMethod": "http-404" }));
        server(&lab, json!({ "bootFromDiskMethod": word }), installed.clone());
        let (status, body) = ask(&lab).await;
        assert_eq!((status, &*body), expected, "{word} by server");
    }
    let lab = lab();
    bound(&lab, Some("c"));
    server(&lab, json!({}), installed);
    lab.api.fail(&metal("serverclasses", "c"), Failure::Status(500));
    assert_eq!(ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_bound_machine_gets_the_environment_that_is_named_nearest() {
    let lab = lab();
    for name in ["default", "of-class", "of-server"] {
        environment(&lab, name, &["console=tty0"]);
    }
    let reference = |name: &str| json!({ "environmentRef": { "kind": "Environment", "name": name } });
    bound(&lab, None);
    server(&lab, json!({}), json!({}));
    insta::assert_snapshot!("environment", ask(&lab).await.1);
    bound(&lab, Some("c"));
    class(&lab, "c", json!({}));
    assert!(kernel_of(&ask(&lab).await.1).starts_with("kernel /env/default/vmlinuz "));
    class(&lab, "c", reference("of-class"));
    assert!(kernel_of(&ask(&lab).await.1).starts_with("kernel /env/of-class/vmlinuz "));
    server(&lab, reference("of-server"), json!({}));
    assert!(kernel_of(&ask(&lab).await.1).starts_with("kernel /env/of-server/vmlinuz "));
}

#[tokio::test]
async fn a_machine_that_always_netboots_is_not_sent_to_its_disk() {
    let lab = lab();
    environment(&lab, "default", &["talos.config=metal-iso"]);
    bound(&lab, None);
    let installed = json!({ "conditions": [
        { "type": "PXEBooted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
    ] });
    server(&lab, json!({ "pxeBootAlways": true }), installed);
    let kernel = kernel_of(&ask(&lab).await.1).to_owned();
    assert_eq!(kernel, "kernel /env/default/vmlinuz talos.config=metal-iso siderolink.api=10.77.0.3:8081");
}

#[tokio::test]
async fn objects_that_are_missing_or_not_ready_are_told_apart() {
    let lab = lab();
    bound(&lab, Some("c"));
    server(&lab, json!({}), json!({}));
    assert_eq!(ask(&lab).await, (StatusCode::NOT_FOUND, String::new()), "class");
    class(&lab, "c", json!({}));
    assert_eq!(ask(&lab).await, (StatusCode::NOT_FOUND, String::new()), "environment");
    let unready = json!({ "spec": { "kernel": { "url": "http://k" } } });
    lab.api.put(&metal("environments", "default"), unready);
    let expected = (StatusCode::PRECONDITION_FAILED, "environment \"default\" is not ready".to_owned());
    assert_eq!(ask(&lab).await, expected);
    environment(&lab, "default", &[]);
    assert_eq!(ask(&lab).await.0, StatusCode::OK);
    // Ready by its status, but the file is gone: a URL that cannot be served is never offered.
    std::fs::remove_file(lab.directory.path().join("env/default/vmlinuz")).unwrap();
    assert_eq!(ask(&lab).await, expected);
    lab.api.fail(&metal("environments", "default"), Failure::Status(500));
    assert_eq!(ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn extra_arguments_override_the_agents() {
    let lab = Lab::start(Setup { extra_args: "console=ttyS1,115200 quiet", ..Setup::default() });
    let kernel = kernel_of(&ask(&lab).await.1).to_owned();
    assert!(kernel.contains(" console=ttyS1,115200 initrd=initramfs.xz "), "{kernel}");
    assert!(!kernel.contains("tty0") && kernel.ends_with(" quiet"), "{kernel}");
    assert!(kernel.contains(" sidero.mac=52:54:00:77:00:01 "), "{kernel}");
}

#[tokio::test]
async fn without_a_configured_endpoint_the_client_is_sent_where_it_came_to() {
    let lab = Lab::start(Setup { endpoint: None, ..Setup::default() });
    let kernel = kernel_of(&ask(&lab).await.1).to_owned();
    assert!(kernel.contains(&format!(" sidero.endpoint={}", lab.address)), "{kernel}");
    let request = lab.request(http::Method::GET, "/boot.ipxe").header("host", "x\tkernel");
    let (_, script) = lab.send(request).await;
    assert!(script.contains(&format!("http://{}/ipxe?", lab.address)), "{script}");
}
