//! The kinds of Cluster API's contracts: versions that differ by names and places of fields, as data.
//!
//! The storage version is v1alpha3; between two others it goes by way of that. What only the storage version can say is
//! kept in the annotation and taken back from there.
//! Never takes back what the other version can say: there its client's word counts.

use serde_json::{Map, Value, json};

use super::{Error, Object, keep, take_kept};
use crate::{BOOTSTRAP_GROUP, CONTROL_PLANE_GROUP, INFRASTRUCTURE_GROUP};

/// The storage version.
const HUB: &str = "v1alpha3";
/// Version of an infrastructure template of another provider where a reference says none. Its controller asks for the
/// version that the kind's definition names.
const UNKNOWN_VERSION: &str = "v1beta1";

/// How a further version of a kind differs from the storage version. The definition's schema is made of it too.
pub(crate) struct Form {
    group: &'static str,
    kind: &'static str,
    version: &'static str,
    /// Pointer in the storage version, pointer in this one.
    pub(crate) moves: &'static [(&'static str, &'static str)],
    /// Pointers that only the storage version has.
    pub(crate) hub_only: &'static [&'static str],
    special: Special,
}

/// What is no renaming.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    None,
    /// One endpoint, or lists of them in spec and status.
    Endpoints,
    /// A core reference, or one of contract v1beta2 which has no version and no namespace.
    InfrastructureReference,
}

const FAILURE: [(&str, &str); 2] =
    [("/status/failureReason", "/status/errorReason"), ("/status/failureMessage", "/status/errorMessage")];

const FORMS: &[Form] = &[
    Form {
        group: INFRASTRUCTURE_GROUP,
        kind: "MetalCluster",
        version: "v1alpha2",
        moves: &[],
        hub_only: &[
            "/spec/failureDomainLabel",
            "/status/initialization",
            "/status/failureDomains",
            "/status/failureReason",
            "/status/failureMessage",
            "/status/conditions",
            "/status/v1beta2",
        ],
        special: Special::Endpoints,
    },
    Form {
        group: INFRASTRUCTURE_GROUP,
        kind: "MetalMachine",
        version: "v1alpha2",
        moves: &FAILURE,
        hub_only: &[
            "/spec/serverClassRef",
            "/status/initialization",
            "/status/addresses",
            "/status/failureDomain",
            "/status/conditions",
            "/status/v1beta2",
        ],
        special: Special::None,
    },
    Form {
        group: INFRASTRUCTURE_GROUP,
        kind: "MetalMachineTemplate",
        version: "v1alpha2",
        moves: &[],
        hub_only: &["/spec/template/spec/serverClassRef"],
        special: Special::None,
    },
    Form {
        group: BOOTSTRAP_GROUP,
        kind: "TalosConfig",
        version: "v1alpha2",
        moves: &FAILURE,
        hub_only: &[
            "/spec/talosVersion",
            "/spec/configPatches",
            "/spec/strategicPatches",
            "/spec/hostname",
            "/status/dataSecretName",
            "/status/observedGeneration",
            "/status/conditions",
            "/status/v1beta2Status",
        ],
        special: Special::None,
    },
    Form {
        group: BOOTSTRAP_GROUP,
        kind: "TalosConfigTemplate",
        version: "v1alpha2",
        moves: &[],
        hub_only: &[
            "/spec/template/spec/talosVersion",
            "/spec/template/spec/configPatches",
            "/spec/template/spec/strategicPatches",
            "/spec/template/spec/hostname",
        ],
        special: Special::None,
    },
    Form {
        group: BOOTSTRAP_GROUP,
        kind: "TalosConfig",
        version: "v1beta1",
        moves: &[
            ("/status/ready", "/status/initialization/dataSecretCreated"),
            ("/status/conditions", "/status/deprecated/v1beta/conditions"),
            ("/status/failureReason", "/status/deprecated/v1beta/failureReason"),
            ("/status/failureMessage", "/status/deprecated/v1beta/failureMessage"),
            ("/status/v1beta2Status/conditions", "/status/conditions"),
        ],
        hub_only: &["/status/talosConfig"],
        special: Special::None,
    },
    Form {
        group: BOOTSTRAP_GROUP,
        kind: "TalosConfigTemplate",
        version: "v1beta1",
        moves: &[],
        hub_only: &[],
        special: Special::None,
    },
    Form {
        group: CONTROL_PLANE_GROUP,
        kind: "TalosControlPlane",
        version: "v1beta1",
        moves: &[
            ("/status/conditions", "/status/deprecated/v1beta1/conditions"),
            ("/status/failureReason", "/status/deprecated/v1beta1/failureReason"),
            ("/status/failureMessage", "/status/deprecated/v1beta1/failureMessage"),
            ("/status/unavailableReplicas", "/status/deprecated/v1beta1/unavailableReplicas"),
            ("/status/updatedReplicas", "/status/deprecated/v1beta1/updatedReplicas"),
            ("/status/ready", "/status/deprecated/v1beta1/ready"),
            ("/status/initialized", "/status/deprecated/v1beta1/initialized"),
            ("/status/v1beta2/conditions", "/status/conditions"),
        ],
        hub_only: &[],
        special: Special::InfrastructureReference,
    },
    Form {
        group: CONTROL_PLANE_GROUP,
        kind: "TalosControlPlaneTemplate",
        version: "v1beta1",
        moves: &[],
        hub_only: &[],
        special: Special::None,
    },
];

/// The form of a further version, if it is one.
pub(crate) fn form(group: &str, kind: &str, version: &str) -> Option<&'static Form> {
    FORMS.iter().find(|form| (form.group, form.kind, form.version) == (group, kind, version))
}

/// Converts, if this is a kind of the contracts and both versions are known.
pub(super) fn convert(
    object: &mut Object,
    kind: &str,
    from: &str,
    desired: &str,
) -> Option<Result<(), Error>> {
    let (group, from) = from.split_once('/')?;
    let desired = desired.strip_prefix(group)?.strip_prefix('/')?;
    let up = (from != HUB).then(|| form(group, kind, from));
    let down = (desired != HUB).then(|| form(group, kind, desired));
    match (up, down) {
        (Some(None), _) | (_, Some(None)) | (None, None) => None,
        (Some(Some(up)), None) => Some(up.up(object)),
        (None, Some(Some(down))) => Some(down.down(object)),
        (Some(Some(up)), Some(Some(down))) => Some(up.up(object).and_then(|()| down.down(object))),
    }
}

impl Form {
    /// From the storage version.
    fn down(&self, object: &mut Object) -> Result<(), Error> {
        check(object)?;
        keep(object)?;
        self.project(object);
        Ok(())
    }

    /// The same without the annotation.
    fn project(&self, object: &mut Object) {
        for pointer in self.hub_only {
            take(object, pointer);
        }
        relocate(object, self.moves.iter().copied());
        match self.special {
            Special::None => {}
            Special::Endpoints => endpoints_down(object),
            Special::InfrastructureReference => reference_down(object),
        }
    }

    /// To the storage version.
    fn up(&self, object: &mut Object) -> Result<(), Error> {
        check(object)?;
        let kept = match take_kept(object)? {
            Some(Value::Object(kept)) => kept,
            Some(_) | None => Object::new(),
        };
        relocate(object, self.moves.iter().map(|(hub, spoke)| (*spoke, *hub)));
        match self.special {
            Special::None => {}
            Special::Endpoints => endpoints_up(object, &kept),
            Special::InfrastructureReference => reference_up(object, &kept),
        }
        for pointer in self.hub_only {
            if let Some(value) = get(&kept, pointer) {
                put(object, pointer, value.clone());
            }
        }
        Ok(())
    }
}

/// A spec or a status that is no object is refused as what it is.
fn check(object: &Object) -> Result<(), Error> {
    for section in ["spec", "status"] {
        if object.get(section).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Err(Error::Malformed(section));
        }
    }
    Ok(())
}

/// Moves all values at once, so that one may take the place of another.
fn relocate<'a>(object: &mut Object, moves: impl Iterator<Item = (&'a str, &'a str)>) {
    let taken: Vec<_> = moves.filter_map(|(from, to)| Some((to, take(object, from)?))).collect();
    for (to, value) in taken {
        put(object, to, value);
    }
}

fn steps(pointer: &str) -> impl Iterator<Item = &str> {
    pointer.split('/').skip(1)
}

fn get<'a>(object: &'a Object, pointer: &str) -> Option<&'a Value> {
    let mut steps = steps(pointer);
    let first = object.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

/// Takes a value out, and of a status what is empty around it. In a spec an empty object may be one that is required.
fn take(object: &mut Object, pointer: &str) -> Option<Value> {
    let (parent, name) = pointer.rsplit_once('/')?;
    let mut value = object.get_mut(steps(parent).next()?)?;
    for step in steps(parent).skip(1) {
        value = value.get_mut(step)?;
    }
    let fields = value.as_object_mut()?;
    let taken = fields.remove(name);
    let is_empty = fields.is_empty();
    if taken.is_some() && is_empty && parent.starts_with("/status/") {
        take(object, parent);
    }
    taken
}

/// Puts a value where it belongs, if its section is there.
fn put(object: &mut Object, pointer: &str, value: Value) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    let mut steps = steps(parent);
    let Some(mut fields) =
        steps.next().and_then(|section| object.get_mut(section)).and_then(Value::as_object_mut)
    else {
        return;
    };
    for step in steps {
        let inner = fields.entry(step).or_insert_with(|| Value::Object(Map::new()));
        if !inner.is_object() {
            *inner = json!({});
        }
        let Some(inner) = inner.as_object_mut() else { return };
        fields = inner;
    }
    fields.insert(name.to_owned(), value);
}

/// The one endpoint of the storage version.
pub(crate) const ENDPOINT: &str = "/spec/controlPlaneEndpoint";
/// The lists of them in v1alpha2.
pub(crate) const ENDPOINTS: [&str; 2] = ["/spec/apiEndpoints", "/status/apiEndpoints"];

/// True for an endpoint that says something.
fn is_endpoint(endpoint: &Value) -> bool {
    endpoint.get("host").is_some_and(|host| host != "") || endpoint.get("port").is_some_and(|port| *port != 0)
}

fn endpoints_down(object: &mut Object) {
    if let Some(endpoint) = take(object, ENDPOINT).filter(is_endpoint) {
        for place in ENDPOINTS {
            put(object, place, json!([endpoint]));
        }
    }
}

fn endpoints_up(object: &mut Object, kept: &Object) {
    let mut lists = ENDPOINTS.map(|place| take(object, place));
    let first = lists.iter_mut().flatten().find_map(|list| list.get_mut(0).map(Value::take));
    // One that says nothing goes down as none.
    let endpoint = first.or_else(|| get(kept, ENDPOINT).filter(|endpoint| !is_endpoint(endpoint)).cloned());
    if let Some(endpoint) = endpoint {
        put(object, ENDPOINT, endpoint);
    }
}

/// The core reference of the storage version.
pub(crate) const CORE_REFERENCE: &str = "/spec/infrastructureTemplate";
/// That of contract v1beta2.
pub(crate) const CONTRACT_REFERENCE: &str = "/spec/machineTemplate/spec/infrastructureRef";

/// The reference of contract v1beta2 for a core reference.
fn contract_reference(reference: &Value) -> Value {
    let mut contract = Map::new();
    let api_version = reference.get("apiVersion").and_then(Value::as_str);
    if let Some(group) = api_version.and_then(|text| text.split_once('/')).map(|(group, _)| group) {
        contract.insert("apiGroup".to_owned(), json!(group));
    }
    for key in ["kind", "name"] {
        if let Some(value) = reference.get(key) {
            contract.insert(key.to_owned(), value.clone());
        }
    }
    Value::Object(contract)
}

fn reference_down(object: &mut Object) {
    if let Some(reference) = take(object, CORE_REFERENCE) {
        put(object, CONTRACT_REFERENCE, contract_reference(&reference));
    }
}

fn reference_up(object: &mut Object, kept: &Object) {
    let Some(contract) = take(object, CONTRACT_REFERENCE) else { return };
    // Nothing in the stored version needs what was around it.
    for around in ["/spec/machineTemplate/spec", "/spec/machineTemplate"] {
        if get(object, around).and_then(Value::as_object).is_some_and(Map::is_empty) {
            take(object, around);
        }
    }
    let known = get(kept, CORE_REFERENCE).filter(|known| contract_reference(known) == contract);
    let reference = known.cloned().unwrap_or_else(|| core_reference(object, &contract));
    put(object, CORE_REFERENCE, reference);
}

/// The core reference for one of contract v1beta2.
fn core_reference(object: &Object, contract: &Value) -> Value {
    let mut reference = Map::new();
    if let Some(group) = contract.get("apiGroup").and_then(Value::as_str) {
        let version = if group == INFRASTRUCTURE_GROUP { HUB } else { UNKNOWN_VERSION };
        reference.insert("apiVersion".to_owned(), json!(format!("{group}/{version}")));
    }
    for key in ["kind", "name"] {
        if let Some(value) = contract.get(key) {
            reference.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(namespace) = get(object, "/metadata/namespace") {
        reference.insert("namespace".to_owned(), namespace.clone());
    }
    Value::Object(reference)
}
