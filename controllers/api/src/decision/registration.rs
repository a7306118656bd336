//! What a machine that registers becomes: a Server that is accepted or not, with a record or without one.
//!
//! Never accepts a machine, and never calls one "never used", of which another Server or the ledger may tell otherwise.

use super::identity::Identity;
use crate::contents::ContentsClass;
use crate::lookup::Lookup;
use crate::plane::Authority;
use crate::server_binding::ServerBinding;

/// What a new Server is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its `spec.accepted`.
    pub accepted: bool,
    /// Whether the record "never used" is written, with the class of what the disks hold.
    pub never_used: bool,
    /// Whether it would have been accepted, were it not for the mark of a restore: what the annotation
    /// [`crate::evidence::UNKNOWN_AFTER_RESTORE_ANNOTATION`] is for.
    pub held_by_restore: bool,
}

/// Decides for a machine that has no Server. `wanted` is the option `autoAcceptServers`; `autoAcceptNonEmpty` is part of
/// the authority's trust; `restored` is the mark of a restore as it was read with the authority.
pub fn registration(
    wanted: bool,
    authority: &Authority,
    restored: Option<&str>,
    contents: ContentsClass,
    identity: &Identity,
) -> Registration {
    let accepts = |restored| accepts_unknown(wanted, authority, restored, contents, identity);
    Registration {
        accepted: accepts(restored),
        never_used: authority.acts() && identity.is_new(),
        held_by_restore: restored.is_some() && accepts(None),
    }
}

/// Whether a new Server may have the name of this binding, looked up just now. One whose Server is gone is a claim on a
/// machine: the Server that gets its name would be given that cluster's node system, whichever machine it is.
pub fn may_be_named(binding: Lookup<&ServerBinding>) -> Result<(), Held> {
    match binding {
        Lookup::NotFound => Ok(()),
        Lookup::Found(_) => Err(Held::Bound),
        Lookup::Failed => Err(Held::CannotTell),
    }
}

/// Why no Server is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A binding without a Server has the name.
    Bound,
    /// The binding could not be looked up.
    CannotTell,
}

/// Whether a machine that registers and is not known is accepted at once.
pub fn accepts_unknown(
    wanted: bool,
    authority: &Authority,
    restored: Option<&str>,
    contents: ContentsClass,
    identity: &Identity,
) -> bool {
    let any = authority.trust().is_some_and(|trust| trust.any_contents);
    wanted
        && authority.acts()
        && restored.is_none()
        && identity.is_new()
        && contents.is_accepted_automatically(any)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{binding, holds, powerless};
    use super::super::identity::{OtherWhy, Peer, Proof, SharedMark};
    use super::*;

    fn suspect() -> Identity {
        let mark = SharedMark::Serial("SN1".to_owned());
        let peer = Peer { server: "a".to_owned(), mark, claimed: true, is_tombstone: false };
        Identity::Suspect { peers: vec![peer] }
    }

    #[test]
    fn only_a_new_machine_with_blank_disks_is_accepted_by_a_plane_that_acts_on_a_complete_state() {
        use ContentsClass::{Blank, Data, System, Unknown};
        let (plain, mut any) = (holds(), holds());
        if let Authority::Holds { trust, .. } = &mut any {
            trust.any_contents = true;
        }
        for (contents, by_default, with_any) in
            [(Blank, true, true), (Data, false, true), (Unknown, false, true), (System, false, false)]
        {
            assert_eq!(
                accepts_unknown(true, &plain, None, contents, &Identity::New),
                by_default,
                "{contents}"
            );
            assert_eq!(accepts_unknown(true, &any, None, contents, &Identity::New), with_any, "{contents}");
            assert!(!accepts_unknown(false, &any, None, contents, &Identity::New));
            assert!(!accepts_unknown(true, &any, Some(""), contents, &Identity::New));
            for authority in powerless() {
                assert!(!accepts_unknown(true, &authority, None, contents, &Identity::New));
            }
        }
        let same = Identity::Same { server: "a".to_owned(), by: Proof::Card };
        let other = Identity::Other { server: "a".to_owned(), why: OtherWhy::Card };
        for identity in [suspect(), same, other, Identity::Unnamed] {
            let made = registration(true, &any, None, Blank, &identity);
            assert_eq!((made.accepted, made.never_used, made.held_by_restore), (false, false, false));
        }
    }

    #[test]
    fn no_machine_takes_the_place_of_a_bound_one_whose_server_is_gone() {
        let bound = binding(false);
        assert_eq!(may_be_named(Lookup::Found(&bound)), Err(Held::Bound));
        assert_eq!(may_be_named(Lookup::Failed), Err(Held::CannotTell));
        assert_eq!(may_be_named(Lookup::NotFound), Ok(()));
    }

    #[test]
    fn the_mark_of_a_restore_is_told_apart() {
        let made = registration(true, &holds(), Some("2026-01-01"), ContentsClass::Blank, &Identity::New);
        assert_eq!(made, Registration { accepted: false, never_used: true, held_by_restore: true });
        let made = registration(false, &holds(), Some("2026-01-01"), ContentsClass::Blank, &Identity::New);
        assert!(!made.held_by_restore && made.never_used);
    }
}
