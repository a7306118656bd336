//! Who may take a member out of etcd: one decision over all members and all machines.
//!
//! Never removes a member that may belong to a machine, one that is joining, or one without which the others have no quorum.
//! Never takes the word of one node against another's.

#[cfg(test)]
mod tests;

use super::seen::{EtcdMember, SeenMachine};
use crate::contract::MachineAddress;

/// A machine as etcd knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub machine: String,
    /// The names that its member may have: of its node, and its host names.
    pub names: Vec<String>,
    /// Whether it has a node.
    pub has_node: bool,
    /// Whether it is on its way out.
    pub is_going: bool,
    /// Whether etcd runs on it and is healthy.
    pub is_healthy: bool,
    /// Number of the member that answers at its address: another's, if the address went to another node.
    pub own_member: Option<u64>,
    /// The members as it knows them.
    pub members: Option<Vec<EtcdMember>>,
}

impl Holder {
    /// Of a machine.
    pub fn of(seen: &SeenMachine) -> Self {
        let hostnames = seen.machine.addresses(MachineAddress::HOSTNAME);
        Self {
            machine: seen.name().to_owned(),
            names: seen.machine.node().into_iter().chain(hostnames).map(str::to_owned).collect(),
            has_node: seen.machine.node().is_some(),
            is_going: seen.is_deleting() || seen.is_leaving(),
            is_healthy: seen.talos.has_healthy_etcd(),
            own_member: seen.talos.own_member,
            members: seen.talos.members.as_ref().ok().cloned(),
        }
    }

    /// Whether a member may be its own: it answers at its address, or the first labels of the names are the same but for their
    /// case.
    pub fn has(&self, member: &EtcdMember) -> bool {
        let name = label(&member.hostname);
        let is_named = !name.is_empty() && self.names.iter().any(|one| label(one).eq_ignore_ascii_case(name));
        is_named || self.own_member == Some(member.id)
    }
}

fn label(name: &str) -> &str {
    name.split_once('.').map_or(name, |(first, _)| first)
}

/// What is to be done about members without a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Nothing: each has one.
    Settled,
    /// Nothing yet, and why.
    Postponed(String),
    /// Remove this member, by this machine.
    Remove {
        /// Its number.
        member: u64,
        /// The name that it shows.
        hostname: String,
        /// Name of the Machine that is asked.
        through: String,
    },
}

/// Looks for a member that has no machine any more. At most one is named, and only while etcd goes on without it.
pub fn audit(holders: &[Holder]) -> Audit {
    match stray(holders) {
        Ok(Some((member, through))) => {
            Audit::Remove { member: member.id, hostname: member.hostname, through: through.machine.clone() }
        }
        Ok(None) => Audit::Settled,
        Err(why) => Audit::Postponed(why),
    }
}

fn stray(holders: &[Holder]) -> Result<Option<(EtcdMember, &Holder)>, String> {
    if holders.is_empty() {
        return Ok(None);
    }
    let members = settled(holders)?;
    if let Some(holder) = holders.iter().find(|holder| !holder.has_node) {
        return Err(format!("Machine {} has no node yet: its member is not known", holder.machine));
    }
    let has_owner = |member: &&EtcdMember| holders.iter().any(|holder| holder.has(member));
    if !members.iter().any(|member| has_owner(&member)) {
        return Err("no member of etcd has the name of a machine: none is removed".to_owned());
    }
    if let Some(holder) = unrecognised(holders, &members) {
        return Err(format!("etcd runs on Machine {}, but no member has its name", holder.machine));
    }
    let stray = members.iter().filter(|member| !has_owner(member)).min_by_key(|member| member.id);
    let Some(stray) = stray else { return Ok(None) };
    goes_on(holders, &members, |member| member.id == stray.id)?;
    let speaker =
        holders.iter().find(|holder| holder.is_healthy && !holder.is_going && holder.members.is_some());
    let Some(speaker) = speaker else { return Err("no machine that stays has a healthy etcd".to_owned()) };
    Ok(Some((stray.clone(), speaker)))
}

/// Whether the member of one machine may leave. `Ok(false)`: it has none any more.
pub fn may_leave(holders: &[Holder], machine: &str) -> Result<bool, String> {
    let Some(leaver) = holders.iter().find(|holder| holder.machine == machine) else {
        return Err(format!("Machine {machine} is not there"));
    };
    if !holders.iter().any(|holder| holder.machine != machine && !holder.is_going) {
        return Err("it is the last machine of the control plane".to_owned());
    }
    if !leaver.has_node {
        return Err(format!("Machine {machine} has no node yet: its member is not known"));
    }
    // Its own etcd may be the one that is broken, or gone: what the others say counts.
    let others: Vec<Holder> = holders.iter().filter(|holder| holder.machine != machine).cloned().collect();
    let members = settled(&others)?;
    if let Some(holder) = unrecognised(&others, &members) {
        return Err(format!("etcd runs on Machine {}, but no member has its name", holder.machine));
    }
    let of_leaver: Vec<_> = members.iter().filter(|member| leaver.has(member)).collect();
    let [own] = of_leaver[..] else {
        return if of_leaver.is_empty() {
            Ok(false)
        } else {
            Err(format!("several members have the name of Machine {machine}"))
        };
    };
    if others.iter().any(|holder| holder.has(own)) {
        return Err(format!("another machine has the name of Machine {machine}"));
    }
    goes_on(&others, &members, |member| member.id == own.id)?;
    Ok(true)
}

/// The number of the one member that a machine has, as others know it.
pub fn member_of(holders: &[Holder], machine: &str) -> Option<u64> {
    let holder = holders.iter().find(|holder| holder.machine == machine)?;
    let mut others = holders.iter().filter(|other| other.machine != machine);
    let members = others.find_map(|other| other.members.as_ref())?;
    members.iter().find(|member| holder.has(member)).map(|member| member.id)
}

/// The members, once all nodes that answer say the same, and nobody is joining.
fn settled(holders: &[Holder]) -> Result<Vec<EtcdMember>, String> {
    let sorted = |members: &[EtcdMember]| {
        let mut members = members.to_vec();
        members.sort();
        members
    };
    let mut lists = holders.iter().filter_map(|holder| Some((holder, sorted(holder.members.as_deref()?))));
    let Some((first, members)) = lists.next() else {
        return Err("no node lists the members of etcd".to_owned());
    };
    if let Some((other, _)) = lists.find(|(_, list)| *list != members) {
        let (one, other) = (&first.machine, &other.machine);
        return Err(format!("Machines {one} and {other} do not agree on the members of etcd"));
    }
    if members.is_empty() {
        return Err("no node lists the members of etcd".to_owned());
    }
    match members.iter().find(|member| member.is_learner || member.hostname.is_empty()) {
        Some(joining) => Err(format!("member {:x} is joining etcd", joining.id)),
        None => Ok(members),
    }
}

/// A machine on which etcd runs under a name that nobody can tell: any member may be its own.
fn unrecognised<'a>(holders: &'a [Holder], members: &[EtcdMember]) -> Option<&'a Holder> {
    holders.iter().find(|holder| holder.is_healthy && !members.iter().any(|member| holder.has(member)))
}

/// Whether enough voters are healthy once those that go are gone. A member that two machines claim counts once.
fn goes_on(
    holders: &[Holder],
    members: &[EtcdMember],
    goes: impl Fn(&EtcdMember) -> bool,
) -> Result<(), String> {
    let staying: Vec<_> = members.iter().filter(|member| !goes(member)).collect();
    let is_able = |member: &&&EtcdMember| {
        let answers = |holder: &Holder| holder.is_healthy && holder.own_member == Some(member.id);
        holders.iter().any(answers)
    };
    let (able, needed) = (staying.iter().filter(is_able).count(), staying.len() / 2 + 1);
    if able >= needed {
        return Ok(());
    }
    Err(format!("{able} of the {} other members of etcd are healthy, and {needed} must be", staying.len()))
}
