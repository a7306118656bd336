//! A plane: its objects, its file, its ledger and its controllers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bloomery_api::condition::Condition;
use bloomery_api::contents::ContentsClass;
use bloomery_api::decision::controllers::{Controllers, SharedController};
use bloomery_api::decision::identity::{
    Conflict, DISTINCT_FROM_ANNOTATION, Index, Marks, RIVAL_ANNOTATION, SYSTEM_UUID_ANNOTATION,
};
use bloomery_api::decision::power::{PowerAction, PowerRequest, power};
use bloomery_api::decision::records::{BindingFinalizer, RecordChange, binding_without_server, records};
use bloomery_api::decision::registration::Registration;
use bloomery_api::decision::status::{FinalizerChange, PowerOutcome, status};
use bloomery_api::decision::tombstone::entry;
use bloomery_api::decision::{Machine, Standing};
use bloomery_api::evidence::{
    CONFIRM_WIPE_ANNOTATION, DISKS_ANNOTATION, DiskRecord, Entry, FORGET_ANNOTATION, wipe_confirmation,
};
use bloomery_api::hardware::HardwareInformation;
use bloomery_api::ledger::{Fate, Tombstone, Tombstones};
use bloomery_api::plane::fence::{DELETE_FOR_MOVE_ANNOTATION, Observed, fence};
use bloomery_api::plane::{Authority, PLANE_LABEL};
use bloomery_api::server::{Bmc, FINALIZER, Power};
use bloomery_api::server_binding::{RELEASE_FINALIZER, ServerBindingStatus, TALOS_INSTALLED};
use bloomery_api::trust::{KEY_LEN, SigningKey, Trust};
use bloomery_api::{Server, ServerBinding, ServerSpec};

use super::objects::{annotate, annotation, binding, claimant, made_at, now};

/// Annotation of the model: the machine that the Server was made for. No decision reads it.
const OF: &str = "model/of";

/// What etcd holds.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    servers: BTreeMap<String, Server>,
    bindings: BTreeMap<String, ServerBinding>,
    stopped: bool,
}

// Facts that have nothing to do with each other.
#[allow(clippy::struct_excessive_bools)]
pub(super) struct Plane {
    id: String,
    key: SigningKey,
    epoch: i64,
    revision: u64,
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) bindings: BTreeMap<String, ServerBinding>,
    pub(super) restored: bool,
    /// The mark on the Plane object; the file says so too, whatever is restored.
    stopped: bool,
    has_moved: bool,
    ledger: Arc<Tombstones>,
    /// Bindings and records changed since the controllers looked last.
    is_unseen: bool,
    /// A bound Server was deleted by force before the controllers saw its claim: with a restore that nobody notices
    /// nothing tells of it any more (DESIGN.md, known limits).
    is_lost_sight_of: bool,
    kept: Option<Snapshot>,
}

/// What a look of the controllers led to.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) reached: BTreeSet<&'static str>,
    pub(super) story: Vec<String>,
    /// Machines whose installation is on record.
    pub(super) installed: Vec<usize>,
    /// Commands, by the machine that obeys.
    pub(super) commands: Vec<(usize, BTreeSet<String>, PowerAction)>,
}

impl Plane {
    pub(super) fn new(number: u8) -> Self {
        Self {
            id: format!("plane{number}"),
            key: SigningKey::new([number + 1; KEY_LEN]),
            epoch: 1,
            revision: 1,
            servers: BTreeMap::new(),
            bindings: BTreeMap::new(),
            restored: false,
            stopped: false,
            has_moved: false,
            ledger: Arc::default(),
            is_unseen: false,
            is_lost_sight_of: false,
            kept: None,
        }
    }

    pub(super) fn authority(&self) -> Authority {
        if self.stopped {
            return Authority::Stopped { why: "moved".to_owned() };
        }
        let trust = Trust::new(self.key, &self.id).with_ledger(Arc::clone(&self.ledger));
        Authority::Holds { epoch: self.epoch, trust }
    }

    /// As the boot services know the machines: the bindings are read one by one.
    pub(super) fn index(&self) -> View {
        View(Index::build(self.servers.values(), &HashSet::new(), &self.authority()))
    }

    /// As the controllers know them.
    fn fleet(&self) -> View {
        let bound: HashSet<String> = self.bindings.keys().cloned().collect();
        View(Index::build(self.servers.values(), &bound, &self.authority()))
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn has_moved(&self) -> bool {
        self.has_moved
    }

    /// False once its clusters went to another plane: who deletes bindings here is not their owner.
    pub(super) fn is_the_owners(&self) -> bool {
        !self.has_moved
    }

    /// A Server, if there is one.
    pub(super) fn pick(&self, which: u8) -> Option<String> {
        let names: Vec<&String> = self.servers.keys().collect();
        let index = usize::from(which & 7).checked_rem(names.len())?;
        names.get(index).map(|name| (*name).clone())
    }

    pub(super) fn of(&self, name: &str) -> Option<usize> {
        annotation(self.servers.get(name)?, OF)?.parse().ok()
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn make(
        &mut self,
        name: &str,
        number: u32,
        uuid: &str,
        of: usize,
        made: Registration,
        class: ContentsClass,
        hardware: HardwareInformation,
    ) {
        let mut server = Server::new(name, ServerSpec { accepted: made.accepted, ..ServerSpec::default() });
        server.metadata.uid = Some(format!("u{number}"));
        server.metadata.creation_timestamp = Some(made_at(number));
        server.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        server.metadata.labels = Some([(PLANE_LABEL.to_owned(), self.id.clone())].into());
        server.spec.hardware = Some(hardware);
        // The agent tells which controller the machine has: the same one, whatever else was changed.
        server.spec.bmc = Some(Bmc { endpoint: format!("10.0.0.{}", of + 1), ..Bmc::default() });
        annotate(&mut server, OF, &of.to_string());
        if uuid != name {
            annotate(&mut server, SYSTEM_UUID_ANNOTATION, uuid);
        }
        if made.never_used {
            let id = format!("r{number}");
            if let Some(record) =
                DiskRecord::made_with(&server, class, &self.authority(), &id, &made_at(number))
            {
                annotate(&mut server, DISKS_ANNOTATION, &record.to_annotation());
            }
        }
        self.servers.insert(name.to_owned(), server);
        self.touch(name);
    }

    fn note(&mut self, entry: Tombstone) {
        Arc::make_mut(&mut self.ledger).note(entry);
    }

    /// A write: etcd gets on.
    fn touch(&mut self, name: &str) {
        self.revision += 1;
        if let Some(server) = self.servers.get_mut(name) {
            server.metadata.resource_version = Some(self.revision.to_string());
        }
    }

    pub(super) fn write(&mut self, name: &str, record: &DiskRecord, remove_confirmation: bool) {
        self.is_unseen = true;
        let Some(server) = self.servers.get_mut(name) else { return };
        annotate(server, DISKS_ANNOTATION, &record.to_annotation());
        if remove_confirmation && let Some(annotations) = server.metadata.annotations.as_mut() {
            annotations.remove(CONFIRM_WIPE_ANNOTATION);
        }
        self.touch(name);
    }

    pub(super) fn record_clean(&mut self, name: &str, id: &str) {
        let record = self
            .servers
            .get(name)
            .and_then(|server| DiskRecord::new(server, Entry::Clean, &self.authority(), id, &now()));
        if let Some(record) = record {
            self.write(name, &record, false);
            self.mark_clean(name);
        }
    }

    pub(super) fn mark_clean(&mut self, name: &str) {
        if let Some(server) = self.servers.get_mut(name) {
            server.status.get_or_insert_default().is_clean = true;
        }
    }

    /// The controllers look at every Server twice, as they do: the second time at what they wrote.
    pub(super) fn reconcile(&mut self, base: u32) -> Seen {
        let mut seen = Seen::default();
        let names: Vec<String> = self.servers.keys().cloned().collect();
        for round in 0..2 {
            let index = self.fleet();
            let controllers = Controllers::of(self.servers.values());
            for (number, name) in names.iter().enumerate() {
                let id = format!("r{base}-{round}-{number}");
                self.reconcile_one(name, &id, &index, controllers.shared(name).as_ref(), &mut seen);
            }
        }
        let authority = self.authority();
        let orphans: Vec<String> =
            self.bindings.keys().filter(|name| !self.servers.contains_key(*name)).cloned().collect();
        for name in orphans {
            if self.bindings.get(&name).is_some_and(|binding| {
                binding_without_server(binding, &authority) == BindingFinalizer::Remove
            }) {
                self.bindings.remove(&name);
            }
        }
        let observed =
            Observed { moving: BTreeSet::new(), servers: Some(self.servers.keys().cloned().collect()) };
        if let Some(fenced) = fence(&observed, &self.ledger) {
            seen.reached.insert("fenced");
            seen.story.push(format!("  fenced: {}", fenced.why));
            self.stopped = true;
            for name in fenced.vanished {
                let noted = self.ledger.with_fate(&name, Fate::Vanished, &now());
                if let Some(entry) = noted {
                    self.note(entry);
                }
            }
        }
        self.is_unseen = false;
        seen
    }

    fn reconcile_one(
        &mut self,
        name: &str,
        id: &str,
        index: &View,
        shared: Option<&SharedController>,
        seen: &mut Seen,
    ) {
        let authority = self.authority();
        if !authority.acts() {
            return;
        }
        let Some(server) = self.servers.get(name).cloned() else { return };
        let bound = self.bindings.get(name).cloned();
        if let Some(noted) = entry(&server, bound.as_ref(), &authority, &now()) {
            if noted.fate == Fate::Forgotten {
                seen.reached.insert("forgotten");
            }
            self.note(noted);
        }
        let authority = self.authority();
        let conflict = index.conflict(&server);
        let machine = Machine {
            server: &server,
            binding: bound.as_ref(),
            authority: &authority,
            conflict: conflict.as_ref(),
        };
        match machine.standing() {
            Standing::Conflicted => seen.reached.insert("conflicted"),
            Standing::Lost => seen.reached.insert("lost"),
            _ => false,
        };
        let decided = records(&machine, &now(), id);
        let stands = status(&machine, None, &PowerOutcome::Fake, &now());
        let commanded = power(&PowerRequest {
            server: &server,
            binding: bound.as_ref(),
            authority: &authority,
            conflict: conflict.as_ref(),
            shared,
            reading: Ok(Power::On),
            is_fake: false,
            reboot_timeout: Duration::from_mins(1),
            stamp_seen_for: Duration::from_hours(1),
            now: &now(),
        });
        if commanded.action != PowerAction::None {
            seen.story.push(format!("  Server {name} ({:?}): {:?}", machine.standing(), commanded.action));
        }
        if let Some(of) = self.of(name) {
            seen.commands.push((of, Marks::of_server(&server).uuids, commanded.action));
        }
        if let RecordChange::Write(record) = &decided.record {
            seen.story.push(format!("  Server {name}: record {:?}", record.state));
            self.write(name, record, decided.remove_confirmation);
        } else if decided.remove_confirmation {
            self.remove_annotation(name, CONFIRM_WIPE_ANNOTATION);
        }
        self.apply(name, decided.label, decided.finalizer);
        // What was written is noted at once, as the controllers do before anything else happens.
        if let Some(noted) =
            self.servers.get(name).and_then(|server| entry(server, bound.as_ref(), &authority, &now()))
        {
            self.note(noted);
        }
        let is_installed = self
            .servers
            .get(name)
            .and_then(DiskRecord::of)
            .is_some_and(|record| record.state == bloomery_api::evidence::DiskState::Installed);
        if is_installed && bound.is_some() {
            seen.installed.extend(self.of(name));
        }
        let Some(server) = self.servers.get_mut(name) else { return };
        server.status = Some(stands.status);
        if stands.finalizer == FinalizerChange::Remove {
            self.servers.remove(name);
        }
    }

    fn apply(&mut self, name: &str, label: Option<String>, finalizer: BindingFinalizer) {
        if let (Some(label), Some(server)) = (label, self.servers.get_mut(name)) {
            server.metadata.labels.get_or_insert_default().insert(PLANE_LABEL.to_owned(), label);
        }
        match finalizer {
            BindingFinalizer::Keep => {}
            BindingFinalizer::Add => {
                if let Some(binding) = self.bindings.get_mut(name) {
                    binding.metadata.finalizers = Some(vec![RELEASE_FINALIZER.to_owned()]);
                }
            }
            BindingFinalizer::Remove => {
                self.bindings.remove(name);
            }
        }
    }

    fn remove_annotation(&mut self, name: &str, key: &str) {
        if let Some(annotations) =
            self.servers.get_mut(name).and_then(|server| server.metadata.annotations.as_mut())
        {
            annotations.remove(key);
        }
    }

    pub(super) fn report_installed(&mut self, cluster: &str) -> bool {
        let found = self.bindings.values_mut().find(|binding| claimant(binding) == cluster);
        let Some(binding) = found else { return false };
        let conditions = vec![Condition::holds(TALOS_INSTALLED, now())];
        binding.status = Some(ServerBindingStatus { ready: true, conditions, boot: None });
        self.is_unseen = true;
        true
    }

    pub(super) fn snapshot(&mut self) {
        let (servers, bindings) = (self.servers.clone(), self.bindings.clone());
        self.kept = Some(Snapshot { servers, bindings, stopped: self.stopped });
    }

    /// Puts the snapshot back. That it is noticed is what `bloomery_plane` is for; when nobody notices, everything that
    /// the controllers had seen is in the ledger all the same.
    pub(super) fn restore(&mut self, noticed: bool) -> bool {
        let Some(Snapshot { servers, bindings, stopped }) = self.kept.clone() else { return false };
        (self.servers, self.bindings) = (servers, bindings);
        // What the file says of a plane that stopped itself survives.
        self.stopped |= stopped;
        if noticed || self.is_unseen || self.is_lost_sight_of {
            self.epoch += 1;
            self.restored = true;
        }
        true
    }

    /// Copies everything to the other plane, without status and with other uids, as `clusterctl move` does, and marks
    /// what is to be deleted here. The controllers here see that.
    pub(super) fn move_to(&mut self, target: &mut Self, number: u32) -> bool {
        if self.has_moved || self.bindings.is_empty() {
            return false;
        }
        for (index, (name, server)) in self.servers.iter().enumerate() {
            if target.servers.contains_key(name) {
                continue;
            }
            let mut copy = server.clone();
            copy.metadata.uid = Some(format!("u{number}-{index}"));
            copy.metadata.creation_timestamp = Some(made_at(number));
            copy.status = None;
            target.servers.insert(name.clone(), copy);
        }
        for (index, (name, binding)) in self.bindings.iter().enumerate() {
            let mut copy = binding.clone();
            copy.metadata.uid = Some(format!("b{number}-{index}"));
            copy.status = None;
            target.bindings.entry(name.clone()).or_insert(copy);
        }
        self.has_moved = true;
        let moving: BTreeSet<String> =
            self.bindings.keys().map(|name| format!("MetalMachine {name}")).collect();
        let observed = Observed { moving, servers: None };
        if fence(&observed, &self.ledger).is_some() {
            self.stopped = true;
        }
        for binding in self.bindings.values_mut() {
            let annotations = binding.metadata.annotations.get_or_insert_default();
            annotations.insert(DELETE_FOR_MOVE_ANNOTATION.to_owned(), String::new());
        }
        true
    }

    pub(super) fn lose_status(&mut self) {
        self.servers.values_mut().for_each(|server| server.status = None);
        self.bindings.values_mut().for_each(|binding| binding.status = None);
    }

    /// A person has looked: at what a restore brought back, and at what stopped the plane, unless its machines went
    /// elsewhere.
    pub(super) fn remove_marks(&mut self) {
        self.restored = false;
        self.stopped = self.has_moved;
    }

    pub(super) fn accept(&mut self, name: &str) -> Option<(usize, ContentsClass)> {
        let server = self.servers.get_mut(name)?;
        server.spec.accepted = true;
        let exempt = bloomery_api::exempt::ExemptDisks::default();
        let class = bloomery_api::contents::Contents::of(server.spec.hardware.as_ref(), &exempt).class;
        self.touch(name);
        Some((self.of(name)?, class))
    }

    pub(super) fn unaccept(&mut self, name: &str) {
        if let Some(server) = self.servers.get_mut(name) {
            server.spec.accepted = false;
        }
    }

    pub(super) fn confirm(&mut self, name: &str) -> Option<usize> {
        let authority = self.authority();
        let server = self.servers.get_mut(name)?;
        let word = wipe_confirmation(server, &authority);
        annotate(server, CONFIRM_WIPE_ANNOTATION, &word);
        self.of(name)
    }

    pub(super) fn bind(&mut self, name: &str, number: u32) {
        let Some(server) = self.servers.get(name) else { return };
        let authority = self.authority();
        let conflict = self.fleet().conflict(server);
        let machine = Machine { server, binding: None, authority: &authority, conflict: conflict.as_ref() };
        if !self.bindings.contains_key(name) && machine.standing() == Standing::Clean {
            self.bindings.insert(name.to_owned(), binding(name, number, &format!("cluster{number}")));
            self.is_unseen = true;
        }
    }

    /// The binding goes: at once by force or without our finalizer, else when the controllers let it.
    pub(super) fn unbind(&mut self, name: &str, by_force: bool) -> Option<(usize, String)> {
        let of = self.of(name)?;
        let binding = self.bindings.get_mut(name)?;
        let cluster = claimant(binding);
        if by_force || binding.metadata.finalizers.is_none() {
            self.bindings.remove(name);
        } else {
            binding.metadata.deletion_timestamp = Some(now());
        }
        Some((of, cluster))
    }

    /// The Server is to be deleted, with a person's word that it may, or by force.
    pub(super) fn delete(&mut self, name: &str, forget: bool, by_force: bool) -> bool {
        let Some(server) = self.servers.get_mut(name) else { return false };
        if forget {
            let uid = server.metadata.uid.clone().unwrap_or_default();
            annotate(server, FORGET_ANNOTATION, &uid);
        }
        server.metadata.deletion_timestamp = Some(now());
        if by_force {
            self.servers.remove(name);
            self.is_lost_sight_of |= self.is_unseen && self.bindings.contains_key(name);
        }
        forget
    }

    /// Somebody applies a manifest of yesterday. The API server refuses that (`manifests/25-admission.yaml`); should it
    /// not, the ledger knows better, as far as the controllers got.
    pub(super) fn replay(&mut self, name: &str) {
        if self.is_unseen {
            return;
        }
        let kept = self.kept.as_ref().and_then(|kept| kept.servers.get(name)).cloned();
        let Some(kept) = kept else { return };
        let Some(server) = self.servers.get_mut(name) else { return };
        for key in [DISKS_ANNOTATION, SYSTEM_UUID_ANNOTATION] {
            if let Some(text) = annotation(&kept, key) {
                annotate(server, key, text);
            }
        }
        let labels = server.metadata.labels.get_or_insert_default();
        labels.extend(kept.metadata.labels.unwrap_or_default());
        self.is_unseen = true;
    }

    /// A person says, rightly, that the machine with these marks is another one.
    pub(super) fn split(&mut self, name: &str, marks: &Marks) {
        let Some(server) = self.servers.get_mut(name) else { return };
        let own = Marks::of_server(server);
        let cards = marks.cards.difference(&own.cards).cloned();
        let uuids = marks.uuids.difference(&own.uuids).cloned();
        let all: Vec<String> = cards.chain(uuids).collect();
        annotate(server, DISTINCT_FROM_ANNOTATION, &all.join(","));
        self.remove_annotation(name, RIVAL_ANNOTATION);
    }

    /// A person says, rightly, that the machine with these marks is the one of this Server.
    pub(super) fn merge(&mut self, name: &str, marks: &Marks) {
        let Some(server) = self.servers.get_mut(name) else { return };
        let uuids: Vec<&str> = marks.uuids.iter().map(String::as_str).collect();
        annotate(server, SYSTEM_UUID_ANNOTATION, &uuids.join(","));
        let interfaces = marks
            .cards
            .iter()
            .map(|mac| bloomery_api::hardware::NetworkInterface { mac: mac.clone(), ..Default::default() });
        let network = server.spec.hardware.get_or_insert_default().network.get_or_insert_default();
        network.interfaces.extend(interfaces);
        self.remove_annotation(name, RIVAL_ANNOTATION);
    }
}

/// An index that tells conflicts.
pub(super) struct View(Index);

impl std::ops::Deref for View {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.0
    }
}

impl View {
    pub(super) fn conflict(&self, server: &Server) -> Option<Conflict> {
        Conflict::of(server, &self.0)
    }
}
