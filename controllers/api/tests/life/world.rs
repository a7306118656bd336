//! A few machines, two planes, and the truth about the disks, driven by octets.
//!
//! Duty: what happens to machines and objects, with the product's own decisions in between, and the check of every write
//! against the truth. Nothing of a decision is repeated here: the world only carries out what it is told.

mod objects;
mod plane;
mod truth;

use std::collections::BTreeSet;

use bloomery_api::contents::Contents;
use bloomery_api::decision::agent::{AgentOptions, WipeOrder, agent};
use bloomery_api::decision::boot::{BootAnswer, BootRequest, boot};
use bloomery_api::decision::claim::{BootClaim, claim};
use bloomery_api::decision::identity::{Identity, Marks, Proof, Rival, identify, new_server_name};
use bloomery_api::decision::order::Order;
use bloomery_api::decision::registration::{may_be_named, registration};
use bloomery_api::decision::unknown::UnknownMachines;
use bloomery_api::decision::wiped::{Verdict, wiped};
use bloomery_api::decision::{Machine as Decided, Standing};
use bloomery_api::exempt::ExemptDisks;
use bloomery_api::lookup::Lookup;
use bloomery_api::trust::{KEY_LEN, SigningKey};

use objects::{NoObjects, annotate, claimant};
use plane::Plane;
use truth::{Agent, Data, Machine, Owner};

/// Operations in one life.
const MOST_OPERATIONS: usize = 100;
/// Machines.
const MACHINES: usize = 4;
/// The key that orders are signed with: both planes read it from the state that one took over from the other.
const ORDERS: SigningKey = SigningKey::new([9; KEY_LEN]);

/// What was reached in a life, for the test that the model is worth something.
pub(crate) type Reached = BTreeSet<&'static str>;

/// Lives a life; the error says what was written against the truth, and how it came to that.
pub(crate) fn live(octets: &[u8]) -> Result<Reached, String> {
    let mut octets = octets.iter().copied();
    let mut world = World::new(octets.next().unwrap_or(0));
    for _ in 0..MOST_OPERATIONS {
        let (Some(what), Some(which)) = (octets.next(), octets.next()) else { break };
        if let Err(why) = world.happen(what, which) {
            return Err(format!("{why}\n{}", world.story.join("\n")));
        }
    }
    Ok(world.reached)
}

struct World {
    machines: Vec<Machine>,
    planes: [Plane; 2],
    auto_accept: bool,
    /// Numbers uids, records, cards and clusters.
    count: u32,
    reached: Reached,
    story: Vec<String>,
}

type Step = Result<(), String>;

impl World {
    fn new(flags: u8) -> Self {
        let mut count = 0;
        let machines = (0..MACHINES).map(|index| Machine::new(index, flags, &mut count)).collect();
        let planes = [Plane::new(0), Plane::new(1)];
        Self {
            machines,
            planes,
            auto_accept: flags & 1 == 1,
            count,
            reached: Reached::new(),
            story: Vec::new(),
        }
    }

    fn fresh(&mut self) -> u32 {
        self.count += 1;
        self.count
    }

    fn reach(&mut self, what: &'static str) {
        self.reached.insert(what);
    }

    fn tell(&mut self, text: String) {
        self.story.push(text);
    }

    /// One operation. `what` chooses it, `which` its machine or Server and its plane.
    fn happen(&mut self, what: u8, which: u8) -> Step {
        let machine = usize::from(which) % MACHINES;
        // The second plane is on the network once everything was moved to it.
        let plane = if self.planes[0].has_moved() { usize::from(which >> 7) } else { 0 };
        let name = self.planes[plane].pick(which >> 2);
        self.tell(format!("operation {what} on machine {machine}, plane {plane}, Server {name:?}"));
        match what % 32 {
            0..=7 => self.boots(machine, plane)?,
            8..=10 => self.finishes(machine),
            11..=15 => self.reconciles(plane)?,
            16 => self.installs(machine, plane),
            17 => self.planes[plane].snapshot(),
            18 => self.clones(machine, usize::from(which >> 4) % MACHINES),
            19 => self.changes_board(machine, which),
            20 => self.restores(plane, which & 0x40 != 0),
            21 => self.moves(),
            22 => self.planes[plane].lose_status(),
            23 => self.planes[plane].remove_marks(),
            _ => {
                if let Some(name) = name {
                    self.a_person_or_cluster_acts(what, plane, &name, which);
                }
            }
        }
        Ok(())
    }

    fn a_person_or_cluster_acts(&mut self, what: u8, plane: usize, name: &str, which: u8) {
        match what % 32 {
            24 | 25 => self.accepts(plane, name),
            26 => self.confirms(plane, name),
            27 | 28 => self.binds(plane, name),
            29 => self.releases(plane, name, which & 0x40 != 0),
            30 => self.deletes(plane, name, which),
            _ => self.decides(plane, name, which),
        }
    }

    /// The machine boots from the network of a plane.
    fn boots(&mut self, machine: usize, plane: usize) -> Step {
        self.machines[machine].agent = None;
        let marks = self.machines[machine].query();
        let authority = self.planes[plane].authority();
        let index = self.planes[plane].index();
        let identity = identify(&marks, &index);
        let server = identity.server().and_then(|name| self.planes[plane].servers.get(name).cloned());
        let name = match &identity {
            Identity::New | Identity::Suspect { .. } => marks.uuids.first().map_or("", String::as_str),
            _ => identity.server().unwrap_or_default(),
        };
        let binding = self.planes[plane].bindings.get(name).cloned();
        let conflict = server.as_ref().and_then(|server| index.conflict(server));
        let request = BootRequest {
            identity: Lookup::Found(&identity),
            server: Lookup::from(server.as_ref()),
            binding: Lookup::from(binding.as_ref()),
            conflict: conflict.as_ref(),
            authority: &authority,
            unknown: UnknownMachines::Agent,
            admitted: true,
            arch: bloomery_api::arch::Arch::Amd64,
            default_method: bloomery_api::boot_method::BootFromDiskMethod::IpxeExit,
        };
        let decision = boot(&request, &NoObjects);
        self.tell(format!("  {identity:?} gets {:?}: {}", decision.answer, decision.reason));
        match decision.answer {
            BootAnswer::Agent { .. } => {
                self.reach("agent");
                self.registers(machine, plane)
            }
            BootAnswer::Environment { .. } => {
                let (Some(server), Some(binding)) = (server, binding) else {
                    return Err("an Environment without Server or binding".to_owned());
                };
                let id = format!("r{}", self.fresh());
                match claim(&server, &binding, &authority, &objects::now(), &id) {
                    BootClaim::Refuse(_) => return Ok(()),
                    BootClaim::OnRecord => {}
                    BootClaim::Write { record, remove_confirmation } => {
                        self.planes[plane].write(name, &record, remove_confirmation);
                    }
                }
                self.reach("environment");
                self.machines[machine].is_given_to(&claimant(&binding))
            }
            BootAnswer::BootFromDisk { .. } => {
                self.reach("disk");
                Ok(())
            }
            BootAnswer::NotFound | BootAnswer::NotReady { .. } | BootAnswer::Unavailable => Ok(()),
        }
    }

    /// Its agent registers it and carries out what it is told.
    fn registers(&mut self, machine: usize, plane: usize) -> Step {
        let hardware = self.machines[machine].hardware();
        let marks = Marks::of_hardware(Some(&self.machines[machine].system_uuid), &hardware);
        let authority = self.planes[plane].authority();
        let index = self.planes[plane].index();
        let identity = identify(&marks, &index);
        let name = match &identity {
            Identity::Same { server, by: Proof::Card } => server.clone(),
            Identity::Same { .. } | Identity::Unnamed => return Ok(()),
            Identity::Other { server, .. } => {
                self.reach("other");
                let rival = self.planes[plane].servers.get_mut(server);
                if let Some((server, text)) =
                    rival.and_then(|one| Rival::noted(one, &marks).map(|text| (one, text)))
                {
                    annotate(server, bloomery_api::decision::identity::RIVAL_ANNOTATION, &text);
                }
                return Ok(());
            }
            Identity::New | Identity::Suspect { .. } => {
                if !identity.is_new() {
                    self.reach("suspect");
                }
                let Some(name) = new_server_name(&marks, &index)
                    .filter(|name| !self.planes[plane].servers.contains_key(name))
                else {
                    return Ok(());
                };
                if may_be_named(Lookup::from(self.planes[plane].bindings.get(&name))).is_err() {
                    self.reach("bound without Server");
                    return Ok(());
                }
                let class = Contents::of(Some(&hardware), &ExemptDisks::default()).class;
                let restored = self.planes[plane].restored.then_some("restored");
                let made = registration(self.auto_accept, &authority, restored, class, &identity);
                self.reach("registered");
                if made.accepted {
                    self.reach("accepted by itself");
                }
                let number = self.fresh();
                let uuid = self.machines[machine].system_uuid.clone();
                self.planes[plane].make(&name, number, &uuid, machine, made, class, hardware.clone());
                name
            }
        };
        self.is_told(machine, plane, &name, hardware)
    }

    fn is_told(
        &mut self,
        machine: usize,
        plane: usize,
        name: &str,
        hardware: bloomery_api::HardwareInformation,
    ) -> Step {
        let authority = self.planes[plane].authority();
        if !authority.acts() {
            return Ok(());
        }
        // Its card is on record, so it holds the token: its inventory follows.
        if let Some(server) = self.planes[plane].servers.get_mut(name) {
            server.spec.hardware = Some(hardware);
        }
        let index = self.planes[plane].index();
        let Some(server) = self.planes[plane].servers.get(name).cloned() else { return Ok(()) };
        let binding = self.planes[plane].bindings.get(name).cloned();
        let conflict = index.conflict(&server);
        let decided = Decided {
            server: &server,
            binding: binding.as_ref(),
            authority: &authority,
            conflict: conflict.as_ref(),
        };
        let orders = agent(&decided, AgentOptions { auto_bmc_setup: true, insecure_wipe: true });
        match decided.standing() {
            Standing::Conflicted => self.reach("conflicted"),
            Standing::Unconfirmed => self.reach("unconfirmed"),
            _ => {}
        }
        self.tell(format!("  Server {name} is told {:?}", orders.wipe));
        let boot = self.fresh().to_be_bytes();
        let order = match orders.wipe {
            WipeOrder::Wipe(record) => {
                self.reach("wiped");
                self.machines[machine].is_wiped()?;
                Order::sign(&ORDERS, &server, &authority, &record, &boot)
            }
            WipeOrder::Refuse(_) => None,
        };
        self.machines[machine].agent = Some(Agent { plane, server: name.to_owned(), boot, order });
        Ok(())
    }

    /// The agent says that all disks are wiped.
    fn finishes(&mut self, machine: usize) {
        let Some(said) = self.machines[machine].agent.clone() else { return };
        let plane = &mut self.planes[said.plane];
        let authority = plane.authority();
        let index = plane.index();
        let Some(server) = plane.servers.get(&said.server).cloned() else { return };
        let binding = plane.bindings.get(&said.server).cloned();
        let conflict = index.conflict(&server);
        let decided = Decided {
            server: &server,
            binding: binding.as_ref(),
            authority: &authority,
            conflict: conflict.as_ref(),
        };
        let order = said.order.as_deref();
        let order = order.and_then(|shown| Order::verify(&ORDERS, &server, &authority, shown, &said.boot));
        match wiped(&decided, order.as_ref()) {
            Verdict::Record => {
                let id = order.map(|order| order.cleaned.0).unwrap_or_default();
                plane.record_clean(&said.server, &id);
                self.reach("clean");
            }
            Verdict::Finish => plane.mark_clean(&said.server),
            Verdict::Done | Verdict::Refuse(_) => {}
        }
    }

    /// The controllers of a plane look at everything once.
    fn reconciles(&mut self, plane: usize) -> Step {
        let base = self.fresh();
        let seen = self.planes[plane].reconcile(base);
        self.count += 100;
        self.reached.extend(seen.reached);
        self.story.extend(seen.story);
        for of in seen.installed {
            self.machines[of].installation_is_on_record();
        }
        for (of, uuids, action) in seen.commands {
            // The drivers ask a BMC whose it is; one that tells another machine's UUID gets no command.
            if uuids.contains(&self.machines[of].system_uuid) {
                self.machines[of].is_switched(action)?;
            }
        }
        Ok(())
    }

    /// The node of the machine reports that it is installed.
    fn installs(&mut self, machine: usize, plane: usize) {
        let Owner::Cluster(cluster) = self.machines[machine].owner.clone() else { return };
        self.machines[machine].data = Data::System;
        if self.planes[plane].report_installed(&cluster) {
            self.reach("installed");
        }
    }

    fn clones(&mut self, from: usize, to: usize) {
        let uuid = self.machines[from].system_uuid.clone();
        self.machines[to].system_uuid = uuid;
    }

    fn changes_board(&mut self, machine: usize, which: u8) {
        let number = self.fresh();
        self.machines[machine].change_board(number, which & 0x40 != 0, which & 0x20 != 0);
    }

    fn restores(&mut self, plane: usize, noticed: bool) {
        if self.planes[plane].restore(noticed) {
            self.reach("restored");
        }
    }

    /// `clusterctl move` from the first plane to the second one.
    fn moves(&mut self) {
        let number = self.fresh();
        let [source, target] = &mut self.planes;
        if source.move_to(target, number) {
            self.reach("moved");
            self.count += 100;
        }
        if self.planes[0].is_stopped() {
            self.reach("fenced");
        }
    }

    /// A person accepts the Server: consent to wipe what was reported, if it is no system.
    fn accepts(&mut self, plane: usize, name: &str) {
        let Some((of, class)) = self.planes[plane].accept(name) else { return };
        self.machines[of].accepted_with(class);
    }

    fn confirms(&mut self, plane: usize, name: &str) {
        if let Some(of) = self.planes[plane].confirm(name) {
            self.machines[of].let_go = true;
            self.reach("confirmed");
        }
    }

    /// A cluster takes a Server that is clean and free, as the provider does.
    fn binds(&mut self, plane: usize, name: &str) {
        let number = self.fresh();
        self.planes[plane].bind(name, number);
    }

    /// The binding is deleted, by its owner or by force.
    fn releases(&mut self, plane: usize, name: &str, by_force: bool) {
        let Some((of, cluster)) = self.planes[plane].unbind(name, by_force) else { return };
        if by_force {
            self.reach("lost");
        } else if self.planes[plane].is_the_owners() {
            self.machines[of].owner_lets_go(&cluster);
            self.reach("released");
        }
    }

    fn deletes(&mut self, plane: usize, name: &str, which: u8) {
        if self.planes[plane].delete(name, which & 0x40 != 0, which & 0x20 != 0) {
            self.reach("forgotten");
        }
    }

    /// A person decides a conflict, or somebody puts an old record back.
    fn decides(&mut self, plane: usize, name: &str, which: u8) {
        let Some(of) = self.planes[plane].of(name) else { return };
        let other = &self.machines[usize::from(which >> 4) % MACHINES];
        match which & 3 {
            0 => self.planes[plane].replay(name),
            1 if other.index != of => self.planes[plane].split(name, &other.marks()),
            2 => {
                let marks = self.machines[of].marks();
                self.planes[plane].merge(name, &marks);
            }
            _ => self.planes[plane].unaccept(name),
        }
    }
}
