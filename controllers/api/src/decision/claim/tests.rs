//! What is on record before the node system is given.

use proptest::prelude::*;

use super::super::agent::{AgentOptions, WipeOrder, agent};
use super::super::fixtures::{
    EPOCH, HOLDS, any_authority, any_binding, any_server, at, binding, confirmed, leaving, machine, plain,
    powerless, record, server, signed, with, with_state,
};
use super::super::records::{RecordChange, records};
use super::*;
use crate::evidence::CONFIRM_WIPE_ANNOTATION;
use crate::evidence::DISKS_ANNOTATION;
use crate::evidence::DiskState::{Bound, Clean, NeverUsed, Released};

const ID: &str = "fedcba9876543210";

fn decide(server: &Server, binding: &ServerBinding) -> BootClaim {
    match claim(server, binding, &HOLDS, &at(9), ID) {
        BootClaim::Write { record, remove_confirmation } => {
            assert!(signed(record.clone()) == record && record.seq > 0);
            BootClaim::Write { record: plain(record), remove_confirmation }
        }
        other => other,
    }
}

fn written(remove_confirmation: bool) -> BootClaim {
    let record = plain(DiskRecord { id: ID.to_owned(), since: at(9), ..record(Bound) });
    BootClaim::Write { record, remove_confirmation }
}

/// The Server after the claim was written.
fn applied(server: &Server, claim: &BootClaim) -> Server {
    let mut after = server.clone();
    if let BootClaim::Write { record, remove_confirmation } = claim {
        after = with(after, record);
        if *remove_confirmation {
            after.metadata.annotations.as_mut().unwrap().remove(CONFIRM_WIPE_ANNOTATION);
        }
    }
    after
}

#[test]
fn whatever_is_on_record_a_claim_is_before_the_boot() {
    let mut bare = binding(false);
    bare.metadata.finalizers = None;
    for binding in [binding(false), bare] {
        for state in [NeverUsed, Released, Clean] {
            let seen = with_state(server(true, false, state == Clean), state);
            assert_eq!(decide(&seen, &binding), written(false), "{state:?}");
            assert_eq!(decide(&confirmed(seen), &binding), written(true), "{state:?}");
        }
        assert_eq!(decide(&server(true, false, false), &binding), written(false));
        let old = with(server(true, false, false), &DiskRecord { epoch: EPOCH - 1, ..record(NeverUsed) });
        assert_eq!(decide(&old, &binding), written(false));
        // A claim of any kind keeps everybody away: nothing to write.
        let claimed = with_state(server(true, true, false), Bound);
        assert_eq!(decide(&claimed, &binding), BootClaim::OnRecord);
        let others = DiskRecord { epoch: 1, binding: Some("before".to_owned()), ..record(Bound) };
        assert_eq!(decide(&with(server(true, true, false), &others), &binding), BootClaim::OnRecord);
        // But a person's confirmation would outlive it.
        assert_eq!(decide(&confirmed(claimed), &binding), written(true));
    }
}

#[test]
fn a_binding_that_is_being_deleted_gets_no_node_system() {
    let mut others = leaving(binding(false));
    others.metadata.finalizers = Some(vec!["someone.else".to_owned()]);
    for binding in [leaving(binding(false)), others] {
        for state in [NeverUsed, Bound, Released, Clean] {
            let seen = with_state(server(true, true, false), state);
            assert!(matches!(decide(&seen, &binding), BootClaim::Refuse(_)), "{state:?}");
            assert!(matches!(decide(&confirmed(seen), &binding), BootClaim::Refuse(_)), "{state:?}");
        }
    }
}

#[test]
fn a_plane_that_does_not_act_gives_nothing_and_writes_nothing() {
    for authority in powerless() {
        for state in [NeverUsed, Bound, Released, Clean] {
            let seen = with_state(server(true, false, false), state);
            let decided = claim(&seen, &binding(false), &authority, &at(9), ID);
            assert!(matches!(decided, BootClaim::Refuse(_)), "{authority:?} {state:?}");
        }
    }
}

proptest! {
    /// Booted by whatever binding, which then vanishes with its status while nobody looks: whatever the controllers do
    /// once they are back, alone, the machine is not wiped.
    #[test]
    fn a_machine_that_was_booted_is_not_wiped_when_its_binding_vanishes(
        server in any_server(), binding in any_binding(), authority in any_authority(),
        keeps_status in any::<bool>(), accepted in any::<bool>(),
    ) {
        let decided = claim(&server, &binding, &authority, &at(9), ID);
        prop_assume!(!matches!(decided, BootClaim::Refuse(_)));
        let mut after = applied(&server, &decided);
        after.spec.accepted = accepted;
        if !keeps_status {
            after.status = None;
        }
        let options = AgentOptions { auto_bmc_setup: true, insecure_wipe: true };
        for _ in 0..3 {
            let orders = agent(&machine(&after, None, &authority), options);
            prop_assert!(matches!(orders.wipe, WipeOrder::Refuse(_)), "{orders:?}");
            prop_assert!(!orders.setup_bmc);
            let RecordChange::Write(record) = records(&machine(&after, None, &authority), &at(10), ID).record else {
                break;
            };
            after.metadata.annotations.get_or_insert_default()
                .insert(DISKS_ANNOTATION.to_owned(), record.to_annotation());
        }
        // Once it is on record, it is not written again.
        prop_assert_eq!(claim(&after, &binding, &authority, &at(11), ID), BootClaim::OnRecord);
    }
}
