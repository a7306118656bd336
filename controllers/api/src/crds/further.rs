//! The further served versions of the kinds: their schemas are made from that of the stored version.
//!
//! Never stored: conversion happens at the door. Its [`Form`](crate::conversion::contract::Form) says which fields are in
//! another place, and which are not there at all; here is what else differs.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::contract::ContractReference;
use crate::conversion::SPOKE;
use crate::conversion::contract::{self, CONTRACT_REFERENCE, CORE_REFERENCE, ENDPOINT, ENDPOINTS};
use crate::schema::Column;
use crate::{
    environment, server, server_class, talos_config, talos_config_template, talos_control_plane,
    talos_control_plane_template,
};

/// A further version of a kind.
pub(super) struct Further {
    pub(super) version: &'static str,
    pub(super) columns: &'static [Column],
    /// What neither its form nor `texts` can say.
    change: fn(&mut Value),
    /// Pointer of a field, and the description that it has in this version.
    texts: &'static [(&'static str, &'static str)],
}

impl Further {
    /// Alike but for its form.
    const fn alike(version: &'static str, columns: &'static [Column]) -> Self {
        Self { version, columns, change: |_| {}, texts: &[] }
    }

    /// Makes this version's schema of that of the stored one.
    pub(super) fn shape(&self, group: &str, kind: &str, schema: &mut Value) {
        if let Some(form) = contract::form(group, kind, self.version) {
            for pointer in form.hub_only {
                take(schema, pointer);
            }
            let moved: Vec<_> =
                form.moves.iter().filter_map(|(from, to)| Some((to, take(schema, from)?))).collect();
            for (to, field) in moved {
                put(schema, to, field);
            }
        }
        leave_out_contracts(schema);
        (self.change)(schema);
        for (pointer, text) in self.texts {
            if let Some(field) = field(schema, pointer) {
                field["description"] = json!(text);
            }
        }
    }
}

pub(super) const SERVER: Further =
    Further { change: older_server, ..Further::alike(SPOKE, &server::COLUMNS) };
pub(super) const SERVER_CLASS: Further =
    Further { change: older_class, ..Further::alike(SPOKE, &server_class::COLUMNS) };
pub(super) const ENVIRONMENT: Further = Further::alike(SPOKE, &environment::COLUMNS);

pub(super) const METAL_CLUSTER: Further = Further {
    version: "v1alpha2",
    columns: &[],
    change: lists_of_endpoints,
    texts: &[
        (ENDPOINTS[0], "Where the control plane is reached; the first one counts."),
        (ENDPOINTS[1], "Where the control plane is reached."),
    ],
};
pub(super) const METAL_MACHINE: Further = Further {
    texts: &[
        ("/spec/serverRef", "The Server."),
        ("/status/errorReason", "Why the machine cannot go on, as one word."),
        ("/status/errorMessage", "Why the machine cannot go on."),
    ],
    ..Further::alike("v1alpha2", &[])
};
pub(super) const METAL_MACHINE_TEMPLATE: Further =
    Further { texts: &[("/spec/template/spec/serverRef", "The Server.")], ..Further::alike("v1alpha2", &[]) };

const TYPE: &str = "/spec/generateType";
const TEMPLATE_TYPE: &str = "/spec/template/spec/generateType";
const OLDEST_TYPES: &str =
    "Type of the machine: controlplane, worker, init, or none for the configuration in `data`.";
const NEWEST_TYPES: &str =
    "Type of the machine: controlplane, worker, init (deprecated), or none for the configuration in `data`.";

pub(super) const TALOS_CONFIG: [Further; 2] = [
    Further {
        version: "v1beta1",
        columns: &talos_config::COLUMNS_V1BETA1,
        change: |schema| {
            only_known_types(schema, TYPE);
            if let Some(name) = field(schema, "/status/dataSecretName") {
                (name["minLength"], name["maxLength"]) = (json!(1), json!(253));
            }
        },
        texts: &[
            (TYPE, NEWEST_TYPES),
            ("/status/conditions", "Observations."),
            ("/status/deprecated", "What the older contract has."),
            ("/status/deprecated/v1beta", "Under the name that upstream gave it."),
            ("/status/initialization", "How far the configuration is."),
            ("/status/initialization/dataSecretCreated", "Whether the Secret was made."),
        ],
    },
    Further {
        version: "v1alpha2",
        columns: &[],
        change: |schema| put(schema, "/status/bootstrapData", json!({ "type": "string" })),
        texts: &[
            (TYPE, OLDEST_TYPES),
            (
                "/status/bootstrapData",
                "The configuration, base64. Never written: newer versions have it in a Secret.",
            ),
            ("/status/talosConfig", "A client configuration."),
            ("/status/errorReason", "Why it cannot go on, as one word."),
            ("/status/errorMessage", "Why it cannot go on."),
        ],
    },
];
pub(super) const TALOS_CONFIG_TEMPLATE: [Further; 2] = [
    Further {
        version: "v1beta1",
        columns: &talos_config_template::COLUMNS_V1BETA1,
        change: |schema| only_known_types(schema, TEMPLATE_TYPE),
        texts: &[(TEMPLATE_TYPE, NEWEST_TYPES)],
    },
    Further { texts: &[(TEMPLATE_TYPE, OLDEST_TYPES)], ..Further::alike("v1alpha2", &[]) },
];

pub(super) const TALOS_CONTROL_PLANE: Further = Further {
    version: "v1beta1",
    columns: &talos_control_plane::COLUMNS_V1BETA1,
    change: reference_of_the_contract,
    texts: &[
        ("/spec/machineTemplate", "What the machines are made of."),
        (CONTRACT_REFERENCE, "What the infrastructure of each machine is made of."),
        ("/status/conditions", "Observations."),
        ("/status/deprecated", "What the older contract has."),
        ("/status/deprecated/v1beta1", "Contract v1beta1."),
    ],
};
/// Alike, so that a ClusterClass makes TalosControlPlanes of v1beta1.
pub(super) const TALOS_CONTROL_PLANE_TEMPLATE: Further =
    Further::alike("v1beta1", &talos_control_plane_template::COLUMNS);

/// Server v1alpha1 knows the system and one processor.
fn older_server(schema: &mut Value) {
    take(schema, "/spec/strategicPatches");
    let hardware = take(schema, "/spec/hardware").unwrap_or_default();
    let texts =
        ["SMBIOS type 1, as taken at registration.", "The first processor, as taken at registration."];
    let [system, cpu] = older_hardware(&hardware, texts);
    put(schema, "/spec/system", system);
    put(schema, "/spec/cpu", cpu);
}

/// ServerClass v1alpha1 has qualifiers by system and by processor.
fn older_class(schema: &mut Value) {
    take(schema, "/spec/strategicPatches");
    let hardware = take(schema, "/spec/qualifiers/hardware").unwrap_or_default();
    let texts = ["The system as SMBIOS describes it.", "One processor."];
    let [system, cpu] = older_hardware(&hardware["items"], texts);
    let list = |items: Value, what: &str| {
        let description = format!("{what}; one entry that matches suffices.");
        json!({ "type": "array", "items": items, "description": description })
    };
    put(schema, "/spec/qualifiers/systemInformation", list(system, "Systems"));
    put(schema, "/spec/qualifiers/cpu", list(cpu, "Processors"));
}

/// The older forms of system and processor, with these descriptions.
fn older_hardware(hardware: &Value, [of_system, of_cpu]: [&str; 2]) -> [Value; 2] {
    let mut system = hardware["properties"]["system"].clone();
    system["description"] = json!(of_system);
    if let Some(fields) = system.get_mut("properties").and_then(Value::as_object_mut) {
        fields.remove("uuid");
    }
    let text = |description: &str| json!({ "type": "string", "description": description });
    let version = text("Version, which v1alpha2 calls the product name.");
    let fields = json!({ "manufacturer": text("Manufacturer."), "version": version });
    [system, json!({ "type": "object", "description": of_cpu, "properties": fields })]
}

fn lists_of_endpoints(schema: &mut Value) {
    let mut endpoint = take(schema, ENDPOINT).unwrap_or_default();
    endpoint["description"] = json!("Where a control plane is reached.");
    for place in ENDPOINTS {
        put(schema, place, json!({ "type": "array", "items": endpoint }));
    }
}

fn only_known_types(schema: &mut Value, pointer: &str) {
    if let Some(field) = field(schema, pointer) {
        field["enum"] = json!(["controlplane", "worker", "init", "none"]);
    }
}

/// A reference without version and namespace, which is required.
fn reference_of_the_contract(schema: &mut Value) {
    take(schema, CORE_REFERENCE);
    put(
        schema,
        CONTRACT_REFERENCE,
        ContractReference::json_schema(&mut SchemaGenerator::default()).to_value(),
    );
    for (pointer, name) in [
        ("/spec", "machineTemplate"),
        ("/spec/machineTemplate", "spec"),
        ("/spec/machineTemplate/spec", "infrastructureRef"),
    ] {
        let Some(owner) = field(schema, pointer) else { continue };
        match owner.get_mut("required").and_then(Value::as_array_mut) {
            Some(required) => {
                required.push(json!(name));
                required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
            None => owner["required"] = json!([name]),
        }
    }
}

/// One version serves one contract: no field needs to say of which it is.
fn leave_out_contracts(schema: &mut Value) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace(" (contract v1beta1)", "").replace(" (contract v1beta2)", "");
    }
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    fields.into_iter().flat_map(|fields| fields.values_mut()).for_each(leave_out_contracts);
}

/// The schema of the field at a pointer into an object.
fn field<'a>(schema: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    schema.pointer_mut(&pointer.replace('/', "/properties/"))
}

/// Takes a field out, and of a status what is empty around it, as conversion does.
fn take(schema: &mut Value, pointer: &str) -> Option<Value> {
    let (parent, name) = pointer.rsplit_once('/')?;
    let owner = field(schema, parent)?;
    if let Some(required) = owner.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|required| required != name);
    }
    let fields = owner.get_mut("properties")?.as_object_mut()?;
    let taken = fields.remove(name);
    if fields.is_empty() && parent.starts_with("/status/") {
        take(schema, parent);
    }
    taken
}

/// Puts a field where it belongs, with what is needed around it.
fn put(schema: &mut Value, pointer: &str, new: Value) {
    let mut place = schema;
    for step in pointer.split('/').skip(1) {
        place = &mut place["properties"][step];
        if place.is_null() {
            *place = json!({ "type": "object" });
        }
    }
    *place = new;
}
