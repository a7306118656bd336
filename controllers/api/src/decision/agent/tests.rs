//! Who is told to wipe: almost nobody.

use proptest::prelude::*;

use super::super::fixtures::{
    EPOCH, HOLDS, any_authority, any_binding, any_server, binding, confirmed, machine, powerless, record,
    server, with, with_state,
};
use super::*;
use crate::evidence::DiskState::{Bound, Clean, NeverUsed, Released};
use crate::evidence::{DISKS_ANNOTATION, DiskRecord};
use crate::server::{Bmc, Server};
use crate::server_binding::ServerBinding;

const OPTIONS: AgentOptions = AgentOptions { auto_bmc_setup: true, insecure_wipe: true };

fn ask(server: &Server, binding: Option<&ServerBinding>) -> AgentOrders {
    agent(&machine(server, binding, &HOLDS), OPTIONS)
}

fn wipes(orders: &AgentOrders) -> bool {
    matches!(orders.wipe, WipeOrder::Wipe(_))
}

#[test]
fn orders_follow_standing_and_evidence() {
    let bound = binding(false);
    // accepted, in use, clean; record; bound; the refusal, if there is one
    let cases = [
        ((false, false, false), Some(NeverUsed), false, Some(WipeRefusal::NotAccepted)),
        ((false, false, true), Some(Released), false, Some(WipeRefusal::NotAccepted)),
        ((true, false, false), Some(NeverUsed), false, None),
        ((true, false, false), Some(Released), false, None),
        // The record of the release is there before the status follows.
        ((true, true, false), Some(Released), false, None),
        ((true, false, false), None, false, Some(WipeRefusal::NoEvidence)),
        ((true, false, true), None, false, Some(WipeRefusal::NoEvidence)),
        ((true, false, true), Some(Clean), false, Some(WipeRefusal::AlreadyClean)),
        ((true, false, false), Some(Clean), false, Some(WipeRefusal::NoEvidence)),
        ((true, true, false), Some(NeverUsed), false, Some(WipeRefusal::Claimed)),
        ((true, true, false), Some(Bound), false, Some(WipeRefusal::Claimed)),
        ((true, false, false), Some(Bound), false, Some(WipeRefusal::Claimed)),
        ((true, true, false), None, false, Some(WipeRefusal::Claimed)),
        ((true, true, false), Some(Released), true, Some(WipeRefusal::Claimed)),
        ((true, false, true), Some(NeverUsed), true, Some(WipeRefusal::Claimed)),
    ];
    for (flags, state, is_bound, refusal) in cases {
        let (accepted, in_use, clean) = flags;
        let plain = server(accepted, in_use, clean);
        let seen = state.map_or(plain.clone(), |state| with_state(plain, state));
        let orders = ask(&seen, is_bound.then_some(&bound));
        let expected = refusal
            .map_or_else(|| WipeOrder::Wipe(RecordId("0123456789abcdef".to_owned())), WipeOrder::Refuse);
        assert_eq!(orders.wipe, expected, "{flags:?} {state:?} {is_bound}");
        assert_eq!(orders.insecure_wipe, refusal.is_none());
        assert_eq!(orders.restart, is_bound);
    }
}

#[test]
fn a_record_of_another_object_or_time_or_without_sense_wipes_nothing() {
    for state in [NeverUsed, Released] {
        let valid = record(state);
        for wrong in [
            DiskRecord { server_uid: "restored".to_owned(), ..valid.clone() },
            DiskRecord { server_uid: String::new(), ..valid.clone() },
            DiskRecord { epoch: EPOCH - 1, ..valid.clone() },
            DiskRecord { epoch: EPOCH + 1, ..valid.clone() },
        ] {
            let orders = ask(&with(server(true, false, false), &wrong), None);
            assert_eq!(orders.wipe, WipeOrder::Refuse(WipeRefusal::NoEvidence), "{wrong:?}");
            assert_eq!(orders.standing, Standing::Unconfirmed);
        }
    }
    let mut unreadable = server(true, false, false);
    super::super::fixtures::annotate(&mut unreadable, DISKS_ANNOTATION, "{\"state\":\"released\"}");
    assert!(!wipes(&ask(&unreadable, None)));
    let mut nameless = with_state(server(true, false, false), Released);
    nameless.metadata.uid = None;
    assert!(!wipes(&ask(&nameless, None)));
}

#[test]
fn a_plane_that_may_not_act_orders_nothing() {
    for authority in powerless() {
        for bound in [None, Some(&binding(true))] {
            let orders = agent(
                &machine(&with_state(server(true, false, false), Released), bound, &authority),
                OPTIONS,
            );
            assert_eq!(orders.wipe, WipeOrder::Refuse(WipeRefusal::NoAuthority));
            assert!(!orders.setup_bmc && !orders.restart && !orders.insecure_wipe);
        }
    }
}

#[test]
fn a_confirmation_alone_wipes_nothing_before_it_is_on_record() {
    assert!(!wipes(&ask(&confirmed(server(true, false, false)), None)));
}

#[test]
fn management_is_set_up_once_and_only_on_accepted_free_machines() {
    let setup = |server: &Server, binding: Option<&ServerBinding>, auto_bmc_setup| {
        agent(&machine(server, binding, &HOLDS), AgentOptions { auto_bmc_setup, ..OPTIONS }).setup_bmc
    };
    let mut free = with_state(server(true, false, false), NeverUsed);
    assert!(setup(&free, None, true));
    assert!(!setup(&free, None, false));
    assert!(!setup(&free, Some(&binding(false)), true));
    assert!(!setup(&with_state(server(false, false, false), NeverUsed), None, true));
    assert!(!setup(&server(true, false, false), None, true), "not confirmed");
    free.spec.bmc = Some(Bmc::default());
    assert!(!setup(&free, None, true));
}

proptest! {
    /// Promise S1 and S2.
    #[test]
    fn wiping_needs_acceptance_freedom_evidence_and_authority(
        server in any_server(), bound in proptest::option::of(any_binding()), authority in any_authority(),
    ) {
        let orders = agent(&machine(&server, bound.as_ref(), &authority), OPTIONS);
        if wipes(&orders) {
            prop_assert!(server.spec.accepted && bound.is_none());
            let record = DiskRecord::of(&server).unwrap();
            prop_assert!(matches!(record.state, NeverUsed | Released));
            prop_assert_eq!(Some(record.epoch), authority.epoch());
            prop_assert_eq!(Some(&record.server_uid), server.metadata.uid.as_ref());
            prop_assert_eq!(orders.standing, Standing::Dirty);
            let WipeOrder::Wipe(id) = orders.wipe else { unreachable!() };
            prop_assert_eq!(id.0, record.id);
        }
        if !authority.acts() {
            prop_assert!(!orders.setup_bmc && !orders.restart && !orders.insecure_wipe);
        }
    }
}
