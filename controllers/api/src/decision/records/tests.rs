//! What goes on record, and when a binding may go.

use proptest::prelude::*;

use super::super::Standing;
use super::super::fixtures::{
    BINDING_UID, EPOCH, HOLDS, UID, annotate, any_authority, any_binding, any_server, at, binding, confirmed,
    leaving, machine, plain, powerless, record, server, signed, with, with_state,
};
use super::*;
use crate::evidence::CONFIRM_WIPE_ANNOTATION;
use crate::evidence::DiskState::{Bound, Clean, Installed, NeverUsed, Released};
use crate::plane::PLANE_LABEL;

const ID: &str = "fedcba9876543210";

fn decide(server: &Server, binding: Option<&ServerBinding>) -> Records {
    plainly(records(&machine(&labelled(server.clone()), binding, &HOLDS), &at(9), ID))
}

/// With the label of this plane.
fn labelled(mut server: Server) -> Server {
    server.metadata.labels = Some([(PLANE_LABEL.to_owned(), "own".to_owned())].into());
    server
}

/// Without what differs with each write, after a look at it.
fn plainly(decided: Records) -> Records {
    let record = match decided.record {
        RecordChange::Write(new) => {
            assert!(new.seq > 0 && signed(new.clone()) == new, "{new:?}");
            RecordChange::Write(plain(new))
        }
        RecordChange::Keep => RecordChange::Keep,
    };
    Records { record, ..decided }
}

fn written(state: DiskState) -> RecordChange {
    RecordChange::Write(plain(DiskRecord { id: ID.to_owned(), since: at(9), ..record(state) }))
}

fn without_finalizer() -> ServerBinding {
    let mut bare = binding(false);
    bare.metadata.finalizers = Some(vec!["someone.else".to_owned()]);
    bare
}

#[test]
fn a_claim_is_recorded_with_its_finalizer() {
    let bare = without_finalizer();
    for seen in [
        server(true, false, false),
        with_state(server(true, false, false), NeverUsed),
        with_state(server(true, false, true), Clean),
        with_state(server(false, false, false), Released),
        with(server(true, true, false), &DiskRecord { binding: Some("before".to_owned()), ..record(Bound) }),
        with(server(true, true, false), &DiskRecord { epoch: EPOCH - 1, ..record(Bound) }),
        with(server(true, true, false), &DiskRecord { server_uid: "moved".to_owned(), ..record(Bound) }),
    ] {
        let decided = decide(&seen, Some(&bare));
        assert_eq!(decided.record, written(Bound), "{seen:?}");
        assert_eq!(decided.finalizer, BindingFinalizer::Add);
    }
    let settled = with_state(server(true, true, false), Bound);
    assert_eq!(decide(&settled, Some(&binding(false))), Records::NONE);
}

#[test]
fn a_binding_goes_in_two_steps_record_first() {
    let gone = leaving(binding(true));
    let first = decide(&with_state(server(true, true, false), Bound), Some(&gone));
    assert_eq!(first, Records { record: written(Released), ..Records::NONE });
    let second = decide(&with_state(server(true, true, false), Released), Some(&gone));
    assert_eq!(second, Records { finalizer: BindingFinalizer::Remove, ..Records::NONE });
    // Claimed and let go before anybody could record the claim.
    for state in [NeverUsed, Clean] {
        let unseen = decide(&with_state(server(true, false, false), state), Some(&gone));
        assert_eq!(unseen, Records { record: written(Released), ..Records::NONE });
    }
}

#[test]
fn a_restored_or_contradictory_deletion_lets_the_binding_go_without_a_release() {
    let gone = leaving(binding(true));
    let lost = Records { finalizer: BindingFinalizer::Remove, ..Records::NONE };
    let old = |state| DiskRecord { epoch: EPOCH - 1, ..record(state) };
    for seen in [
        server(true, true, false),
        with(server(true, true, false), &old(Bound)),
        with(server(true, true, false), &old(Released)),
        with(server(true, true, false), &DiskRecord { server_uid: "moved".to_owned(), ..record(Bound) }),
        with(server(true, true, false), &DiskRecord { binding: Some("before".to_owned()), ..record(Bound) }),
    ] {
        assert_eq!(decide(&seen, Some(&gone)), lost, "{seen:?}");
        let after = machine(&seen, None, &HOLDS).standing();
        assert!(matches!(after, Standing::Lost | Standing::Unconfirmed), "{after:?}");
    }
}

#[test]
fn a_binding_whose_finalizer_somebody_took_is_never_released() {
    let gone = leaving(without_finalizer());
    for state in [Bound, NeverUsed, Clean, Released] {
        assert_eq!(decide(&with_state(server(true, true, false), state), Some(&gone)), Records::NONE);
    }
    // And then it is gone.
    let vanished = with_state(server(true, true, false), Bound);
    assert_eq!(decide(&vanished, None), Records::NONE);
    assert_eq!(machine(&vanished, None, &HOLDS).standing(), Standing::Lost);
}

#[test]
fn a_confirmation_becomes_a_release_once() {
    let used_up = Records { record: written(Released), remove_confirmation: true, ..Records::NONE };
    for (in_use, state) in
        [(true, Some(Bound)), (false, Some(Clean)), (true, Some(NeverUsed)), (false, None), (true, None)]
    {
        let plain = confirmed(server(true, in_use, false));
        let seen = state.map_or(plain.clone(), |state| with_state(plain, state));
        assert_eq!(decide(&seen, None), used_up, "{state:?}");
    }
    let released = decide(&with_state(confirmed(server(true, false, false)), Released), None);
    assert_eq!(released, Records { remove_confirmation: true, ..Records::NONE });
}

#[test]
fn a_confirmation_of_another_object_means_nothing() {
    for uid in ["", "another-uid", "true"] {
        let mut copied = server(true, true, false);
        annotate(&mut copied, CONFIRM_WIPE_ANNOTATION, uid);
        assert_eq!(decide(&copied, None), Records::NONE, "{uid}");
    }
}

#[test]
fn a_binding_voids_a_confirmation() {
    let seen = confirmed(with_state(server(true, true, false), Bound));
    let decided = decide(&seen, Some(&binding(false)));
    assert_eq!(decided, Records { remove_confirmation: true, ..Records::NONE });
}

#[test]
fn a_clean_machine_that_is_no_longer_accepted_counts_as_released() {
    let decided = decide(&with_state(server(false, false, true), Clean), None);
    assert_eq!(decided, Records { record: written(Released), ..Records::NONE });
    assert_eq!(decide(&with_state(server(true, false, true), Clean), None), Records::NONE);
    assert_eq!(decide(&with_state(server(false, false, false), Clean), None), Records::NONE);
}

#[test]
fn a_binding_without_its_server_may_go() {
    assert_eq!(binding_without_server(&leaving(binding(true)), &HOLDS), BindingFinalizer::Remove);
    assert_eq!(binding_without_server(&binding(true), &HOLDS), BindingFinalizer::Keep);
    assert_eq!(binding_without_server(&leaving(without_finalizer()), &HOLDS), BindingFinalizer::Keep);
    for authority in powerless() {
        assert_eq!(binding_without_server(&leaving(binding(true)), &authority), BindingFinalizer::Keep);
    }
}

proptest! {
    #[test]
    fn a_release_needs_a_deletion_seen_a_confirmation_or_a_clean_machine_given_up(
        server in any_server(), bound in proptest::option::of(any_binding()), authority in any_authority(),
    ) {
        let decided = records(&machine(&server, bound.as_ref(), &authority), &at(9), ID);
        if !authority.acts() {
            prop_assert_eq!(&decided, &Records::NONE);
        }
        if let RecordChange::Write(new) = &decided.record {
            prop_assert_eq!(Some(new.epoch), authority.epoch());
            prop_assert_eq!(new.server_uid.as_str(), UID);
            match (&bound, new.state) {
                (Some(bound), Bound | Installed) => {
                    prop_assert!(bound.metadata.deletion_timestamp.is_none());
                    prop_assert_eq!(new.binding.as_deref(), Some(BINDING_UID));
                }
                (Some(bound), Released) => {
                    prop_assert!(bound.metadata.deletion_timestamp.is_some() && has_finalizer(bound));
                    // Never together: the record has to be read back first.
                    prop_assert_eq!(decided.finalizer, BindingFinalizer::Keep);
                }
                (None, Released) => {
                    let given_up = !server.spec.accepted
                        && matches!(Evidence::of(&server, &authority), Evidence::Clean(_));
                    prop_assert!(wipe_confirmed(&server, &authority) || given_up);
                }
                (_, state) => prop_assert!(false, "wrote {state:?}"),
            }
        }
    }

    #[test]
    fn records_settle(server in any_server(), bound in any_binding()) {
        let mut seen = server;
        let mut bound = bound;
        // Finalizer and record, then the finalizer again, then nothing.
        for _ in 0..4 {
            let decided = decide(&seen, Some(&bound));
            if let RecordChange::Write(new) = &decided.record {
                seen = with(seen, new);
            }
            if decided.remove_confirmation {
                seen.metadata.annotations.as_mut().unwrap().remove(CONFIRM_WIPE_ANNOTATION);
            }
            bound.metadata.finalizers = match decided.finalizer {
                BindingFinalizer::Keep => bound.metadata.finalizers,
                BindingFinalizer::Add => Some(vec![RELEASE_FINALIZER.to_owned()]),
                BindingFinalizer::Remove => None,
            };
        }
        prop_assert_eq!(decide(&seen, Some(&bound)), Records::NONE);
    }
}
