//! `/ipxe`: one case for each row of the table in spec/sidero.md §3.4, and what §10.3 adds.

use bloomery_api::boot_method::BootFromDiskMethod;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Lab, Setup, token_of};
use crate::neighbours::Seen;
use crate::tests::fake_api::{Failure, PLANE, binding, disks, metal, plane_held_by};

pub(super) const UUID: &str = "4c4c4544-0042-3110-8051-b7c04f4e3332";
const AGENT: &str = "kernel /env/agent-amd64/vmlinuz ";

fn lab() -> Lab {
    Lab::start(Setup::default())
}

#[allow(clippy::needless_pass_by_value, reason = "tests hand over what they made for it")]
fn server(lab: &Lab, spec: Value, status: Value) {
    recorded(lab, "released", spec, status);
}

/// A Server with this record of its disks; "" for none.
#[allow(clippy::needless_pass_by_value, reason = "tests hand over what they made for it")]
pub(super) fn recorded(lab: &Lab, state: &str, spec: Value, status: Value) {
    let mut object = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "Server", "status": status,
        // A blank disk.
        "spec": { "accepted": true, "hardware": { "storage": { "devices": [{ "deviceName": "/dev/sda", "contents": {} }] } } },
    });
    if !state.is_empty() {
        object["metadata"]["annotations"] = disks(state, UUID);
    }
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    lab.api.put(&metal("servers", UUID), object);
}

pub(super) fn bound(lab: &Lab, class: Option<&str>) {
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

#[allow(clippy::needless_pass_by_value, reason = "tests hand over what they made for it")]
fn class(lab: &Lab, name: &str, spec: Value) {
    let object = json!({
        "apiVersion": "metal.sidero.dev/v1alpha2", "kind": "ServerClass", "spec": spec,
    });
    lab.api.put(&metal("serverclasses", name), object);
}

pub(super) fn environment(lab: &Lab, name: &str, args: &[&str]) {
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

pub(super) async fn ask(lab: &Lab) -> (StatusCode, String) {
    lab.get(&format!("/ipxe?uuid={UUID}&mac=52-54-00-77-00-01&domain=&hostname=&serial=SN1&arch=x86_64"))
        .await
}

pub(super) fn kernel_of(script: &str) -> &str {
    script.lines().nth(1).unwrap_or_default()
}

#[tokio::test]
async fn an_unknown_machine_gets_the_agent() {
    let lab = lab();
    let (status, script) = ask(&lab).await;
    assert_eq!(status, StatusCode::OK);
    let token = token_of(&script).unwrap();
    assert_eq!(token.len(), 44);
    let (_, rest) = script.split_once(" bloomery.plane=").unwrap();
    let plane = rest.split_whitespace().next().unwrap();
    assert_eq!(plane.len(), 43, "a SHA-256 in base64url");
    insta::assert_snapshot!(script.replace(&token, "TOKEN").replace(plane, "PLANE"));
    for path in ["/ipxe", "/ipxe?uuid=", "/ipxe?uuid=${uuid}", "/ipxe?uuid=not-a-uuid"] {
        assert!(kernel_of(&lab.get(path).await.1).starts_with(AGENT), "{path}");
    }
}

#[tokio::test]
async fn a_registered_machine_gets_the_agent_whatever_its_state() {
    let lab = lab();
    for (state, accepted, clean) in [
        ("", false, false),
        ("neverUsed", false, false),
        ("neverUsed", true, false),
        ("released", true, false),
        ("clean", true, true),
        ("clean", false, true),
    ] {
        recorded(&lab, state, json!({ "accepted": accepted }), json!({ "isClean": clean }));
        let (_, script) = ask(&lab).await;
        assert!(kernel_of(&script).starts_with(AGENT), "{state} accepted {accepted} clean {clean}");
    }
}

#[tokio::test]
async fn a_machine_that_may_hold_data_boots_its_disk() {
    let lab = lab();
    let disk = (StatusCode::OK, "#!ipxe\nexit\n".to_owned());
    for (state, status) in [
        ("", json!({})),
        ("", json!({ "isClean": true })),
        ("bound", json!({})),
        ("bound", json!({ "isClean": true })),
        ("neverUsed", json!({ "inUse": true })),
        ("clean", json!({})),
    ] {
        recorded(&lab, state, json!({}), status.clone());
        assert_eq!(ask(&lab).await, disk, "{state} {status}");
    }
    // A record that came along with a copy of the object, or from before a restore.
    for (key, value) in [("serverUID", json!("another")), ("epoch", json!(0))] {
        server(&lab, json!({}), json!({}));
        lab.api.change(&metal("servers", UUID), |server| {
            let text = server["metadata"]["annotations"]["bloomery.dev/disks"].as_str().unwrap();
            let mut record: Value = serde_json::from_str(text).unwrap();
            record[key] = value;
            server["metadata"]["annotations"]["bloomery.dev/disks"] = json!(record.to_string());
        });
        assert_eq!(ask(&lab).await, disk, "{key}");
    }
}

#[tokio::test]
async fn a_plane_that_does_not_hold_decides_nothing() {
    let nothing = (StatusCode::INTERNAL_SERVER_ERROR, String::new());
    for installed in [false, true] {
        let lab = lab();
        if installed {
            bound(&lab, None);
            server(
                &lab,
                json!({}),
                json!({ "conditions": [
                { "type": "PXEBooted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" } ] }),
            );
        }
        lab.api.put(PLANE, plane_held_by("another"));
        assert_eq!(ask(&lab).await, nothing);
        let unknown = Lab::start(Setup::default());
        unknown.api.fail(PLANE, Failure::Status(500));
        assert_eq!(ask(&unknown).await, nothing);
    }
}

#[tokio::test]
async fn a_known_firmware_is_never_left_in_its_menu() {
    let exit = "#!ipxe\nexit\n";
    let sanboot = "#!ipxe\nsanboot --no-describe --drive 0x80 || exit 1\n";
    let literal = "#!ipxe\nsanboot --no-describe --drive 0x80\n";
    for (method, platform, expected) in [
        ("ipxe-exit", "efi", sanboot),
        ("ipxe-exit", "pcbios", exit),
        ("ipxe-exit", "", exit),
        ("ipxe-exit", "linux", exit),
        ("ipxe-sanboot", "efi", sanboot),
        ("ipxe-sanboot", "pcbios", sanboot),
        ("ipxe-sanboot", "", literal),
        ("http-404", "efi", ""),
        ("http-404", "pcbios", ""),
        ("http-404", "", ""),
    ] {
        let lab = Lab::start(Setup { method: method.parse().unwrap(), ..Setup::default() });
        bound(&lab, None);
        let (status, body) = lab.get(&format!("/ipxe?uuid={UUID}&platform={platform}")).await;
        assert_eq!(body, expected, "{method} {platform}");
        assert_eq!(status == StatusCode::NOT_FOUND, method == "http-404");
    }
}

/// The controllers fetch the files of `default-arm64` when they see the label.
#[tokio::test]
async fn an_arm64_machine_that_waits_for_its_files_is_noted_as_one() {
    let lab = lab();
    bound(&lab, None);
    server(&lab, json!({}), json!({}));
    lab.api
        .put(&metal("environments", "default-arm64"), json!({ "spec": { "kernel": { "url": "http://k" } } }));
    let label = || {
        lab.api.object(&metal("servers", UUID)).unwrap()["metadata"]["labels"]["bloomery.dev/arch"].clone()
    };
    let path = format!("/ipxe?uuid={UUID}&arch=arm64");
    let answer = (StatusCode::PRECONDITION_FAILED, "environment \"default-arm64\" is not ready".to_owned());
    // Not for an amd64 machine.
    assert_eq!(ask(&lab).await.0, StatusCode::NOT_FOUND);
    assert_eq!(label(), Value::Null);
    assert_eq!(lab.get(&path).await, answer);
    assert_eq!(label(), "arm64");
    // Once is enough, and what fails is no reason not to answer.
    let writes = lab.api.writes().len();
    assert_eq!(lab.get(&path).await, answer);
    assert_eq!(lab.api.writes().len(), writes);
    server(&lab, json!({}), json!({}));
    lab.api.fail_writes(&metal("servers", UUID), Failure::Status(500));
    assert_eq!(lab.get(&path).await, answer);
}

#[tokio::test]
async fn arm64_machines_boot_environments_made_for_them() {
    let lab = lab();
    bound(&lab, None);
    let path = format!("/ipxe?uuid={UUID}&arch=arm64");
    server(&lab, json!({}), json!({}));
    environment(&lab, "default", &[]);
    // An amd64 kernel is never the answer, not even when there is nothing else.
    assert_eq!(lab.get(&path).await.0, StatusCode::NOT_FOUND);
    environment(&lab, "default-arm64", &[]);
    assert!(kernel_of(&lab.get(&path).await.1).starts_with("kernel /env/default-arm64/vmlinuz "));
    server(&lab, json!({ "environmentRef": { "name": "e" } }), json!({}));
    environment(&lab, "e", &[]);
    assert!(kernel_of(&lab.get(&path).await.1).starts_with("kernel /env/e/vmlinuz "));
    environment(&lab, "e-arm64", &[]);
    assert!(kernel_of(&lab.get(&path).await.1).starts_with("kernel /env/e-arm64/vmlinuz "));
    assert!(kernel_of(&ask(&lab).await.1).starts_with("kernel /env/e/vmlinuz "));
    lab.api.put(&metal("environments", "e-arm64"), json!({ "spec": { "kernel": { "url": "http://k" } } }));
    let (status, body) = lab.get(&path).await;
    assert_eq!((status, &*body), (StatusCode::PRECONDITION_FAILED, "environment \"e-arm64\" is not ready"));
    lab.api.fail(&metal("environments", "e-arm64"), Failure::Status(500));
    assert_eq!(lab.get(&path).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn the_token_is_only_for_who_may_be_the_machine() {
    let lab = lab();
    let path = |mac: &str| format!("/ipxe?uuid={UUID}&mac={mac}");
    let given = async |mac: &str| token_of(&lab.get(&path(mac)).await.1).is_some();
    assert!(given("52-54-00-77-00-01").await && given("").await);
    let see = |seen| lab.neighbours.fix([127, 0, 0, 1].into(), seen);
    see(Seen::Unknown);
    assert!(!given("52-54-00-77-00-01").await && !given("").await);
    see(Seen::Card("52:54:00:77:00:01".to_owned()));
    assert!(given("52-54-00-77-00-01").await);
    assert!(!given("52-54-00-77-00-02").await && !given("").await);
    let cards = json!({ "hardware": { "network": { "interfaces": [{ "mac": "52:54:00:77:00:09" }] } } });
    server(&lab, cards, json!({}));
    assert!(!given("52-54-00-77-00-01").await);
    // Whoever shows a card that the Server does not have is another machine: it goes on with its disk.
    assert_eq!(lab.get(&path("52-54-00-77-00-01")).await.1, "#!ipxe\nexit\n");
    // The agent itself is given to everybody else who would get it.
    assert!(kernel_of(&lab.get(&path("")).await.1).starts_with(AGENT));
    // A machine without an identity of its own has none to prove.
    let zero = lab.get("/ipxe?uuid=00000000-0000-0000-0000-000000000000&mac=52-54-00-77-00-01").await.1;
    assert!(kernel_of(&zero).starts_with(AGENT) && token_of(&zero).is_none());
}

#[tokio::test]
async fn the_node_system_is_only_for_who_may_be_the_machine() {
    let lab = lab();
    bound(&lab, None);
    let cards = json!({ "hardware": { "network": { "interfaces": [{ "mac": "52:54:00:77:00:09" }] },
                                      "system": { "serialNumber": "SN00009" } } });
    server(&lab, cards, json!({}));
    environment(&lab, "default", &["talos.config=http://a/secret"]);
    let ask = async |rest: &str| lab.get(&format!("/ipxe?uuid={UUID}{rest}")).await;
    let (its, serial) = ("&mac=52-54-00-77-00-09", "&serial=SN00009");
    let is_given = |(status, script): (StatusCode, String)| {
        assert_eq!(status, StatusCode::OK, "{script}");
        let given = script.contains("talos.config");
        assert!(given || script == "#!ipxe\nexit\n", "{script}");
        given
    };
    // From behind a router.
    assert!(is_given(ask(its).await) && is_given(ask(serial).await));
    let see = |seen| lab.neighbours.fix([127, 0, 0, 1].into(), seen);
    see(Seen::Card("52:54:00:77:00:09".to_owned()));
    assert!(is_given(ask(its).await) && is_given(ask(serial).await));
    see(Seen::Card("52:54:00:77:00:01".to_owned()));
    for said in [its, serial, "", "&mac=52-54-00-77-00-01&serial=SN00009"] {
        assert!(!is_given(ask(said).await), "{said}");
    }
    see(Seen::Unknown);
    for said in [its, serial, ""] {
        assert_eq!(ask(said).await.0, StatusCode::INTERNAL_SERVER_ERROR, "{said}");
    }
}

#[tokio::test]
async fn without_a_key_the_agent_comes_without_a_token() {
    let lab = lab();
    lab.api.fail("/api/v1/namespaces/default/secrets/bloomery-agent-token", Failure::Status(403));
    let (status, script) = ask(&lab).await;
    assert_eq!((status, token_of(&script)), (StatusCode::OK, None));
    assert!(kernel_of(&script).starts_with(AGENT));
}

#[tokio::test]
async fn asking_for_the_head_of_an_answer_is_no_boot() {
    let lab = lab();
    let token = lab.boot(UUID).await.unwrap();
    let head = lab.request(http::Method::HEAD, &format!("/ipxe?uuid={UUID}"));
    assert_eq!(lab.send(head).await.0.status(), StatusCode::OK);
    let second = lab.boot(UUID).await.unwrap();
    assert_ne!(token, second);
}

#[tokio::test]
async fn an_environment_whose_digest_changed_is_not_ready_until_it_was_checked_again() {
    let lab = lab();
    bound(&lab, None);
    server(&lab, json!({}), json!({}));
    environment(&lab, "default", &[]);
    assert_eq!(ask(&lab).await.0, StatusCode::OK);
    lab.api.change(&metal("environments", "default"), |environment| {
        environment["spec"]["kernel"]["sha512"] = json!("ab");
    });
    assert_eq!(ask(&lab).await.0, StatusCode::PRECONDITION_FAILED);
    lab.api.change(&metal("environments", "default"), |environment| {
        environment["status"]["conditions"][0]["sha512"] = json!("AB");
    });
    assert_eq!(ask(&lab).await.0, StatusCode::OK);
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
    for (path, is_bound) in [(metal("servers", UUID), true), (binding(UUID), false)] {
        for failure in [Failure::Status(500), Failure::Status(403), Failure::Status(503), Failure::Page(502)]
        {
            let lab = lab();
            if is_bound {
                server(&lab, json!({ "accepted": true }), json!({}));
                bound(&lab, None);
            }
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
async fn a_missing_binding_kind_is_an_error_and_not_an_unbound_machine() {
    let lab = lab();
    lab.api.fail(&binding(UUID), Failure::Page(404));
    assert_eq!(ask(&lab).await.0, StatusCode::INTERNAL_SERVER_ERROR);
}

/// Only the binding, and the Server of a machine that has one, are read at the moment of asking.
#[tokio::test]
async fn stale_caches_give_no_bound_machine_the_agent_and_no_installed_one_its_environment() {
    // Bound since.
    let lab = lab();
    environment(&lab, "default", &[]);
    recorded(&lab, "clean", json!({ "accepted": true }), json!({ "isClean": true }));
    assert!(kernel_of(&ask(&lab).await.1).starts_with(AGENT));
    lab.api.freeze_caches(true);
    bound(&lab, None);
    assert!(kernel_of(&ask(&lab).await.1).starts_with("kernel /env/default/vmlinuz"));
    // Installed since.
    lab.api.freeze_caches(true);
    lab.api.change(&metal("servers", UUID), |server| {
        server["metadata"]["annotations"] = disks("installed", UUID);
    });
    assert_eq!(ask(&lab).await.1, "#!ipxe\nexit\n");
    // Nobody can tell before all are listed.
    let unlisted = self::lab();
    unlisted.api.unlist_servers(true);
    assert_eq!(ask(&unlisted).await.0, StatusCode::INTERNAL_SERVER_ERROR);
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
    let script = ask(&lab).await.1;
    let (_, token) = script.split_once("&token=").unwrap();
    let token = token.split_whitespace().next().unwrap().to_owned();
    insta::assert_snapshot!("environment", script.replace(&token, "TOKEN"));
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
    assert!(kernel.contains(" bloomery.token="), "{kernel}");
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
