use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::controlplane::seen::{
    DELETE_MACHINE_ANNOTATION, EtcdMember, LEAVING_ANNOTATION, NodeService, Origin, SeenNode, Talos,
};
use crate::infrastructure::verdict::Verdict;

/// A control plane of so many replicas.
struct Site {
    control_plane: TalosControlPlane,
    cluster: Cluster,
    machines: Vec<SeenMachine>,
    nodes: Result<BTreeMap<String, SeenNode>, String>,
}

impl Site {
    fn new(replicas: i32, names: &[&str]) -> Self {
        let control_plane: TalosControlPlane = serde_json::from_value(json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha3", "kind": "TalosControlPlane",
            "metadata": { "name": "cp", "finalizers": [FINALIZER] },
            "spec": { "replicas": replicas, "version": "v1.36.0",
                "infrastructureTemplate": { "apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha3", "kind": "T", "name": "t" },
                "controlPlaneConfig": { "controlplane": { "generateType": "controlplane" } } },
            "status": { "bootstrapped": true, "initialized": true },
        }))
        .unwrap();
        let cluster =
            serde_json::from_value(json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": { "name": "c" }, "spec": { "controlPlaneEndpoint": { "host": "h", "port": 1 } },
            "status": { "initialization": { "infrastructureProvisioned": true } } }))
            .unwrap();
        let members: Vec<EtcdMember> = (1..)
            .zip(names)
            .map(|(id, name)| EtcdMember { id, hostname: (*name).to_owned(), is_learner: false })
            .collect();
        let machines = (0_u8..).zip(names).map(|(age, name)| machine(name, age, &members)).collect();
        let nodes = names.iter().map(|name| ((*name).to_owned(), SeenNode { is_ready: true })).collect();
        Self { control_plane, cluster, machines, nodes: Ok(nodes) }
    }

    fn decide(&self) -> Decision {
        let Self { control_plane, cluster, machines, nodes } = self;
        decide(&View { control_plane, cluster, machines, nodes })
    }

    fn step(&self) -> Step {
        self.decide().step
    }

    fn change(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

fn machine(name: &str, age: u8, members: &[EtcdMember]) -> SeenMachine {
    let machine = serde_json::from_value(
        json!({ "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
        "metadata": { "name": name, "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z"), "annotations": {} },
        "spec": { "version": "v1.36.0", "providerID": "x" }, "status": { "nodeRef": { "name": name } } }),
    );
    let etcd = NodeService {
        id: "etcd".to_owned(),
        state: "Running".to_owned(),
        healthy: Some(true),
        message: String::new(),
    };
    SeenMachine {
        machine: machine.unwrap(),
        origin: None,
        config: None,
        talos: Talos {
            services: Ok(vec![etcd]),
            members: Ok(members.to_vec()),
            own_member: members.iter().find(|member| member.hostname == name).map(|member| member.id),
        },
    }
}

fn annotate(seen: &mut SeenMachine, key: &str) {
    let annotations = seen.machine.metadata.annotations.get_or_insert_default();
    annotations.insert(key.to_owned(), "true".to_owned());
}

fn delete(seen: &mut SeenMachine) {
    seen.machine.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
}

fn mark(name: &str) -> Step {
    Step::Mark(name.to_owned())
}

#[test]
fn machines_are_made_without_waiting_and_etcd_before_anything_is_replaced() {
    let fresh = |site: Site| site.change(|site| site.control_plane.status = None);
    assert_eq!(fresh(Site::new(3, &[])).step(), Step::Create);
    assert_eq!(fresh(Site::new(3, &["a", "b"])).step(), Step::Create);
    assert_eq!(fresh(Site::new(3, &["a", "b", "c"])).step(), Step::Bootstrap);
    let newer = |site: &mut Site| site.control_plane.spec.version = "v1.37.0".to_owned();
    assert_eq!(fresh(Site::new(1, &["a"])).change(newer).step(), Step::Bootstrap);
    assert_eq!(fresh(Site::new(0, &[])).step(), Step::Steady);
    let decision = fresh(Site::new(3, &["a"])).decide();
    assert_eq!(decision.resized.message, "Scaling up control plane to 3 replicas (actual 1)");
    assert_eq!(Site::new(3, &["a", "b", "c"]).step(), Step::Steady);
}

#[test]
fn too_many_go_one_by_one_and_the_oldest_first() {
    assert_eq!(Site::new(1, &["a", "b", "c"]).step(), mark("a"));
    let chosen = Site::new(1, &["a", "b", "c"])
        .change(|site| annotate(&mut site.machines[2], DELETE_MACHINE_ANNOTATION));
    assert_eq!(chosen.step(), mark("c"));
    let leaving =
        Site::new(1, &["a", "b", "c"]).change(|site| annotate(&mut site.machines[1], LEAVING_ANNOTATION));
    assert_eq!(leaving.step(), Step::Leave("b".to_owned()));
    // What was begun is ended, also when it is not wanted any more.
    let regretted =
        Site::new(3, &["a", "b", "c"]).change(|site| annotate(&mut site.machines[1], LEAVING_ANNOTATION));
    assert_eq!(regretted.step(), Step::Leave("b".to_owned()));
    let left = regretted.change(|site| {
        for index in [0, 2] {
            site.machines[index].talos.members.as_mut().unwrap().remove(1);
        }
    });
    assert_eq!(left.step(), Step::DeleteMachine("b".to_owned()));
}

#[test]
fn every_gate_keeps_the_machines() {
    type Change = fn(&mut Site);
    let cases: [(Change, &str); 8] = [
        (|site| delete(&mut site.machines[2]), "Machine c is being deleted"),
        (|site| site.machines[2].machine.status = None, "Machine c has no node yet"),
        (|site| site.nodes = Err("no answer".to_owned()), "no answer"),
        (
            |site| {
                site.nodes.as_mut().unwrap().insert("c".to_owned(), SeenNode::default());
            },
            "the node of Machine c is not ready",
        ),
        (
            |site| site.machines[2].talos.services.as_mut().unwrap()[0].healthy = Some(false),
            "Machine c: etcd is Running, unhealthy",
        ),
        (|site| site.machines[2].talos = Talos::silent("off"), "Machine c: off"),
        (
            |site| {
                for seen in &mut site.machines {
                    seen.talos.members.as_mut().unwrap()[2].is_learner = true;
                }
            },
            "member 3 of etcd (\"c\") is of no machine, or joining",
        ),
        (
            |site| {
                for seen in &mut site.machines {
                    let id = 9;
                    seen.talos.members.as_mut().unwrap().push(EtcdMember { id, ..EtcdMember::default() });
                }
            },
            "etcd has 4 members, 3 are expected",
        ),
    ];
    for (change, why) in cases {
        let decision = Site::new(1, &["a", "b", "c"]).change(change).decide();
        assert_eq!(decision.step, Step::Wait, "{why}");
        assert_eq!(
            decision.resized.message,
            format!("Scaling down control plane to 1 replicas (actual 3): {why}")
        );
    }
}

#[test]
fn the_last_machine_stays() {
    let decision = Site::new(0, &["a"]).decide();
    assert_eq!(decision.step, Step::Wait);
    assert_eq!(decision.resized, Verdict::fails(SCALING_DOWN, "Cannot scale down control plane nodes to 0"));
    assert_eq!(Site::new(0, &["a", "b"]).step(), mark("a"));
}

#[test]
fn outdated_machines_are_replaced_one_by_one() {
    let newer = |site: &mut Site| site.control_plane.spec.version = "v1.37.0".to_owned();
    let surge = |surge: i32| {
        move |site: &mut Site| {
            site.control_plane.spec.rollout_strategy =
                Some(serde_json::from_value(json!({ "rollingUpdate": { "maxSurge": surge } })).unwrap());
        }
    };
    let update = |seen: &mut SeenMachine| seen.machine.spec.version = "v1.37.0".to_owned();
    assert_eq!(Site::new(3, &["a", "b", "c"]).change(newer).step(), Step::Create);
    assert_eq!(Site::new(3, &["a", "b", "c"]).change(newer).change(surge(0)).step(), mark("a"));
    // With one machine none could go first.
    assert_eq!(Site::new(1, &["a"]).change(newer).change(surge(0)).step(), Step::Create);
    let more = Site::new(3, &["a", "b", "c", "d"]).change(newer).change(|site| update(&mut site.machines[3]));
    assert_eq!(more.step(), mark("a"));
    let decision = more.decide();
    assert_eq!(decision.up_to_date.message, "Rolling 3 replicas with 3 outdated machines");
    let on_delete = Site::new(3, &["a", "b", "c"]).change(newer).change(|site| {
        site.control_plane.spec.rollout_strategy =
            Some(serde_json::from_value(json!({ "type": "OnDelete" })).unwrap());
    });
    assert_eq!(on_delete.step(), Step::Steady);
}

#[test]
fn a_machine_is_outdated_by_version_template_or_configuration() {
    use crate::controlplane::outdated::reasons;
    let base = Site::new(1, &["a"]);
    let origin = |name: &str| Origin {
        name: name.to_owned(),
        group_kind: "T.infrastructure.cluster.x-k8s.io".to_owned(),
    };
    let config = |spec: Value| serde_json::from_value(spec).unwrap();
    for (change, expected) in [
        (Box::new(|_: &mut SeenMachine| {}) as Box<dyn Fn(&mut SeenMachine)>, vec![]),
        (Box::new(|seen| seen.machine.spec.version = "1.36.0".to_owned()), vec![]),
        (
            Box::new(|seen| seen.machine.spec.version = "v1.35.0".to_owned()),
            vec!["Version v1.35.0, v1.36.0 required"],
        ),
        (Box::new(move |seen| seen.origin = Some(origin("t"))), vec![]),
        (Box::new(move |seen| seen.origin = Some(origin("old"))), vec!["Infrastructure template changed"]),
        (
            Box::new(move |seen| {
                seen.config = Some(config(
                    json!({ "generateType": "controlplane", "hostname": {}, "configPatches": [] }),
                ))
            }),
            vec![],
        ),
        (
            Box::new(move |seen| {
                seen.config =
                    Some(config(json!({ "generateType": "controlplane", "talosVersion": "v1.5.0" })))
            }),
            vec!["TalosConfig changed"],
        ),
    ] {
        let mut seen = base.machines[0].clone();
        change(&mut seen);
        assert_eq!(reasons(&seen, &base.control_plane), expected);
    }
}

#[test]
fn a_member_without_a_machine_goes_before_anything_else() {
    let stray = |site: &mut Site| {
        for seen in &mut site.machines {
            let member = EtcdMember { id: 7, hostname: "lost".to_owned(), is_learner: false };
            seen.talos.members.as_mut().unwrap().push(member);
        }
    };
    let (hostname, through) = ("lost".to_owned(), "a".to_owned());
    let removal = Step::RemoveMember { member: 7, hostname, through };
    assert_eq!(Site::new(3, &["a", "b", "c"]).change(stray).step(), removal);
    assert_eq!(Site::new(5, &["a", "b", "c"]).change(stray).step(), removal);
    let unbootstrapped = |site: &mut Site| site.control_plane.status = None;
    assert_eq!(Site::new(3, &["a", "b", "c"]).change(stray).change(unbootstrapped).step(), Step::Bootstrap);
}

#[test]
fn first_things_come_first() {
    let site = Site::new(1, &[]);
    let (cp, cluster) = (&site.control_plane, Some(&site.cluster));
    assert_eq!(first(cp, cluster, false), First::Look);
    assert_eq!(first(cp, cluster, true), First::Paused);
    let mut moved = cp.clone();
    let key = crate::plane::fence::DELETE_FOR_MOVE_ANNOTATION.to_owned();
    moved.metadata.annotations = Some([(key, String::new())].into());
    moved.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap());
    assert_eq!(first(&moved, cluster, false), First::HandsOff);
    let mut deleted = moved.clone();
    deleted.metadata.annotations = None;
    assert_eq!(first(&deleted, None, false), First::Delete);
    assert_eq!(first(&deleted, cluster, true), First::Paused, "a paused Cluster keeps its machines");
    let mut new = cp.clone();
    new.metadata.finalizers = None;
    assert_eq!(first(&new, cluster, false), First::Hold);
    assert!(matches!(first(&new, None, false), First::WaitForCluster(_)));
    let mut bare = site.cluster.clone();
    bare.spec.control_plane_endpoint = None;
    assert!(matches!(first(cp, Some(&bare), false), First::WaitForCluster(_)));
    bare = site.cluster.clone();
    bare.status = None;
    assert!(matches!(first(cp, Some(&bare), false), First::WaitForCluster(_)));
}
