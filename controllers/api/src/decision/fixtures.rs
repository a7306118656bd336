//! Objects for the decisions' tests.
//!
//! Never a default that hides what a test is about: who needs a record, a binding or a status says so.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::json;

use super::Machine;
use crate::condition::Condition;
use crate::contents::ContentsClass;
use crate::evidence::{CONFIRM_WIPE_ANNOTATION, DISKS_ANNOTATION, DiskRecord, DiskState};
use crate::hardware::{DiskContents, HardwareInformation, StorageDevice, StorageInformation};
use crate::plane::Authority;
use crate::readiness::CONFIGURATION_READY;
use crate::server::{POWER_CYCLE, PXE_BOOTED, Server, ServerSpec, ServerStatus};
use crate::server_binding::{
    RELEASE_FINALIZER, ServerBinding, ServerBindingSpec, ServerBindingStatus, TALOS_INSTALLED,
};
use crate::trust::{KEY_LEN, SigningKey, Trust};

/// `metadata.uid` of every Server here.
pub(crate) const UID: &str = "server-uid";
/// `metadata.uid` of every binding here.
pub(crate) const BINDING_UID: &str = "binding-uid";
/// The current epoch.
pub(crate) const EPOCH: i64 = 7;
/// The plane's key.
const KEY: SigningKey = SigningKey::new([7; KEY_LEN]);
/// This plane acts.
pub(crate) static HOLDS: LazyLock<Authority> = LazyLock::new(holds);

/// The same, to be changed.
pub(crate) fn holds() -> Authority {
    Authority::Holds { epoch: EPOCH, trust: Trust::new(KEY, "own") }
}

/// This plane in another epoch.
fn holds_in(epoch: i64) -> Authority {
    Authority::Holds { epoch, trust: Trust::new(KEY, "own") }
}

pub(crate) fn at(second: u8) -> Time {
    serde_json::from_value(json!(format!("2026-01-01T00:00:{second:02}Z"))).unwrap()
}

/// Every authority under which nothing may be done.
pub(crate) fn powerless() -> [Authority; 3] {
    [
        Authority::Fenced { holder: "other".to_owned() },
        Authority::Stopped { why: "moved".to_owned() },
        Authority::Unknown,
    ]
}

pub(crate) fn server(accepted: bool, in_use: bool, is_clean: bool) -> Server {
    let mut server = Server::new("a", ServerSpec { accepted, ..ServerSpec::default() });
    server.metadata.uid = Some(UID.to_owned());
    server.spec.hardware = Some(disks(&[Some(&[])]));
    server.status = Some(ServerStatus { in_use, is_clean, ..ServerStatus::default() });
    server
}

/// An inventory with disks that hold this; none for one that was not looked at.
pub(crate) fn disks(found: &[Option<&[&str]>]) -> HardwareInformation {
    let disk = |found: Option<&[&str]>| StorageDevice {
        contents: found.map(|found| DiskContents {
            found: found.iter().map(|word| (*word).to_owned()).collect(),
            error: String::new(),
        }),
        ..StorageDevice::default()
    };
    let storage = StorageInformation {
        devices: found.iter().copied().map(disk).collect(),
        ..StorageInformation::default()
    };
    HardwareInformation { storage: Some(storage), ..HardwareInformation::default() }
}

/// What `decision::Machine` needs besides.
pub(crate) fn machine<'a>(
    server: &'a Server,
    binding: Option<&'a ServerBinding>,
    authority: &'a Authority,
) -> Machine<'a> {
    Machine { server, binding, authority, conflict: None }
}

/// A record without what differs with each write.
pub(crate) fn plain(record: DiskRecord) -> DiskRecord {
    DiskRecord { seq: 0, mac: String::new(), ..record }
}

/// A record that is valid for [`server`] in [`EPOCH`].
pub(crate) fn record(state: DiskState) -> DiskRecord {
    let binding = state.is_claim().then(|| BINDING_UID.to_owned());
    let contents = (state == DiskState::NeverUsed).then_some(ContentsClass::Blank);
    DiskRecord {
        state,
        server_uid: UID.to_owned(),
        epoch: EPOCH,
        id: "0123456789abcdef".to_owned(),
        since: at(0),
        binding,
        claimant: None,
        contents,
        seq: 1,
        revision: 0,
        mac: String::new(),
        made_with: None,
    }
}

/// The Server with this record, signed.
pub(crate) fn with(mut server: Server, record: &DiskRecord) -> Server {
    annotate(&mut server, DISKS_ANNOTATION, &signed(record.clone()).to_annotation());
    server
}

pub(crate) fn signed(mut record: DiskRecord) -> DiskRecord {
    record.sign(&KEY);
    record
}

pub(crate) fn with_state(server: Server, state: DiskState) -> Server {
    with(server, &record(state))
}

pub(crate) fn annotate(server: &mut Server, key: &str, value: &str) {
    server.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

pub(crate) fn confirmed(mut server: Server) -> Server {
    annotate(&mut server, CONFIRM_WIPE_ANNOTATION, &format!("{UID}/{EPOCH}"));
    server
}

/// A binding whose machine configuration is good.
pub(crate) fn binding(installed: bool) -> ServerBinding {
    let mut conditions = vec![Condition::holds(CONFIGURATION_READY, at(0))];
    conditions.extend(installed.then(|| Condition::holds(TALOS_INSTALLED, at(0))));
    ServerBinding {
        status: Some(ServerBindingStatus { ready: true, conditions, boot: None }),
        ..without_configuration()
    }
}

/// A binding as it is made.
pub(crate) fn without_configuration() -> ServerBinding {
    let mut binding = ServerBinding::new("a", ServerBindingSpec::default());
    binding.metadata.uid = Some(BINDING_UID.to_owned());
    binding.metadata.finalizers = Some(vec![RELEASE_FINALIZER.to_owned()]);
    binding
}

pub(crate) fn leaving(mut binding: ServerBinding) -> ServerBinding {
    binding.metadata.deletion_timestamp = Some(at(1));
    binding
}

pub(crate) fn any_authority() -> impl Strategy<Value = Authority> {
    prop_oneof![
        4 => Just(holds()),
        1 => Just(holds_in(EPOCH + 1)),
        1 => Just(Authority::Stopped { why: "moved".to_owned() }),
        1 => Just(Authority::Fenced { holder: "other".to_owned() }),
        1 => Just(Authority::Unknown),
    ]
}

pub(crate) fn any_state() -> impl Strategy<Value = DiskState> {
    prop_oneof![
        Just(DiskState::NeverUsed),
        Just(DiskState::Bound),
        Just(DiskState::Installed),
        Just(DiskState::Released),
        Just(DiskState::Clean)
    ]
}

fn any_annotation() -> impl Strategy<Value = Option<String>> {
    let written = (any_state(), any::<bool>(), -1..2_i64, any::<bool>(), any::<bool>()).prop_map(
        |(state, own, epochs, own_binding, is_signed)| {
            let mut record = record(state);
            record.epoch += epochs;
            if !own {
                "another-uid".clone_into(&mut record.server_uid);
            }
            if !own_binding {
                record.binding = Some("another-binding".to_owned());
            }
            Some(if is_signed { signed(record) } else { record }.to_annotation())
        },
    );
    prop_oneof![6 => written, 1 => Just(None), 1 => "(|null|\\{\\}|rubbish)".prop_map(Some)]
}

prop_compose! {
    /// Any Server: every flag, any record, any confirmation, with and without status.
    pub(crate) fn any_server()(
        flags in any::<[bool; 8]>(), annotation in any_annotation(), confirmation in prop_oneof![
            Just(None), Just(Some(format!("{UID}/{EPOCH}"))), Just(Some(UID.to_owned())),
            Just(Some("another-uid".to_owned())), Just(Some(String::new()))
        ],
    ) -> Server {
        let [accepted, in_use, clean, status, booted, cycled, always, deleting] = flags;
        let mut made = server(accepted, in_use, clean);
        made.spec.pxe_boot_always = always;
        let conditions = &mut made.status.as_mut().unwrap().conditions;
        if booted {
            conditions.push(Condition::holds(PXE_BOOTED, at(0)));
        }
        if cycled {
            conditions.push(Condition::fails(POWER_CYCLE, crate::Severity::Info, "InProgress", "m", at(5)));
        }
        if !status {
            made.status = None;
        }
        if let Some(text) = annotation {
            annotate(&mut made, DISKS_ANNOTATION, &text);
        }
        if let Some(word) = confirmation {
            annotate(&mut made, CONFIRM_WIPE_ANNOTATION, &word);
        }
        made.metadata.deletion_timestamp = deleting.then(|| at(2));
        made
    }
}

prop_compose! {
    /// Any binding: installed or not, with our finalizer or not, leaving or not.
    pub(crate) fn any_binding()(installed in any::<bool>(), finalizer in any::<bool>(), gone in any::<bool>())
        -> ServerBinding {
        let mut made = binding(installed);
        if !finalizer {
            made.metadata.finalizers = None;
        }
        if gone { leaving(made) } else { made }
    }
}
