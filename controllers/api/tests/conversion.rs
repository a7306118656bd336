//! Conversion between v1alpha1 and v1alpha2: tables, and round trips of generated objects.

// The whole file is a test: a failed expectation ends it, and literals are passed as they stand.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]

#[path = "conversion/client.rs"]
mod client;

use bloomery_api::conversion::{CONVERSION_DATA, convert};
use bloomery_api::hardware::{
    ComputeInformation, HardwareInformation, MemoryInformation, MemoryModule, NetworkInformation,
    NetworkInterface, Processor, StorageDevice, StorageInformation, SystemInformation,
};
use bloomery_api::patch::ConfigPatch;
use bloomery_api::server_class::Qualifiers;
use bloomery_api::{Environment, EnvironmentSpec, Server, ServerClass, ServerClassSpec, ServerSpec};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const OLD: &str = "metal.sidero.dev/v1alpha1";
const NEW: &str = "metal.sidero.dev/v1alpha2";

fn object(version: &str, kind: &str, spec: &Value) -> Value {
    json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "n", "labels": { "a": "b" } }, "spec": spec })
}

/// The same without the annotation that keeps the newer fields.
fn forgetful(mut old: Value) -> Value {
    let metadata = old["metadata"].as_object_mut().unwrap();
    metadata.shift_remove("annotations");
    old
}

#[test]
fn a_server_converts_both_ways() {
    let old = json!({ "accepted": true, "hostname": "example",
        "system": { "manufacturer": "Sidero", "productName": "Server", "version": "v1.0" },
        "cpu": { "manufacturer": "Sidero CPU", "version": "v1" } });
    let new = json!({ "accepted": true, "hostname": "example", "hardware": {
        "system": { "manufacturer": "Sidero", "productName": "Server", "version": "v1.0" },
        "compute": { "processors": [{ "manufacturer": "Sidero CPU", "productName": "v1" }] } } });
    let up = convert(object(OLD, "Server", &old), NEW).unwrap();
    assert_eq!(up, object(NEW, "Server", &new));
    assert_eq!(forgetful(convert(up, OLD).unwrap()), object(OLD, "Server", &old));
}

#[test]
fn an_old_server_without_hardware_stays_without() {
    let spec = json!({ "accepted": false });
    assert_eq!(convert(object(OLD, "Server", &spec), NEW).unwrap(), object(NEW, "Server", &spec));
}

#[test]
fn class_qualifiers_become_one_list_and_two_lists() {
    let old = json!({ "qualifiers": {
        "cpu": [{ "manufacturer": "Intel", "version": "Atom" }, { "manufacturer": "AMD" }],
        "systemInformation": [{ "manufacturer": "QEMU" }],
        "labelSelectors": [{ "zone": "east" }] } });
    let new = json!({ "qualifiers": { "labelSelectors": [{ "zone": "east" }], "hardware": [
        { "system": { "manufacturer": "QEMU" } },
        { "compute": { "processors": [{ "manufacturer": "Intel", "productName": "Atom" }] } },
        { "compute": { "processors": [{ "manufacturer": "AMD" }] } }] } });
    let up = convert(object(OLD, "ServerClass", &old), NEW).unwrap();
    assert_eq!(up, object(NEW, "ServerClass", &new));
    assert_eq!(forgetful(convert(up, OLD).unwrap()), object(OLD, "ServerClass", &old));
}

#[test]
fn an_edit_through_the_old_version_wins_and_the_rest_is_restored() {
    let hardware = json!({ "system": { "uuid": "u", "manufacturer": "A" }, "memory": { "totalSize": "2 GB" },
        "compute": { "processorCount": 2, "processors": [{ "manufacturer": "I", "speed": 5 }, { "manufacturer": "I" }] } });
    let new =
        object(NEW, "Server", &json!({ "accepted": true, "hardware": hardware, "strategicPatches": ["p"] }));
    // Pointer into the older spec, its new value (null removes), pointer into the newer hardware, its value.
    let edits = [
        ("/system", json!({ "manufacturer": "B" }), "/system", json!({ "uuid": "u", "manufacturer": "B" })),
        ("/system", Value::Null, "/system", Value::Null),
        (
            "/cpu",
            json!({ "version": "x" }),
            "/compute/processors/0",
            json!({ "speed": 5, "productName": "x" }),
        ),
        ("/cpu", Value::Null, "/compute/processors", Value::Null),
    ];
    for (pointer, value, place, expected) in edits {
        let mut old = convert(new.clone(), OLD).unwrap();
        let spec = old["spec"].as_object_mut().unwrap();
        if value.is_null() {
            spec.shift_remove(pointer.trim_start_matches('/'));
        } else {
            spec.insert(pointer.trim_start_matches('/').to_owned(), value.clone());
        }
        let back = convert(old, NEW).unwrap();
        let hardware = &back["spec"]["hardware"];
        assert_eq!(hardware.pointer(place).unwrap_or(&Value::Null), &expected, "{pointer} {value}");
        assert_eq!(hardware["memory"]["totalSize"], "2 GB", "{pointer} {value}");
        assert_eq!(back["spec"]["strategicPatches"], json!(["p"]), "{pointer} {value}");
    }
}

#[test]
fn an_edited_class_list_is_converted_anew_and_an_untouched_one_restored() {
    let hardware =
        json!([{ "system": { "uuid": "u", "manufacturer": "A" } }, { "memory": { "moduleCount": 2 } }]);
    let new = object(
        NEW,
        "ServerClass",
        &json!({ "qualifiers": { "hardware": hardware }, "strategicPatches": ["p"] }),
    );
    let mut old = convert(new.clone(), OLD).unwrap();
    old["spec"]["bootFromDiskMethod"] = json!("http-404");
    assert_eq!(convert(old.clone(), NEW).unwrap()["spec"]["qualifiers"]["hardware"], hardware);
    old["spec"]["qualifiers"]["systemInformation"][0]["manufacturer"] = json!("B");
    let back = convert(old, NEW).unwrap();
    assert_eq!(back["spec"]["qualifiers"]["hardware"], json!([{ "system": { "manufacturer": "B" } }]));
    assert_eq!(back["spec"]["strategicPatches"], json!(["p"]));
}

#[test]
fn an_annotation_of_an_earlier_write_is_replaced_and_stripped() {
    let mut new = object(NEW, "Server", &json!({ "accepted": true, "strategicPatches": ["now"] }));
    new["metadata"]["annotations"] =
        json!({ CONVERSION_DATA: r#"{"spec":{"strategicPatches":["then"]}}"#, "a": "b" });
    let old = convert(new, OLD).unwrap();
    let back = convert(old, NEW).unwrap();
    assert_eq!(back["spec"]["strategicPatches"], json!(["now"]));
    assert_eq!(back["metadata"]["annotations"], json!({ "a": "b" }));
}

#[test]
fn an_empty_processor_list_stays_and_a_missing_part_stays_missing() {
    for hardware in [
        json!({ "compute": { "processors": [] } }),
        json!({ "compute": { "totalCoreCount": 4 } }),
        json!({ "system": {} }),
        json!({}),
    ] {
        let new = object(NEW, "Server", &json!({ "accepted": true, "hardware": hardware }));
        let old = convert(new.clone(), OLD).unwrap();
        assert_eq!(old["spec"].get("cpu"), None, "{hardware}");
        assert_eq!(forgetful(convert(old, NEW).unwrap()), new, "{hardware}");
    }
}

#[test]
fn what_cannot_be_converted_says_so() {
    let bad_annotation = json!({ "apiVersion": OLD, "kind": "Server", "spec": {},
        "metadata": { "name": "n", "annotations": { CONVERSION_DATA: "{" } } });
    let cases = [
        (json!(7), NEW, "the object is missing"),
        (json!({ "kind": "Server" }), NEW, "apiVersion is missing"),
        (json!({ "apiVersion": OLD }), NEW, "kind is missing"),
        (object("metal.sidero.dev/v1", "Server", &json!({})), NEW, "no such conversion"),
        (object(OLD, "Server", &json!({})), "other.dev/v1alpha2", "no such conversion"),
        (object(OLD, "Pod", &json!({})), NEW, "no such conversion"),
        (object(OLD, "Server", &json!([])), NEW, "spec is missing or not of the right type"),
        (bad_annotation, NEW, "failed to read annotation"),
    ];
    for (object, desired, message) in cases {
        let error = convert(object.clone(), desired).unwrap_err().to_string();
        assert!(error.contains(message), "{object}: {error}");
    }
}

#[test]
fn an_object_without_spec_or_metadata_converts() {
    let bare = json!({ "apiVersion": NEW, "kind": "Server" });
    let down = convert(bare, OLD).unwrap();
    assert_eq!(down["apiVersion"], OLD);
    assert_eq!(convert(down, NEW).unwrap()["apiVersion"], NEW);
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9 \u{e4}\"\\\\]{1,8}"]
}

prop_compose! {
    fn system()(uuid in word(), manufacturer in word(), product_name in word(), version in word(),
        serial_number in word(), sku_number in word(), family in word()) -> SystemInformation {
        SystemInformation { uuid, manufacturer, product_name, version, serial_number, sku_number, family }
    }
}

prop_compose! {
    fn processor()(manufacturer in word(), product_name in word(), serial_number in word(), speed in any::<i32>(),
        core_count in any::<i32>(), thread_count in any::<i32>()) -> Processor {
        Processor { manufacturer, product_name, serial_number, speed, core_count, thread_count }
    }
}

prop_compose! {
    fn compute()(total_core_count in any::<i32>(), processor_count in any::<i32>(),
        processors in vec(processor(), 0..3)) -> ComputeInformation {
        ComputeInformation { total_core_count, total_thread_count: 0, processor_count, processors }
    }
}

prop_compose! {
    fn hardware()(system in option::of(system()), compute in option::of(compute()), size in any::<i64>(),
        text in word(), memory in any::<bool>(), storage in any::<bool>(), network in any::<bool>())
        -> HardwareInformation {
        let module = MemoryModule { manufacturer: text.clone(), size: 1024, ..MemoryModule::default() };
        let disk = StorageDevice { size, wwid: text.clone(), ..StorageDevice::default() };
        let link = NetworkInterface { mac: text.clone(), addresses: vec![text.clone()], ..NetworkInterface::default() };
        HardwareInformation {
            system,
            compute,
            memory: memory.then(|| MemoryInformation { total_size: text.clone(), module_count: 1, modules: vec![module] }),
            storage: storage.then(|| StorageInformation { total_size: text, device_count: 1, devices: vec![disk] }),
            network: network.then(|| NetworkInformation { interface_count: 1, interfaces: vec![link] }),
        }
    }
}

prop_compose! {
    fn patch()(op in word(), path in word(), value in option::of(prop_oneof![Just(Value::Null), Just(json!({ "a": [1] }))]))
        -> ConfigPatch {
        ConfigPatch { op, path, value }
    }
}

prop_compose! {
    fn server()(hardware in option::of(hardware()), hostname in word(), accepted in any::<bool>(),
        cordoned in any::<bool>(), config_patches in vec(patch(), 0..3), strategic_patches in vec(word(), 0..3))
        -> Server {
        let spec = ServerSpec { hardware, hostname, accepted, cordoned, config_patches, strategic_patches, ..ServerSpec::default() };
        Server::new("n", spec)
    }
}

/// The older form of a processor, without what is empty.
fn old_cpu((manufacturer, version): (String, String)) -> Value {
    let fields = [("manufacturer", manufacturer), ("version", version)];
    fields
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (key.to_owned(), Value::from(text)))
        .collect()
}

/// The older form of a system.
fn old_system(system: SystemInformation) -> Value {
    serde_json::to_value(SystemInformation { uuid: String::new(), ..system }).unwrap()
}

prop_compose! {
    fn old_server()(cpu in option::of((word(), word())), system in option::of(system()), accepted in any::<bool>())
        -> Value {
        let mut spec = json!({ "accepted": accepted });
        if let Some(cpu) = cpu {
            spec["cpu"] = old_cpu(cpu);
        }
        if let Some(system) = system {
            spec["system"] = old_system(system);
        }
        object(OLD, "Server", &spec)
    }
}

prop_compose! {
    fn class()(hardware in vec(hardware(), 0..4), label_selectors in vec(btree_map(word(), word(), 0..3), 0..3),
        strategic_patches in vec(word(), 0..3), boot_from_disk_method in word()) -> ServerClass {
        let qualifiers = Qualifiers { hardware, label_selectors };
        ServerClass::new("n", ServerClassSpec { qualifiers, strategic_patches, boot_from_disk_method, ..ServerClassSpec::default() })
    }
}

prop_compose! {
    fn old_class()(systems in vec(system(), 0..3), cpus in vec((word(), word()), 0..3)) -> Value {
        let mut qualifiers = json!({});
        if !systems.is_empty() {
            qualifiers["systemInformation"] = systems.into_iter().map(old_system).collect();
        }
        if !cpus.is_empty() {
            qualifiers["cpu"] = cpus.into_iter().map(old_cpu).collect();
        }
        let is_empty = qualifiers.as_object().unwrap().is_empty();
        let spec = if is_empty { json!({}) } else { json!({ "qualifiers": qualifiers }) };
        object(OLD, "ServerClass", &spec)
    }
}

/// A write of a client of the older version, which knows the fields of its schema only.
fn written_through_old<New: Serialize + DeserializeOwned>(start: &New, edit: impl FnOnce(&mut Value)) -> New {
    let mut old = client::read(convert(serde_json::to_value(start).unwrap(), OLD).unwrap());
    edit(&mut old);
    serde_json::from_value(convert(old, NEW).unwrap()).unwrap()
}

/// An older object after a client of the newer version read and wrote it, without what is kept for that version.
fn written_through_new<New: Serialize + DeserializeOwned>(old: &Value) -> Value {
    let new: New = serde_json::from_value(convert(old.clone(), NEW).unwrap()).unwrap();
    forgetful(client::read(convert(serde_json::to_value(new).unwrap(), OLD).unwrap()))
}

proptest! {
    #[test]
    fn an_old_client_that_edits_a_server_loses_nothing_newer(server in server(), hostname in word()) {
        let back: Server = written_through_old(&server, |old| {
            old["spec"]["hostname"] = json!(hostname);
            old["spec"]["cordoned"] = json!(!server.spec.cordoned);
            old["status"] = json!({ "isClean": true });
        });
        let mut expected = server.spec.clone();
        expected.hostname = hostname;
        expected.cordoned = !expected.cordoned;
        prop_assert_eq!(back.spec, expected);
        prop_assert!(back.status.unwrap().is_clean);
    }

    #[test]
    fn an_old_client_that_edits_a_class_loses_nothing_newer(class in class(), method in word()) {
        let back: ServerClass = written_through_old(&class, |old| {
            old["spec"]["bootFromDiskMethod"] = json!(method);
        });
        let mut expected = class.spec.clone();
        expected.boot_from_disk_method = method;
        prop_assert_eq!(back.spec, expected);
    }

    #[test]
    fn servers_survive_the_old_version(server in server()) {
        let back: Server = written_through_old(&server, |_| {});
        prop_assert_eq!(&back.spec, &server.spec);
        prop_assert!(back.metadata.annotations.is_none());
    }

    #[test]
    fn old_servers_survive_the_new_version(server in old_server()) {
        prop_assert_eq!(&written_through_new::<Server>(&server)["spec"], &server["spec"]);
    }

    #[test]
    fn classes_survive_the_old_version(class in class()) {
        let back: ServerClass = written_through_old(&class, |_| {});
        prop_assert_eq!(&back.spec, &class.spec);
    }

    #[test]
    fn old_classes_survive_the_new_version(class in old_class()) {
        prop_assert_eq!(&written_through_new::<ServerClass>(&class)["spec"], &class["spec"]);
    }

    #[test]
    fn environments_survive(url in word(), args in vec(word(), 0..4)) {
        let mut environment = Environment::new("n", EnvironmentSpec::default());
        environment.spec.kernel.url = url;
        environment.spec.kernel.args = args;
        let back: Environment = written_through_old(&environment, |_| {});
        prop_assert_eq!(&back.spec, &environment.spec);
    }
}
