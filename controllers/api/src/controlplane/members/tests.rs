use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn member(id: u64, hostname: &str) -> EtcdMember {
    EtcdMember { id, hostname: hostname.to_owned(), is_learner: false }
}

fn holder(name: &str, members: &[EtcdMember]) -> Holder {
    Holder {
        machine: name.to_owned(),
        names: vec![name.to_owned()],
        has_node: true,
        is_going: false,
        is_healthy: true,
        own_member: members.iter().find(|member| member.hostname == name).map(|member| member.id),
        members: Some(members.to_vec()),
    }
}

fn three() -> Vec<EtcdMember> {
    vec![member(1, "a"), member(2, "b"), member(3, "c")]
}

fn holders(members: &[EtcdMember]) -> Vec<Holder> {
    ["a", "b", "c"].iter().map(|name| holder(name, members)).collect()
}

fn removal(member: u64, hostname: &str, through: &str) -> Audit {
    Audit::Remove { member, hostname: hostname.to_owned(), through: through.to_owned() }
}

#[test]
fn names_are_compared_by_their_first_label_and_without_case() {
    for (name, hostname, expected) in [
        ("a", "a", true),
        ("a", "A", true),
        ("a.example", "A", true),
        ("a", "a.other.example", true),
        ("a", "ab", false),
        ("a", "", false),
        ("", "", false),
        (".x", ".y", false),
    ] {
        assert_eq!(holder(name, &[]).has(&member(1, hostname)), expected, "{name} {hostname}");
    }
}

#[test]
fn only_a_member_that_nobody_has_is_removed_and_one_at_a_time() {
    let mut members = three();
    assert_eq!(audit(&holders(&members)), Audit::Settled);
    members.extend([member(9, "lost"), member(8, "gone")]);
    assert_eq!(audit(&holders(&members)), removal(8, "gone", "a"));
    assert_eq!(audit(&[]), Audit::Settled);
}

#[test]
fn doubt_keeps_every_member() {
    let with = |change: &dyn Fn(&mut Vec<Holder>)| {
        let mut members = three();
        members.push(member(9, "lost"));
        let mut all = holders(&members);
        change(&mut all);
        match audit(&all) {
            Audit::Postponed(why) => why,
            other => panic!("{other:?}"),
        }
    };
    let every = |all: &mut Vec<Holder>, change: &dyn Fn(&mut Vec<EtcdMember>)| {
        all.iter_mut().filter_map(|one| one.members.as_mut()).for_each(change);
    };
    let cases: [(&dyn Fn(&mut Vec<Holder>), &str); 9] = [
        (&|all| all[1].has_node = false, "Machine b has no node yet: its member is not known"),
        (&|all| every(all, &|list| list[3].hostname.clear()), "member 9 is joining etcd"),
        (&|all| every(all, &|list| list[2].is_learner = true), "member 3 is joining etcd"),
        (
            &|all| all[2].members.as_mut().unwrap().truncate(3),
            "Machines a and c do not agree on the members of etcd",
        ),
        (&|all| all.iter_mut().for_each(|one| one.members = None), "no node lists the members of etcd"),
        (&|all| every(all, &Vec::clear), "no node lists the members of etcd"),
        // Upstream removed all of these within milliseconds.
        (
            &|all| {
                all.iter_mut()
                    .for_each(|one| (one.names, one.own_member) = (vec!["10-0-0-1".to_owned()], None))
            },
            "no member of etcd has the name of a machine: none is removed",
        ),
        // The one without an owner may be its own.
        (
            &|all| (all[0].names, all[0].own_member) = (vec!["renamed".to_owned()], None),
            "etcd runs on Machine a, but no member has its name",
        ),
        (
            &|all| (all[0].is_healthy, all[1].is_healthy) = (false, false),
            "1 of the 3 other members of etcd are healthy, and 2 must be",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(with(change), expected);
    }
}

#[test]
fn names_of_nodes_and_of_machines_both_count() {
    let members = vec![member(1, "host-a"), member(2, "b")];
    let mut all = vec![holder("a", &members), holder("b", &members)];
    all[0].names = vec!["node-a".to_owned(), "HOST-A".to_owned()];
    assert_eq!(audit(&all), Audit::Settled);
}

#[test]
fn a_number_tells_more_than_a_name() {
    let mut members = three();
    members.push(member(9, "lost"));
    let mut all = holders(&members);
    all.iter_mut().for_each(|one| one.names = vec!["10-0-0-1".to_owned()]);
    assert_eq!(audit(&all), removal(9, "lost", "a"), "each says which member it has");
    // The address of c went to b: c's member is of a machine, and nobody knows whether it is well.
    let mut moved = holders(&three());
    moved[2].own_member = Some(2);
    assert_eq!(audit(&moved), Audit::Settled);
    assert_eq!(may_leave(&moved, "b"), Err("another machine has the name of Machine b".to_owned()));
    assert_eq!(may_leave(&moved, "c"), Err("several members have the name of Machine c".to_owned()));
    let why = "1 of the 2 other members of etcd are healthy, and 2 must be";
    assert_eq!(may_leave(&moved, "a"), Err(why.to_owned()));
}

#[test]
fn a_member_leaves_only_if_the_others_go_on() {
    let all = holders(&three());
    assert_eq!(may_leave(&all, "a"), Ok(true));
    let two: Vec<_> = ["a", "b"].iter().map(|name| holder(name, &three()[..2])).collect();
    assert_eq!(may_leave(&two, "a"), Ok(true), "one voter is its own quorum");
    let one = [holder("a", &three()[..1])];
    assert_eq!(may_leave(&one, "a"), Err("it is the last machine of the control plane".to_owned()));
    let mut sick = all.clone();
    sick[1].is_healthy = false;
    assert!(may_leave(&sick, "a").is_err(), "of b and c both must be healthy");
    assert_eq!(may_leave(&sick, "b"), Ok(true), "the sick one may go");
    // It has left: the others do not list it, whatever it says itself.
    let mut left = holders(&three()[1..]);
    left[0].members = Some(three());
    assert_eq!(may_leave(&left, "a"), Ok(false));
    let mut joining = all.clone();
    joining.iter_mut().for_each(|one| one.members.as_mut().unwrap()[2].is_learner = true);
    assert!(may_leave(&joining, "a").is_err());
    let mut same = all.clone();
    same[1].names.push("A".to_owned());
    assert!(may_leave(&same, "a").is_err(), "two machines with one name");
    let mut nodeless = all;
    nodeless[0].has_node = false;
    assert!(may_leave(&nodeless, "a").is_err());
}

/// A cluster that is really there: who is in etcd, what is on, what the provider knows.
#[derive(Clone, Debug)]
struct World {
    members: Vec<EtcdMember>,
    /// Name and whether it is on.
    machines: Vec<(String, bool)>,
    /// Nodes of Machines that are gone, still on.
    ghosts: BTreeSet<String>,
    /// The node that answers at a machine's address, where that is not its own.
    addresses: BTreeMap<String, String>,
    next: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Join,
    Promote,
    TurnOff(usize),
    TurnOn(usize),
    DeleteMachine(usize),
    DeleteAndKeepOn(usize),
    /// The address of the first machine goes to the second.
    MoveAddress(usize, usize),
    Audit,
    Leave(usize),
}

impl World {
    fn is_on(&self, hostname: &str) -> bool {
        self.machines.iter().any(|(name, on)| name == hostname && *on) || self.ghosts.contains(hostname)
    }

    fn voters(&self) -> impl Iterator<Item = &EtcdMember> {
        self.members.iter().filter(|member| !member.is_learner)
    }

    fn has_quorum(&self) -> bool {
        let able = self.voters().filter(|member| self.is_on(&member.hostname)).count();
        able > self.voters().count() / 2
    }

    fn holders(&self) -> Vec<Holder> {
        let machines = self.machines.iter().map(|(name, on)| {
            let node = self.addresses.get(name).unwrap_or(name);
            let own = self.voters().find(|member| member.hostname == *node).map(|member| member.id);
            let answers = (*on || node != name) && self.is_on(node) && own.is_some() && self.has_quorum();
            Holder {
                machine: name.clone(),
                names: vec![name.clone()],
                has_node: self.members.iter().any(|member| member.hostname == *name),
                is_going: false,
                is_healthy: answers,
                own_member: own.filter(|_| answers),
                members: answers.then(|| self.members.clone()),
            }
        });
        machines.collect()
    }

    fn apply(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let pick = |index: usize, of: usize| (of > 0).then(|| index % of.max(1));
        match event {
            Event::Join if self.has_quorum() && !self.members.iter().any(|member| member.is_learner) => {
                self.next += 1;
                let name = format!("m{}", self.next);
                self.machines.push((name.clone(), true));
                self.members.push(EtcdMember { id: self.next, hostname: name, is_learner: true });
            }
            Event::Promote if self.has_quorum() => {
                let ready: Vec<_> = self.members.iter().map(|member| self.is_on(&member.hostname)).collect();
                for (member, ready) in self.members.iter_mut().zip(ready) {
                    member.is_learner &= !ready;
                }
            }
            Event::TurnOff(index) | Event::TurnOn(index) => {
                if let Some(index) = pick(*index, self.machines.len()) {
                    self.machines[index].1 = matches!(event, Event::TurnOn(_));
                }
            }
            Event::DeleteMachine(index) | Event::DeleteAndKeepOn(index) => {
                if let Some(index) = pick(*index, self.machines.len()) {
                    let (name, on) = self.machines.remove(index);
                    if on && matches!(event, Event::DeleteAndKeepOn(_)) {
                        self.ghosts.insert(name);
                    }
                }
            }
            Event::MoveAddress(from, to) => {
                if let (Some(from), Some(to)) =
                    (pick(*from, self.machines.len()), pick(*to, self.machines.len()))
                {
                    let (from, to) = (self.machines[from].0.clone(), self.machines[to].0.clone());
                    self.addresses.insert(from, to);
                }
            }
            Event::Audit => {
                if let Audit::Remove { member, .. } = audit(&self.holders()) {
                    let had = self.has_quorum();
                    prop_assert!(had, "etcd would refuse");
                    let gone = self.members.iter().position(|one| one.id == member).unwrap();
                    let gone = self.members.remove(gone);
                    let has_machine = self.machines.iter().any(|(name, _)| *name == gone.hostname);
                    prop_assert!(!has_machine, "{gone:?} has a machine");
                    prop_assert!(!gone.is_learner, "{gone:?} is joining");
                    prop_assert!(self.has_quorum(), "no quorum without {gone:?}: {self:?}");
                }
            }
            Event::Leave(index) => {
                let Some(index) = pick(*index, self.machines.len()) else { return Ok(()) };
                let name = self.machines[index].0.clone();
                if may_leave(&self.holders(), &name) == Ok(true) {
                    prop_assert!(self.has_quorum(), "etcd would refuse");
                    self.members.retain(|member| member.hostname != name);
                    self.machines.remove(index);
                    prop_assert!(self.voters().count() > 0, "the last voter left");
                    prop_assert!(self.has_quorum(), "no quorum without {name}: {self:?}");
                }
            }
            Event::Join | Event::Promote => {}
        }
        Ok(())
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Join),
        3 => Just(Event::Promote),
        2 => any::<usize>().prop_map(Event::TurnOff),
        3 => any::<usize>().prop_map(Event::TurnOn),
        1 => any::<usize>().prop_map(Event::DeleteMachine),
        1 => any::<usize>().prop_map(Event::DeleteAndKeepOn),
        1 => any::<(usize, usize)>().prop_map(|(from, to)| Event::MoveAddress(from, to)),
        4 => Just(Event::Audit),
        3 => any::<usize>().prop_map(Event::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever happens to machines: no removal of ours leaves etcd without a quorum, or takes a member of a machine.
    #[test]
    fn no_removal_costs_the_quorum(events in proptest::collection::vec(event(), 1..60)) {
        let first = EtcdMember { id: 1, hostname: "m1".to_owned(), is_learner: false };
        let mut world = World {
            members: vec![first],
            machines: vec![("m1".to_owned(), true)],
            ghosts: BTreeSet::new(),
            addresses: BTreeMap::new(),
            next: 1,
        };
        for event in &events {
            world.apply(event)?;
        }
    }

    /// Whatever nodes say: a member that any machine may have is never named.
    #[test]
    fn lies_cost_no_member_of_a_machine(
        lists in proptest::collection::vec(
            proptest::option::of(proptest::collection::vec((0_u64..6, "[abAB]?(\\.x)?", any::<bool>()), 0..6)), 1..5),
        names in proptest::collection::vec("[abcABC](\\.y)?", 1..5),
        healthy in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let made = lists.iter().zip(names.iter().cycle()).zip(healthy.iter().cycle()).enumerate();
        let all: Vec<Holder> = made.map(|(index, ((list, name), healthy))| Holder {
            machine: format!("machine-{index}"),
            names: vec![name.clone()],
            has_node: true,
            is_going: false,
            is_healthy: *healthy,
            own_member: healthy.then_some(index as u64),
            members: list.as_ref().map(|list| list.iter().map(|(id, hostname, is_learner)| {
                EtcdMember { id: *id, hostname: hostname.clone(), is_learner: *is_learner }
            }).collect()),
        }).collect();
        if let Audit::Remove { member, hostname, .. } = audit(&all) {
            let named = EtcdMember { id: member, hostname, is_learner: false };
            prop_assert!(!all.iter().any(|holder| holder.has(&named)));
            prop_assert!(!named.hostname.is_empty());
        }
    }
}
