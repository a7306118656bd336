//! Which node makes the cluster's etcd: one, ever.
//!
//! The answer is written on the TalosControlPlane before a node is told, on the version that was read: of two programs that
//! answer at once one is refused, and whoever comes later asks the same node again. It survives what status does not: a move
//! of the objects to another management cluster.

use super::seen::SeenMachine;
use crate::talos_control_plane::TalosControlPlane;

/// Annotation of a TalosControlPlane: the Machine that makes etcd, or [`NOWHERE`].
pub const ETCD_ANNOTATION: &str = "bloomery.dev/etcd";
/// No node has been told so far: set when the control plane had no machines.
pub const NOWHERE: &str = "none";

/// What is known of a node's data of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// There is some: etcd was made.
    Some,
    /// There is none.
    None,
    /// The node could not be asked.
    Unknown(String),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: etcd was made.
    Done,
    /// Write down that this machine makes it.
    Choose(String),
    /// Tell this machine.
    Tell(String),
    /// Wait, and for what.
    Wait(String),
}

/// The plan. `found` has what each machine with addresses said, by its name.
pub fn plan(
    control_plane: &TalosControlPlane,
    machines: &[SeenMachine],
    found: &[(String, Data)],
    is_initialized: bool,
) -> Plan {
    if is_initialized || found.iter().any(|(_, data)| *data == Data::Some) {
        return Plan::Done;
    }
    let init = control_plane.spec.control_plane_config.init.as_ref();
    if init.is_some_and(|init| !init.generate_type.is_empty()) {
        return Plan::Wait("the first machine makes etcd by itself (init)".to_owned());
    }
    let annotation = control_plane.metadata.annotations.as_ref().and_then(|all| all.get(ETCD_ANNOTATION));
    match annotation.map(String::as_str) {
        Some(NOWHERE) => first_ready(machines, found),
        // Whoever is chosen may have been told: no other is, as long as it is there.
        Some(chosen) => tell(chosen, machines, found),
        // Nobody knows what was before. Only if no node has data, none was told.
        None => match unasked(machines, found) {
            Some(why) => Plan::Wait(why),
            None => first_ready(machines, found),
        },
    }
}

fn tell(chosen: &str, machines: &[SeenMachine], found: &[(String, Data)]) -> Plan {
    let Some(seen) = machines.iter().find(|seen| seen.name() == chosen) else {
        // It is gone with what it may have made. The others wait to be let in: one of them can begin.
        return match unasked(machines, found) {
            Some(why) => Plan::Wait(why),
            None => first_ready(machines, found),
        };
    };
    match data_of(chosen, found) {
        Some(Data::Some) => Plan::Done,
        Some(Data::None) if seen.is_deleting() => Plan::Wait(format!("Machine {chosen} is being deleted")),
        Some(Data::None) => Plan::Tell(chosen.to_owned()),
        Some(Data::Unknown(why)) => Plan::Wait(format!("Machine {chosen}: {why}")),
        None => Plan::Wait(no_address(chosen)),
    }
}

/// The first machine, in the order of their making, that says that it has no data.
fn first_ready(machines: &[SeenMachine], found: &[(String, Data)]) -> Plan {
    let mut waits = None;
    for seen in machines.iter().filter(|seen| !seen.is_deleting()) {
        match data_of(seen.name(), found) {
            Some(Data::None) => return Plan::Choose(seen.name().to_owned()),
            Some(Data::Some) => return Plan::Done,
            Some(Data::Unknown(why)) => {
                waits = waits.or_else(|| Some(format!("Machine {}: {why}", seen.name())));
            }
            None => waits = waits.or_else(|| Some(no_address(seen.name()))),
        }
    }
    Plan::Wait(waits.unwrap_or_else(|| "there is no machine".to_owned()))
}

/// Why it is not known whether a node has data.
fn unasked(machines: &[SeenMachine], found: &[(String, Data)]) -> Option<String> {
    machines.iter().filter(|seen| seen.may_have_run()).find_map(|seen| match data_of(seen.name(), found) {
        Some(Data::Some | Data::None) => None,
        Some(Data::Unknown(why)) => Some(format!("Machine {}: {why}", seen.name())),
        None => Some(no_address(seen.name())),
    })
}

fn data_of<'a>(machine: &str, found: &'a [(String, Data)]) -> Option<&'a Data> {
    found.iter().find(|(name, _)| name == machine).map(|(_, data)| data)
}

fn no_address(machine: &str) -> String {
    format!("machine {machine:?} doesn't have an any InternalIP or ExternalIP address yet")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controlplane::seen::Talos;
    use crate::talos_control_plane::TalosControlPlaneSpec;

    fn machine(name: &str, has_run: bool) -> SeenMachine {
        let machine = serde_json::from_value(
            json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": { "name": name }, "spec": { "providerID": if has_run { "sidero://a" } else { "" } } }),
        );
        SeenMachine { machine: machine.unwrap(), origin: None, config: None, talos: Talos::silent("") }
    }

    fn control_plane(annotation: Option<&str>) -> TalosControlPlane {
        let mut made = TalosControlPlane::new("c", TalosControlPlaneSpec::default());
        made.metadata.annotations =
            annotation.map(|text| [(ETCD_ANNOTATION.to_owned(), text.to_owned())].into());
        made
    }

    #[test]
    fn one_node_is_told_and_no_other_while_it_is_there() {
        let (some, none) =
            (|name: &str| (name.to_owned(), Data::Some), |name: &str| (name.to_owned(), Data::None));
        let silent = |name: &str| (name.to_owned(), Data::Unknown("off".to_owned()));
        let choose = |name: &str| Plan::Choose(name.to_owned());
        let wait = |why: &str| Plan::Wait(why.to_owned());
        let both = [machine("a", true), machine("b", true)];
        let waiting = [machine("a", true), machine("b", false)];
        for (annotation, machines, found, expected) in [
            // Made here: the first that is ready, whatever the others do.
            (Some("none"), &both, vec![silent("a"), none("b")], choose("b")),
            (Some("none"), &both, vec![none("a"), none("b")], choose("a")),
            (Some("none"), &both, vec![silent("a"), silent("b")], wait("Machine a: off")),
            (Some("none"), &both, vec![none("a"), some("b")], Plan::Done),
            // Moved here: all that ran must be heard.
            (None, &both, vec![silent("a"), none("b")], wait("Machine a: off")),
            (
                None,
                &both,
                vec![none("b")],
                wait("machine \"a\" doesn't have an any InternalIP or ExternalIP address yet"),
            ),
            (None, &both, vec![none("a"), none("b")], choose("a")),
            (None, &waiting, vec![none("a")], choose("a")),
            (None, &both, vec![none("a"), some("b")], Plan::Done),
            // Chosen: it alone.
            (Some("b"), &both, vec![none("a"), none("b")], Plan::Tell("b".to_owned())),
            (Some("b"), &both, vec![none("a"), silent("b")], wait("Machine b: off")),
            (Some("b"), &both, vec![none("a"), some("b")], Plan::Done),
            // The chosen one is gone.
            (Some("x"), &both, vec![none("a"), silent("b")], wait("Machine b: off")),
            (Some("x"), &both, vec![none("a"), none("b")], choose("a")),
        ] {
            let plan = plan(&control_plane(annotation), machines, &found, false);
            assert_eq!(plan, expected, "{annotation:?} {found:?}");
        }
        assert_eq!(
            plan(&control_plane(None), &both, &[], true),
            Plan::Done,
            "its API server answered before"
        );
    }
}
